"""LossNet against reference vectors, a plain four-slice form and hand-computed values; where its weights come from."""

import copy
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import REFERENCE
from torch import nn

from nnunet_ext.losses.lossnet import LossNet, LossNetLoss, vgg16_features
from nnunet_ext.losses.structure import StructureLoss
from nnunet_ext.weights import FOLDER, WeightsError

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")


def identities(size):
    """LossNet of 23 layers that do nothing, and the sizes that its last layer saw."""
    lossnet = LossNet(nn.Sequential(*[nn.Identity() for _ in range(23)]), size)
    seen = []
    lossnet.features[22].register_forward_hook(lambda m, x, y: seen.append(tuple(y.shape[1:])))
    return lossnet, seen


def relative(ours, reference):
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)


@needs_reference
def test_drawn_weights_are_those_of_the_reference(vgg, vectors):
    convolutions = [layer for layer in vgg if isinstance(layer, nn.Conv2d)]
    first = np.stack([c.weight.detach().flatten()[:8].numpy() for c in convolutions])
    assert (first == vectors["vgg.first8_of_each_conv_weight"]).all()
    tensors = [(c.weight.double(), c.weight.double().abs(), c.bias.double()) for c in convolutions]
    assert np.allclose([[t.sum().item() for t in row] for row in tensors], vectors["vgg.sums"], rtol=1e-6)


@needs_reference
@pytest.mark.parametrize("case", ["binary", "soft", "large", "native", "three_channels"])
def test_levels_and_gradient_agree_with_the_reference(vgg, vectors, case):
    reference = {k.split(".")[1]: v for k, v in vectors.items() if k.startswith(f"lossnet_{case}.")}
    p, y = torch.from_numpy(reference["prob"]).requires_grad_(), torch.from_numpy(reference["target"])
    levels = LossNet(vgg, 224 if reference["resize_to_224"] else None).levels(p, y)
    levels.sum().backward()
    assert np.allclose(levels.detach().numpy(), reference["levels"], rtol=1e-5)
    assert levels.sum().item() == pytest.approx(float(reference["total"]), rel=1e-5)
    assert relative(p.grad.numpy(), reference["grad_prob"]) < (1e-5 if case == "native" else 5e-3)
    cosine = F.cosine_similarity(p.grad.flatten(), torch.from_numpy(reference["grad_prob"]).flatten(), 0)
    assert cosine > 0.9999


@needs_reference
def test_gradient_agrees_to_a_millionth_in_float64(vgg, vectors):
    p = torch.from_numpy(vectors["lossnet_native.prob"]).double().requires_grad_()
    y = torch.from_numpy(vectors["lossnet_native.target"]).double()
    total = LossNet(copy.deepcopy(vgg), None).double()(p, y)
    total.backward()
    assert total.item() == pytest.approx(float(vectors["lossnet_native.total"]), rel=1e-6)
    assert relative(p.grad.numpy(), vectors["lossnet_native.grad_prob"]) < 1e-6


@needs_reference
def test_the_papers_objective_agrees_with_the_reference(vgg, vectors):
    logits = torch.from_numpy(vectors["objective.logits"]).requires_grad_()
    mask = torch.from_numpy(vectors["objective.mask"])
    distance = LossNetLoss(LossNet(vgg), regions=True)(logits, mask)
    (slope,) = torch.autograd.grad(distance, logits)
    assert distance.item() == pytest.approx(float(vectors["objective.lossnet"]), rel=1e-5)
    for kind in ("as_coded", "weighted"):
        structure = StructureLoss(regions=True, as_coded=kind == "as_coded")(logits, mask)
        (other,) = torch.autograd.grad(structure, logits)
        total = (structure + 0.1 * distance).item()
        assert total == pytest.approx(float(vectors[f"objective.{kind}_total"]), rel=1e-5)
        assert relative((other + 0.1 * slope).numpy(), vectors[f"objective.{kind}_grad"]) < 1e-3


@pytest.mark.parametrize(("given", "size"), [((16, 24), None), ((9, 50), (24, 16))])
def test_levels_equal_the_network_cut_in_four(vgg, given, size):
    double = copy.deepcopy(vgg).double()
    p, y = torch.rand(2, 1, *given).double(), torch.rand(2, 1, *given).double()
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1).double()
    a, b = ((x.repeat(1, 3, 1, 1) - mean) / std for x in (p, y))
    if size:
        a, b = (F.interpolate(x, size, mode="bilinear") for x in (a, b))
    expected = [F.mse_loss(double[:stop](a), double[:stop](b)).item() for stop in (4, 9, 16, 23)]
    lossnet = LossNet(double, size).double()
    assert lossnet.levels(p, y).tolist() == pytest.approx(expected, rel=1e-6)
    assert lossnet(p, y).item() == pytest.approx(sum(expected), rel=1e-6)


def test_even_maps_differ_by_their_normalised_difference():
    p, y = torch.full((1, 1, 5, 5), 0.75), torch.full((1, 1, 5, 5), 0.5)
    expected = np.mean([(0.25 / s) ** 2 for s in (0.229, 0.224, 0.225)])
    lossnet, seen = identities(224)
    assert lossnet.levels(p, y).tolist() == pytest.approx([expected] * 4, rel=1e-5)
    assert seen[0] == (3, 224, 224)


@pytest.mark.parametrize(
    ("size", "given", "used"),
    [
        (224, (300, 40), (224, 224)),
        ((96, 64), (300, 40), (96, 64)),
        (None, (300, 40), (300, 40)),
        ("shrink", (300, 40), (224, 40)),
        ("shrink", (5, 224), (8, 224)),
    ],
)
def test_size_is_what_the_network_sees(size, given, used):
    lossnet, seen = identities(size)
    lossnet(torch.rand(1, 1, *given), torch.rand(1, 1, *given))
    assert seen == [(3, *used)] * 2


def test_a_map_is_no_distance_from_itself(native):
    p = torch.rand(2, 1, 16, 16)
    assert native.levels(p, p).tolist() == [0] * 4


def test_only_the_prediction_gets_a_gradient(native):
    p, y = torch.rand(1, 1, 16, 16, requires_grad=True), torch.rand(1, 1, 16, 16, requires_grad=True)
    native(p, y).backward()
    assert p.grad.abs().sum() > 0
    assert y.grad is None
    assert not any(w.requires_grad or w.grad is not None for w in native.parameters())


def test_the_network_stays_in_evaluation_mode_with_nothing_of_its_own_to_save(native):
    loss = LossNetLoss(native)
    assert not any(m.training for m in loss.train().modules() if m is not loss)
    assert {k.split(".")[0] for k in native.state_dict()} == {"features"}


@pytest.mark.parametrize("shapes", [((1, 2, 8, 8),) * 2, ((1, 1, 8, 8), (1, 3, 8, 8)), ((1, 1, 8, 8, 8),) * 2])
def test_what_are_no_two_maps_is_refused(native, shapes):
    with pytest.raises(ValueError, match="two maps"):
        native(*(torch.rand(s) for s in shapes))


def test_an_unknown_size_is_refused(vgg):
    with pytest.raises(ValueError, match="'shrink' or None, not 'grow'"):
        LossNet(vgg, "grow")


# its weights


def no_download(monkeypatch):
    from torchvision.models import VGG16_Weights

    def refuse(self, *args, **kwargs):
        raise URLError("no network here")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", refuse)


def test_layers_are_torchvisions(vgg):
    from torchvision.models import vgg16

    with torch.device("meta"):
        theirs = vgg16().features[:23]
    assert [str(a) for a in vgg] == [str(b) for b in theirs]
    assert sum(w.numel() for w in vgg.parameters()) == 7_635_264


def test_the_users_file_is_read_and_nothing_is_drawn(vgg, state, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    no_download(monkeypatch)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "vgg16.safetensors")
    before = torch.get_rng_state()
    features = vgg16_features("-")
    assert torch.equal(torch.get_rng_state(), before)
    for ours, theirs in zip(features.parameters(), vgg.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.half().float())


def test_a_download_is_asked_for_and_checked(vgg, state, monkeypatch):
    from torchvision.models import VGG16_Weights

    asked = []

    def give(self, *args, **kwargs):
        asked.append((self, kwargs["check_hash"]))
        return state

    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", give)
    features = vgg16_features("-")
    assert asked == [(VGG16_Weights.IMAGENET1K_V1, True)]
    assert all(torch.equal(a, b) for a, b in zip(features.parameters(), vgg.parameters(), strict=True))


def test_without_file_and_network_the_message_says_what_to_type(tmp_path, monkeypatch):
    no_download(monkeypatch)
    monkeypatch.setenv(FOLDER, str(tmp_path))  # an empty folder
    with pytest.raises(WeightsError, match=r"vgg16 could not.*no network here.*vgg16\.pth.*type this instead"):
        vgg16_features("type this instead")


def test_a_file_that_lacks_layers_is_refused_by_name(state, tmp_path, monkeypatch):
    no_download(monkeypatch)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    torch.save({k: v for k, v in state.items() if "21" not in k}, tmp_path / "vgg16.pth")
    with pytest.raises(WeightsError, match=r"vgg16\.pth.*lacks features\.21\.weight, features\.21\.bias\. .*type this"):
        vgg16_features("type this")


def test_a_file_of_another_width_is_refused_by_shape(state, tmp_path, monkeypatch):
    no_download(monkeypatch)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    torch.save(state | {"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "vgg16.pt")
    with pytest.raises(WeightsError, match=r"features\.0\.weight of shape \(64, 3, 3, 3\) \(it is \(64, 1, 3, 3\)\)"):
        vgg16_features("-")


def test_a_file_that_holds_no_weights_is_refused(tmp_path, monkeypatch):
    no_download(monkeypatch)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "vgg16.pth").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="cannot be read"):
        vgg16_features("-")
