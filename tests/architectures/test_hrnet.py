"""HRNet, with and without OCR: published numbers, timm's outputs and weights, OCR by loops, sizes, refused plans."""

import copy
import json
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
from lively import lively
from scipy import ndimage
from support import REFERENCE, architecture, pickled
from timm.models import _builder
from torch import nn

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.encoders.pretrained import load_pretrained
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published import hrnet_parts
from nnunet_ext.architectures.published.hrnet import HRNetSpec
from nnunet_ext.architectures.published.hrnet_parts import HighResolutionModule
from nnunet_ext.architectures.published.ocr import SpatialGather
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError
from nnunet_ext.weights import FOLDER, WeightsError

reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
TINY = {"width": 4, "modules": (1, 1, 1)}
BOTH = pytest.mark.parametrize("ocr", [False, True], ids=["hrnet", "ocr"])
FULL = {"HRNetV2-W48": HRNetSpec(), "HRNetV2-W48 + OCR": HRNetSpec(ocr=True)}
K = 3


def topology(patch=(64, 64), normalization=()):
    return Topology.from_plan(architecture(len(patch)), patch, normalization)


def build(ocr=False, channels=3, outputs=K, plan=None, blocks=1, **fields):
    """A tiny network, with fewer residual blocks than the real one where nothing depends on their number."""
    torch.manual_seed(0)
    with patch.object(hrnet_parts, "BLOCKS", blocks):
        return HRNetSpec(**{**TINY, **fields}, ocr=ocr).build(plan, channels, outputs, False)


def image(*size, channels=3, batch=2):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def full():
    """The full networks on torch's meta device, 19 outputs."""
    with torch.device("meta"):
        return {name: spec.build(None, 3, 19, False) for name, spec in FULL.items()}


@pytest.fixture(scope="module")
def timm_w18():
    """timm's HRNet of width 18, enlarging bilinearly, with statistics of a training."""
    torch.manual_seed(3)
    model = timm.create_model("hrnet_w18")
    for module in model.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", False
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 64, 64))
    return model.eval()


# ---------------------------------------------------------------- numbers


def test_published_numbers(full):
    assert {n: count_parameters(m) for n, m in full.items()} == {
        "HRNetV2-W48": 65_859_379,
        "HRNetV2-W48 + OCR": 70_372_678,
    }
    assert [len(m.state_dict()) for m in full.values()] == [1839, 1890]


@reference
@pytest.mark.parametrize("name", FULL)
def test_parameters_by_part(full, name):
    (given,) = (n for n in json.loads((REFERENCE / "ovenet_counts.json").read_text())["networks"] if n["name"] == name)
    parts = dict(full[name].named_children())
    assert {k: count_parameters(parts[k]) for k in given["params_by_part"]} == given["params_by_part"]
    assert (count_parameters(full[name]), len(full[name].state_dict())) == (
        given["params"],
        given["state_dict_tensors"],
    )


@pytest.mark.slow  # those of OVeNet, which contain these, are counted by default
@pytest.mark.parametrize(("name", "macs"), [("HRNetV2-W48", 186_878_263_296), ("HRNetV2-W48 + OCR", 324_474_437_632)])
def test_published_macs(full, name, macs):
    assert count_macs(full[name], (3, 512, 1024)) == macs


@pytest.mark.slow
@reference
@pytest.mark.parametrize("name", FULL)
def test_macs_at_other_sizes(full, name):
    (given,) = (n for n in json.loads((REFERENCE / "ovenet_counts.json").read_text())["networks"] if n["name"] == name)
    for case in given["macs"]:
        assert count_macs(full[name], (3, *case["input"])) == case["conv_macs"] + case["matmul_macs"], case["input"]


def test_maps_have_the_ceiling_of_a_quarter_of_the_image():
    with torch.device("meta"):
        network = HRNetSpec(**TINY).build(None, 3, K, False)
        maps = network.stage4_maps(network.stage3_maps(network.stage2_maps(torch.empty(1, 3, 540, 960))))
        assert [tuple(m.shape) for m in maps] == [(1, 4, 135, 240), (1, 8, 68, 120), (1, 16, 34, 60), (1, 32, 17, 30)]
        assert [tuple(s.shape) for s in network.scores(maps)] == [(1, K, 135, 240)]
        assert network(torch.empty(1, 3, 540, 960)).shape == (1, K, 540, 960)


@BOTH
def test_first_weights_and_momenta_are_the_authors(ocr):
    network = build(ocr, width=8)
    for name, m in network.named_modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.momentum == (0.1 if ocr else 0.01)
            assert (m.weight == 1).all()
            assert (m.bias == 0).all()
        elif isinstance(m, nn.Conv2d) and ocr and "stage" not in name and m.bias is not None:
            bound = m.weight[0].numel() ** -0.5  # torch's own
            assert 0.5 * bound < m.weight.abs().max() <= bound, name
        elif isinstance(m, nn.Conv2d) and not name.startswith(("aux", "ocr")) and m.weight.numel() > 1000:
            assert 0.0009 < m.weight.std() < 0.0011, name
        if isinstance(m, HighResolutionModule):
            assert m.align_corners is ocr


# ---------------------------------------------------------------- timm's network and weights


def test_stage_4_equals_timms(timm_w18):
    network = build(blocks=4, width=18, modules=(1, 4, 3)).eval()
    network.take(timm_w18.state_dict())
    x = image(64, 96)
    with torch.no_grad():
        ours = network.stage4_maps(network.stage3_maps(network.stage2_maps(x)))
        theirs = timm_w18.stages(timm_w18.act2(timm_w18.bn2(timm_w18.conv2(
            timm_w18.act1(timm_w18.bn1(timm_w18.conv1(x))))))
        )  # fmt: skip
    assert len(ours) == len(theirs) == 4
    for a, b in zip(ours, theirs, strict=True):
        assert b.std() > 1e-3
        assert (a - b).abs().max() <= 1e-6 * b.abs().max()


def test_every_backbone_tensor_of_timms_w48_is_taken(full):
    with torch.device("meta"):
        theirs = timm.create_model("hrnet_w48").state_dict()
    backbone = {
        k for k in theirs if not k.startswith(("incre_modules.", "downsamp_modules.", "final_layer.", "classifier."))
    }
    assert len(backbone) == 1830
    for network in full.values():
        ours = network.state_dict()
        assert {k for k in ours if network.source(k)} == {network.source(k) for k in ours} - {None} == backbone
        assert all(ours[k].shape == theirs[k].shape for k in backbone)
        network.take(theirs)
        assert network.name == "hrnet_w48"


def test_weights_come_through_timm_into_the_tensors_that_an_optimiser_holds(timm_w18, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", lambda *_, **__: dict(timm_w18.state_dict()))
    network = build(blocks=4, width=18, modules=(1, 4, 3), channels=4)
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    head = network.last_layer[0].weight.clone()
    told = load_pretrained(network, "-tr Something")
    assert told == f"hrnet_w18 from timm {timm.__version__}, adapted from 3 to 4 input channels"
    assert all(t is held[k] for k, t in [*network.named_parameters(), *network.named_buffers()])
    theirs = timm_w18.state_dict()
    turns = theirs["conv1.weight"][:, [0, 1, 2, 0]] * (3 / 4)
    assert torch.allclose(network.conv1.weight, turns)
    for key, value in network.state_dict().items():
        if key != "conv1.weight" and not key.startswith("last_layer."):
            assert torch.equal(value, theirs[key]), key
    assert torch.equal(network.last_layer[0].weight, head)


def test_a_grey_image_gets_the_sum_of_the_colours():
    colour, grey = build(), build(channels=1)
    grey.take(colour.state_dict())
    assert torch.allclose(grey.conv1.weight, colour.conv1.weight.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("stage3.0.branches.1.0.bn1.running_mean"), r"1 are missing, e\.g\. stage3\.0\.branches\.1\.0"),
        (
            lambda s: s.update({"conv2.weight": torch.zeros(64, 64, 1, 1)}),
            r"1 have another shape, e\.g\. conv2\.weight",
        ),
        (lambda s: s.pop("conv1.weight"), r"1 are missing, e\.g\. conv1\.weight"),
    ],
)
def test_weights_that_are_not_whole_are_refused_and_nothing_is_copied(change, told):
    network, state = build(), lively(build()).state_dict()
    before = copy.deepcopy(network.state_dict())
    change(state)
    with pytest.raises(WeightsError, match=rf"weights of timm's hrnet_w4_modules1_1_1: .*{told}"):
        network.take(state)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_width_that_timm_does_not_have_says_so(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    network = build(width=5, modules=(1, 4, 3))
    with pytest.raises(WeightsError, match=r"weights of hrnet_w5 could not be fetched from timm.*-tr Something"):
        load_pretrained(network, "-tr Something")


# ---------------------------------------------------------------- OCR and enlarging


def by_loops(network, features):
    """The OCR head's two class maps of one image, pixel by pixel in numpy; `features` (C, H, W)."""

    def layer(conv, norm, x):  # (c, n) -> ReLU(norm(conv))
        y = conv.weight.double().numpy()[:, :, 0, 0] @ x
        if conv.bias is not None:
            y += conv.bias.double().numpy()[:, None]
        mean, variance, scale, shift = (
            t.double().numpy()[:, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return np.maximum((y - mean) / np.sqrt(variance + norm.eps) * scale + shift, 0)

    def chain(part, x):
        for conv, (norm, _) in zip(part[::2], part[1::2], strict=True):
            x = layer(conv, norm, x)
        return x

    def linear(conv, x):
        return conv.weight.double().numpy()[:, :, 0, 0] @ x + conv.bias.double().numpy()[:, None]

    flat = features.double().flatten(1).numpy()
    auxiliary = linear(network.aux_head[3], layer(network.aux_head[0], network.aux_head[1], flat))
    pixels = network.conv3x3_ocr(features[None])[0].double().flatten(1).numpy()
    objects = np.zeros((pixels.shape[0], K))
    for k in range(K):
        weights = np.exp(auxiliary[k] - auxiliary[k].max())
        for p, weight in enumerate(weights / weights.sum()):
            objects[:, k] += weight * pixels[:, p]
    block = network.ocr_distri_head.object_context_block
    query, key, value = chain(block.f_pixel, pixels), chain(block.f_object, objects), chain(block.f_down, objects)
    mixed = np.zeros_like(query)
    for p in range(query.shape[1]):
        alike = np.array([query[:, p] @ key[:, k] / 256**0.5 for k in range(K)])
        alike = np.exp(alike - alike.max())
        mixed[:, p] = sum(a * value[:, k] for k, a in enumerate(alike / alike.sum()))
    context = chain(block.f_up, mixed)
    (conv, (norm, _)) = network.ocr_distri_head.conv_bn_dropout[:2]
    return linear(network.cls_head, layer(conv, norm, np.concatenate([context, pixels]))), auxiliary


def test_ocr_by_loops_over_pixels_and_classes():
    network, seen = lively(build(ocr=True)), []
    with torch.no_grad():
        for p in network.aux_head[3].parameters():
            p.mul_(5)  # classes in different places
        network.aux_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        final, auxiliary = network.scores([image(5, 6, channels=c, batch=2) for c in (4, 8, 16, 32)])
        for i in range(2):
            expected = by_loops(network, seen[0][i])
            for found, loops in zip((final[i], auxiliary[i]), expected, strict=True):
                assert np.abs(loops).max() > 0.1
                np.testing.assert_allclose(found.flatten(1).numpy(), loops, rtol=1e-4, atol=1e-4)


@BOTH
def test_logits_are_enlarged_with_corners_aligned_with_ocr_only(ocr):
    network, x = lively(build(ocr)), image(64, 96, batch=1)
    with torch.no_grad():
        small = network.scores(network.stage4_maps(network.stage3_maps(network.stage2_maps(x))))[0]
        found = network(x)[0].numpy()
    for logits, expected in zip(found, small[0].numpy(), strict=True):
        enlarged = ndimage.zoom(expected, 4, order=1, mode="nearest", grid_mode=not ocr)
        np.testing.assert_allclose(logits, enlarged, atol=1e-4 * np.abs(enlarged).max())


# ---------------------------------------------------------------- a network of nnU-Net


@BOTH
def test_trains_and_predicts_any_size(ocr):
    network = build(ocr).train()
    output = network(image(61, 90))
    if ocr:
        assert isinstance(output, TrainingOutput)
        assert list(output.extra) == ["auxiliary"]
        output = torch.stack([output.logits, output.extra["auxiliary"]])
    assert output.shape[-4:] == (2, K, 61, 90)
    (output * torch.randn_like(output)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    network.eval()
    with torch.no_grad():
        for size in ((61, 90), (17, 33), (3, 4)):
            assert network(image(*size)).shape == (2, K, *size)


@BOTH
def test_copies_pickles_reloads_and_works_in_half_precision(ocr):
    network, x = lively(build(ocr)), image(64, 64)
    other = build(ocr).eval()
    other.load_state_dict(pickled(network.state_dict()), strict=True)
    with torch.no_grad():
        expected = network(x)
        for twin in (copy.deepcopy(network), pickled(network), other):
            assert torch.equal(twin(x), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(x)
    assert (half.float() - expected).abs().mean() < 0.3 * expected.abs().mean()


@pytest.mark.slow  # of tracing; test_ovenet_hrnet.py traces its parts
@BOTH
@pytest.mark.parametrize("training", [False, True])
def test_compiles_to_one_graph(ocr, training):
    torch._dynamo.reset()
    network, x = lively(build(ocr, blocks=4)).train(training), image(64, 64)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.manual_seed(4)  # of dropout
        found = compiled(x)
        torch.manual_seed(4)
        expected = network(x)
    for a, b in zip(*(o if isinstance(o, TrainingOutput) else (o,) for o in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_colour_images_in_0_to_1_are_normalised_inside():
    plain = lively(build())
    inside = build(plan=topology(normalization=("RGBTo01Normalization",) * 3)).eval()
    inside.load_state_dict(plain.state_dict(), strict=True)  # constants are not weights
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(inside(x), plain((x - mean) / std), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(inside(x), plain(x), atol=1e-2)


def test_refuses_small_patches_and_volumes():
    spec = HRNetSpec()
    spec.check(topology((33, 100)))
    with pytest.raises(UnsupportedPlanError, match=r'\[32, 96\] has a side of 32 pixels or less.*size": \[64, 96\]'):
        spec.check(topology((32, 96)))
    with pytest.raises(UnsupportedPlanError, match=r"2D only\. Use the configuration 2d"):
        spec.check(topology((64, 64, 64)))


def test_training_sizes_are_multiples_of_32():
    assert HRNetSpec().fitting_size(topology(), (30, 130)) == (64, 128)


def test_refuses_fields_that_do_not_exist_and_describes_the_others():
    for wrong in ({"width": 0}, {"modules": (1, 4)}, {"modules": (1, 0, 3)}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
            HRNetSpec(**wrong)
    expected = {"network": "HRNetSpec", "width": "48", "modules": "(1, 4, 3)", "ocr": "True"}
    assert HRNetSpec(ocr=True).describe() == expected


def test_the_objects_of_ocr_are_gathered_in_full_precision():
    """Means over thousands of pixels: each has a share that half precision cannot hold."""
    torch.manual_seed(0)
    features, logits = torch.randn(1, 8, 64, 64), torch.randn(1, 3, 64, 64)
    expected = SpatialGather()(features, logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(SpatialGather()(features, logits), expected)
