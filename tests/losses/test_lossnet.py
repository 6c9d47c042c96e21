"""LossNet against reference vectors, a plain four-slice form and hand-computed values; the VGG's weights are drawn."""

import copy
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import REFERENCE, pickled
from torch import nn

from nnunet_ext.losses.lossnet import LossNet, LossNetLoss, take_slices, vgg16_features
from nnunet_ext.losses.structure import StructureLoss
from nnunet_ext.weights import FOLDER, WeightsError

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512)


def drawn_weights():
    """The recipe of the reference vectors, from NumPy's frozen legacy generator."""
    rs = np.random.RandomState(0)
    state = {}
    for i, c_in, c_out in zip(CONVOLUTIONS, CHANNELS, CHANNELS[1:], strict=False):
        weight = (rs.standard_normal((c_out, c_in, 3, 3)) * np.sqrt(2 / (9 * c_in))).astype(np.float32)
        bias = (rs.standard_normal(c_out) * 0.05).astype(np.float32)
        state |= {f"features.{i}.weight": torch.from_numpy(weight), f"features.{i}.bias": torch.from_numpy(bias)}
    return state


@pytest.fixture(scope="module")
def state():
    return drawn_weights()


@pytest.fixture(scope="module")
def vgg(state, tmp_path_factory):
    """The network of a user's file that holds a whole VGG-16 (its classifier cut short here)."""
    folder = tmp_path_factory.mktemp("weights")
    rest = {"features.24.weight": torch.zeros(2, 2), "classifier.0.weight": torch.zeros(2, 2)}
    torch.save(state | rest, folder / "vgg16-397923af.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(folder))
        return vgg16_features("-")


@pytest.fixture(scope="module")
def native(vgg):
    return LossNet(vgg, None)


@pytest.fixture(scope="module")
def vectors():
    with np.load(REFERENCE / "m2snet_losses.npz") as file:
        return dict(file)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Recorder(nn.Module):
    """A cheap distance that keeps what it was given."""

    def forward(self, prediction, target):
        self.given = prediction.detach(), target.detach()
        return (prediction - target).square().mean()


def identities(size):
    """LossNet of 23 layers that do nothing, and the sizes that its last layer saw."""
    lossnet = LossNet(nn.Sequential(*[nn.Identity() for _ in range(23)]), size)
    seen = []
    lossnet.features[22].register_forward_hook(lambda m, x, y: seen.append(tuple(y.shape[1:])))
    return lossnet, seen


def relative(ours, reference):
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)


# the distance


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
@pytest.mark.parametrize("case", ["native", "three_channels"])
def test_gradient_agrees_to_a_millionth_in_float64(vgg, vectors, case):
    p = torch.from_numpy(vectors[f"lossnet_{case}.prob"]).double().requires_grad_()
    y = torch.from_numpy(vectors[f"lossnet_{case}.target"]).double()
    total = LossNet(copy.deepcopy(vgg), None if case == "native" else 224).double()(p, y)
    total.backward()
    assert total.item() == pytest.approx(float(vectors[f"lossnet_{case}.total"]), rel=1e-6)
    assert relative(p.grad.numpy(), vectors[f"lossnet_{case}.grad_prob"]) < 1e-6


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


def test_levels_equal_the_network_cut_in_four(vgg, native):
    p, y = torch.rand(2, 1, 16, 24), torch.rand(2, 1, 16, 24)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    expected = []
    for stop in (4, 9, 16, 23):
        a, b = (vgg[:stop]((x.repeat(1, 3, 1, 1) - mean) / std) for x in (p, y))
        expected.append(F.mse_loss(a, b).item())
    assert native.levels(p, y).tolist() == pytest.approx(expected, rel=1e-5)
    assert native(p, y).item() == pytest.approx(sum(expected), rel=1e-5)


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(native, dtype):
    z = torch.randn(2, 3, 16, 16) * 30
    z.requires_grad_()
    y = torch.randint(0, 3, (2, 1, 16, 16))
    expected = LossNetLoss(native)(z, y).item()
    with torch.autocast("cpu", dtype):
        value = LossNetLoss(native)(z.to(dtype), y)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=0.02)
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("shapes", [((1, 2, 8, 8),) * 2, ((1, 1, 8, 8), (1, 3, 8, 8)), ((1, 1, 8, 8, 8),) * 2])
def test_what_are_no_two_maps_is_refused(native, shapes):
    with pytest.raises(ValueError, match="two maps"):
        native(*(torch.rand(s) for s in shapes))


def test_an_unknown_size_is_refused(vgg):
    with pytest.raises(ValueError, match="'shrink' or None, not 'grow'"):
        LossNet(vgg, "grow")


# of nnU-Net's outputs and targets


def test_labels_are_the_mean_of_each_class_against_the_rest(native):
    z, y = torch.randn(2, 4, 16, 16), torch.randint(0, 4, (2, 1, 16, 16))
    p = torch.softmax(z, 1)
    expected = np.mean([native(p[:, k : k + 1], (y == k).float()).item() for k in (1, 2, 3)])
    assert LossNetLoss(native)(z, y).item() == pytest.approx(expected, rel=1e-5)
    assert LossNetLoss(native)(z, y.float()).item() == pytest.approx(expected, rel=1e-5)
    assert LossNetLoss(native, max_channels=None)(z, y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_regions", [1, 3])
def test_regions_are_the_mean_of_each_region(native, n_regions):
    z, y = torch.randn(2, n_regions, 16, 16), torch.rand(2, n_regions, 16, 16) > 0.5
    p = torch.sigmoid(z)
    each = [native(p[:, [k]], y[:, [k]].float()).item() for k in range(n_regions)]
    assert LossNetLoss(native, regions=True)(z, y).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_two_labels_are_one_region(native):
    z, y = torch.randn(2, 2, 16, 16), torch.randint(0, 2, (2, 1, 16, 16))
    region = LossNetLoss(native, regions=True)(z[:, 1:] - z[:, :1], y)
    assert LossNetLoss(native)(z, y).item() == pytest.approx(region.item(), rel=1e-5)


def ignoring(regions, shape):
    """Logits, a target that ignores the first five columns, and the same with something else written under them."""
    z = torch.randn(2, 3, *shape)
    ignored = torch.zeros(2, 1, *shape, dtype=torch.bool)
    ignored[..., :5] = True
    if not regions:
        target = torch.where(ignored, 3, torch.randint(0, 3, ignored.shape))
        return z, target, target
    masks = torch.rand(2, 3, *shape) > 0.5
    return z, torch.cat([masks, ignored], 1), torch.cat([masks ^ ignored, ignored], 1)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 16)])
def test_ignored_pixels_have_no_gradient_and_no_influence(native, regions, shape):
    z, target, other = ignoring(regions, shape)
    z.requires_grad_()
    loss = LossNetLoss(native, regions, ignore_label=3, spacing=(3, 1, 1))
    value = loss(z, target)
    value.backward()
    assert not z.grad[..., :5].any()
    assert z.grad[..., 5:].abs().sum() > 0
    changed = z.detach().clone()
    changed[..., :5] *= -7
    assert loss(changed, other).item() == pytest.approx(value.item(), rel=1e-6)  # slices come in another order


def test_ignored_pixels_are_zero_in_both_maps():
    recorder = Recorder()
    z, target, _ = ignoring(True, (16, 16))
    LossNetLoss(recorder, True, ignore_label=3)(z, target)
    assert all(not m[..., :5].any() and m[..., 5:].any() for m in recorder.given)


def test_classes_are_drawn_among_those_that_the_target_shows():
    recorder = Recorder()
    loss = LossNetLoss(recorder, max_channels=2)
    y = torch.zeros(2, 1, 8, 8)
    for k, column in ((1, 0), (4, 2), (5, 4)):
        y[:, :, :, column : column + k % 3 + 1] = k
    sums, z = {k: int((y == k).sum()) for k in (1, 4, 5)}, torch.zeros(2, 8, 8, 8)
    drawn = set()
    for _ in range(20):
        loss(z, y)
        target = recorder.given[1]
        assert target.shape == (4, 1, 8, 8)
        drawn.add(tuple(int(t) for t in target.view(2, 2, -1).sum((0, 2))))
    assert drawn == {(sums[1], sums[4]), (sums[1], sums[5]), (sums[4], sums[5])}


def test_a_class_that_is_not_shown_is_left_out_unless_there_is_no_limit():
    recorder = Recorder()
    z, y = torch.zeros(1, 5, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.int16)
    y[..., 0] = 3
    LossNetLoss(recorder)(z, y)
    assert recorder.given[1].shape == (1, 1, 8, 8)
    LossNetLoss(recorder, max_channels=None)(z, y)
    assert recorder.given[1].shape == (4, 1, 8, 8)


def test_all_classes_are_drawn_where_none_is_shown():
    recorder = Recorder()
    z, y = torch.zeros(1, 6, 8, 8), torch.zeros(1, 1, 8, 8)
    z[0, :, 0, 0] = torch.arange(6.0)
    loss, values = LossNetLoss(recorder, max_channels=2), set()
    for _ in range(30):
        loss(z, y)
        assert recorder.given[0].shape == (2, 1, 8, 8)
        values |= set(recorder.given[0][:, 0, 0, 0].tolist())
    assert len(values) == 5


def test_a_volume_is_its_slices_across_the_coarsest_axis(native):
    z, y = torch.randn(2, 3, 5, 16, 8), torch.randint(0, 3, (2, 1, 5, 16, 8))
    assert y.unique().tolist() == [0, 1, 2]
    volume = LossNetLoss(native, spacing=(5.0, 1.0, 1.0))(z, y)
    each = [LossNetLoss(native)(z[:, :, d], y[:, :, d]).item() for d in range(5)]
    assert volume.item() == pytest.approx(np.mean(each), rel=1e-5)


def test_the_same_slices_are_taken_of_prediction_and_target():
    recorder = Recorder()
    y = torch.rand(2, 2, 6, 9, 8) > 0.5
    z = torch.where(y, 50.0, -50.0)
    for spacing in (None, (1, 3, 1), (1, 1, 3)):
        assert LossNetLoss(recorder, regions=True, n_slices=3, spacing=spacing)(z, y) < 1e-6
        assert recorder.given[0].shape[0] == 2 * 3 * 2


def test_slices_with_foreground_come_first():
    recorder = Recorder()
    y = torch.zeros(2, 1, 10, 4, 4)
    shown = ((1, 4, 9), (0, 2))
    for b, slices in enumerate(shown):
        for d in slices:
            y[b, 0, d, 0, : d + 1 if d < 4 else 4] = 1
    z, loss = torch.zeros(2, 2, 10, 4, 4), LossNetLoss(recorder, n_slices=3, spacing=(2, 1, 1))
    for _ in range(10):
        loss(z, y)
        with_foreground = recorder.given[1].flatten(1).any(1).view(2, 3).sum(1)
        assert with_foreground.tolist() == [3, 2]  # the second sample has two; a third is drawn among the rest


@pytest.mark.parametrize(
    ("spacing", "sizes"),
    [
        (None, {(5, 6), (4, 6), (4, 5)}),
        ((1.0, 1.005, 1.0), {(5, 6), (4, 6), (4, 5)}),
        ((3.0, 1.0, 1.0), {(5, 6)}),
        ((1.0, 2.0, 2.0), {(4, 6), (4, 5)}),
    ],
)
def test_slices_lie_across_the_axis_of_largest_spacing_or_one_drawn_among_equals(spacing, sizes):
    recorder, seen = Recorder(), set()
    loss = LossNetLoss(recorder, spacing=spacing)
    for _ in range(20):
        loss(torch.zeros(1, 2, 4, 5, 6), torch.ones(1, 1, 4, 5, 6))
        seen.add(tuple(recorder.given[0].shape[2:]))
    assert seen == sizes


def test_taken_slices_are_those_of_each_sample():
    volume = torch.arange(2 * 3 * 4 * 5 * 6.0).view(2, 3, 4, 5, 6)
    taken = take_slices(volume, 1, torch.tensor([[4, 0], [2, 3]]))
    expected = [volume[0, :, :, 4], volume[0, :, :, 0], volume[1, :, :, 2], volume[1, :, :, 3]]
    assert torch.equal(taken, torch.stack(expected))


def test_what_is_drawn_depends_on_the_seed_alone(native):
    z, y = torch.randn(1, 6, 12, 12, 12), torch.randint(0, 6, (1, 1, 12, 12, 12))
    loss = LossNetLoss(native, max_channels=1, n_slices=2)
    values = []
    for s in (1, 1, 2):
        torch.manual_seed(s)
        values.append(loss(z, y).item())
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("wrong", [{"max_channels": 0}, {"n_slices": 0}])
def test_nothing_to_compare_is_refused(wrong):
    with pytest.raises(ValueError, match="at least one"):
        LossNetLoss(Recorder(), **wrong)


def test_the_loss_survives_pickling():
    z, y = torch.randn(1, 2, 8, 8), torch.randint(0, 2, (1, 1, 8, 8))
    loss = LossNetLoss(identities("shrink")[0].requires_grad_(False))
    loss.lossnet.features[22]._forward_hooks.clear()
    assert pickled(loss)(z, y).item() == loss(z, y).item()


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
