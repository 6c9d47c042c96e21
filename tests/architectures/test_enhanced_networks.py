"""U-Net, DeepLabV3+ and SINetV2 of the IFE paper: counts, sizes, classes, and where the selected channels go."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from lively import lively
from support import architecture, pickled
from torch import Tensor

from nnunet_ext.architectures.complexity import count_parameters
from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.deeplabv3plus import DeepLabV3PlusSpec
from nnunet_ext.architectures.published.sinetv2 import SINetV2Spec
from nnunet_ext.architectures.published.sinetv2_parts import ReverseStage
from nnunet_ext.architectures.published.unet import UNetSpec
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

K = 2
UNET = UNetSpec(features=(4, 6, 8, 10, 12))
DEEPLAB = DeepLabV3PlusSpec(encoder="resnet18", width=8)
SINET = SINetV2Spec(backbone="test_resnet")
SMALL = {"unet": UNET, "deeplab": DEEPLAB, "sinet": SINET}
EVERY = pytest.mark.parametrize("spec", SMALL.values(), ids=SMALL)
CLASSIFIER = 2_049_000  # of Res2Net-50, which the authors' SINetV2 has and does not use


def topology(patch=(64, 64), normalization=()):
    return Topology.from_plan(architecture(len(patch)), patch, normalization)


@cache
def once(spec, channels, outputs):
    torch.manual_seed(0)
    return spec.build(None, channels, outputs, False)


def build(spec, channels=3, outputs=K):
    """The same network each time; drawing millions of weights takes longer than copying them."""
    return copy.deepcopy(once(spec, channels, outputs))


def image(*size, channels=3, batch=2):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def outputs_of(output):
    """Return a network's outputs, the final one last."""
    return [output] if isinstance(output, Tensor) else [*output.extra.values(), output.logits]


# ---------------------------------------------------------------- numbers


def on_meta(spec, channels=3, outputs=1):
    with torch.device("meta"):
        return count_parameters(spec.build(None, channels, outputs, False))


@pytest.mark.parametrize(
    ("spec", "base", "more"),
    [
        (
            UNetSpec(),
            31_043_521,
            {
                ("curvature", None): 405_504,
                ("entropy", None): 368_640,
                ("entropy_unique", None): 368_640,
                ("curvature", (0.75, 0.75)): 552_960,
                ("entropy", (1.0, 1.0)): 737_280,
                ("curvature", (0.0, 0.0)): 0,
            },
        ),
        (
            DeepLabV3PlusSpec(),
            59_339_169,
            {("curvature", None): 82_944, ("entropy", None): 82_944, ("random", (0.75, 0.75)): 525_312},
        ),
        (
            SINetV2Spec(),
            26_975_642 - CLASSIFIER,
            {(score, None): 50_784 for score in ("curvature", "entropy", "random")},
        ),
    ],
    ids=SMALL,
)
def test_published_numbers(spec, base, more):
    assert on_meta(spec) == base
    for (score, ratios), extra in more.items():
        assert on_meta(replace(spec, score=score, ratios=ratios)) == base + extra, (score, ratios)


@pytest.mark.parametrize("k", [2, 5])
def test_parameters_of_further_classes(k):
    """By hand: a class more is a 1 x 1 convolution's row; with SINetV2, rows of nine scores, and columns."""
    assert on_meta(UNET, outputs=k) - on_meta(UNET) == (k - 1) * (4 + 1)
    assert on_meta(DEEPLAB, outputs=k) - on_meta(DEEPLAB) == (k - 1) * (8 + 1)
    scores = 96 + 1 + 9 * (32 * 9 + 1)
    columns = 3 * (1 + 4 + 32) * 32 * 9  # one, four and thirty-two groups of channels
    assert on_meta(SINET, outputs=k) - on_meta(SINET) == (k - 1) * (scores + columns)


# ---------------------------------------------------------------- a network of nnU-Net


@EVERY
@pytest.mark.parametrize("score", [None, "entropy"])
def test_trains_and_predicts_any_size(spec, score):
    network = build(replace(spec, score=score)).train()
    assert not hasattr(network, "decoder")  # nnU-Net would flip its deep supervision
    output = network(image(61, 90))
    assert isinstance(output, TrainingOutput) == (spec is SINET)
    found = outputs_of(output)
    assert [o.shape for o in found] == [(2, K, 61, 90)] * (4 if spec is SINET else 1)
    sum((o * torch.randn_like(o)).sum() for o in found).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    network.eval()
    with torch.no_grad():
        for size in ((61, 90), (17, 33)):
            found = network(image(*size))
            assert isinstance(found, Tensor)
            assert found.shape == (2, K, *size)
            assert torch.isfinite(found).all()


@pytest.mark.parametrize("spec", [UNET, SINET], ids=["unet", "sinet"])
def test_trains_on_single_images_that_are_tiny(spec):
    """DeepLabV3+ pools a map to a pixel, and so has batches of two."""
    output = build(replace(spec, score="curvature")).train()(image(5, 3, batch=1))
    assert all(o.shape == (1, K, 5, 3) and torch.isfinite(o).all() for o in outputs_of(output))


@EVERY
@pytest.mark.parametrize(("channels", "k"), [(1, 1), (4, 5)])
def test_other_channels_and_classes_build(spec, channels, k):
    network = build(replace(spec, score="curvature"), channels, k).eval()
    assert network(image(64, 64, channels=channels, batch=1)).shape == (1, k, 64, 64)


@EVERY
def test_copies_and_reloads_strictly(spec):
    spec = replace(spec, score="random")  # which has a buffer
    network, x = lively(build(spec)), image(64, 64)
    other = build(spec).eval()
    with torch.no_grad():
        expected = network(x)
        assert not torch.equal(other(x), expected)
        other.load_state_dict(pickled(network.state_dict()), strict=True)
        for twin in (other, copy.deepcopy(network)):
            assert torch.equal(twin(x), expected)


def compiles(network, *inputs):
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        results = []
        for form in (compiled, network):
            torch.manual_seed(4)  # of dropout and random scores
            results.append(outputs_of(form(*inputs)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.slow  # of tracing; the contract compiles U-Net by default
@EVERY
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("score", ["curvature", "entropy", "random"])
def test_compiles_to_one_graph(spec, score, training):
    compiles(build(replace(spec, score=score)).train(training), image(64, 64))


def test_reverse_stages_compile_to_one_graph():
    torch.manual_seed(0)
    compiles(ReverseStage(8, (8, 4, 1), K), torch.randn(2, 8, 4, 6), torch.randn(2, K, 4, 6))


@pytest.mark.parametrize("spec", [DEEPLAB, SINET], ids=["deeplab", "sinet"])
def test_colour_images_in_0_to_1_are_normalised_inside(spec):
    plain = lively(build(spec))
    plan = topology(normalization=("RGBTo01Normalization",) * 3)
    inside = spec.build(plan, 3, K, False).eval()
    inside.load_state_dict(plain.state_dict(), strict=True)  # constants are not weights
    source = plain.encoder if spec is SINET else plain
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (source.mean, source.std))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(inside(x), plain((x - mean) / std), rtol=1e-3, atol=1e-3)
        assert not torch.allclose(inside(x), plain(x), rtol=1e-2, atol=1e-2)


# ---------------------------------------------------------------- where the selected channels go


def taking_over(enhanced, plain):
    """Give a network with IFE the weights of one without, in such a way that selected channels count for nothing."""
    own, given = enhanced.state_dict(), plain.state_dict()
    widened = []
    for key, value in own.items():
        if key.startswith("selections."):
            continue
        if key.startswith("first_convs."):
            value.zero_()
            if key.endswith("weight"):  # the raw channels, 32 behind the selected ones, as they are
                n = value.shape[1] - 32
                value[range(32), range(n, n + 32), 1, 1] = 1
            continue
        source = given[key]
        if source.shape == value.shape:
            value.copy_(source)
            continue
        widened.append(key)
        value.zero_()
        value[:, raw_inputs(enhanced, key)] = source
    return widened


def raw_inputs(network, key):
    """Numbers of a widened convolution's inputs that are raw channels, from what the paper's code concatenates."""
    if "expansion" in key:  # [enlarged, raw, selected]; stages are coarsest first
        c = {"expansion.stages.2": 6, "expansion.stages.1": 8}[key.split(".convs.")[0]]
        return list(range(2 * c))
    k_low, k_deep = (s.k for s in network.selections)
    assert key == "merge.0.weight"  # [selected, raw] of ASPP, then [selected, raw] of the 48
    deep = range(k_deep, k_deep + 8)
    return [*deep, *range(k_deep + 8 + k_low, k_deep + 8 + k_low + 48)]


@EVERY
@pytest.mark.parametrize("score", ["curvature", "random"])
def test_without_weights_of_selected_channels_it_is_the_plain_network(spec, score):
    ratios = {UNET: (0.75, 0.5), DEEPLAB: (0.75, 0.5), SINET: (0.75, 0.5, 1.0)}[spec]
    plain, enhanced = lively(build(spec)), build(replace(spec, score=score, ratios=ratios)).eval()
    widened = taking_over(enhanced, plain)
    # blocks of dynamic_network_architectures name their layers twice
    assert len({k.split(".convs.")[0] for k in widened}) == {UNET: 2, DEEPLAB: 1, SINET: 0}[spec]
    x = image(64, 96)
    with torch.no_grad():
        expected = plain(x)
        torch.testing.assert_close(enhanced(x), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
        for p in enhanced.parameters():  # of selected channels too
            p[p == 0] = 0.1
        assert (enhanced(x) - expected).abs().max() > 1e-3 * expected.abs().max()


def seen_by_selections(network, x):
    """Return what each selection is given and gives."""
    seen = []
    hooks = [s.register_forward_hook(lambda _, i, o: seen.append((i[0], o))) for s in network.selections]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return seen


@EVERY
def test_selections_see_the_papers_maps(spec):
    network = lively(build(replace(spec, score="entropy", ratios=(0.5,) * len(spec.places))))
    assert all(isinstance(s, ChannelSelection) and s.score == "entropy" for s in network.selections)
    expected = {
        UNET: [(6, 32, 48), (8, 16, 24)],
        DEEPLAB: [(48, 16, 24), (8, 4, 6)],
        SINET: [(32, 8, 12), (32, 4, 6), (32, 2, 3)],
    }[spec]
    seen = seen_by_selections(network, image(64, 96))
    assert [tuple(i.shape[1:]) for i, _ in seen] == expected
    for given, returned in seen:
        assert given.min() == 0, "behind a ReLU"
        first = returned.shape[1] - given.shape[1] if spec is not UNET else 0
        assert torch.equal(returned[:, first : first + given.shape[1]], given)


# ---------------------------------------------------------------- plans and fields


@EVERY
def test_refuses_volumes(spec):
    spec.check(topology((37, 50)))
    with pytest.raises(UnsupportedPlanError, match=r"2D only\. Use the configuration 2d"):
        spec.check(topology((64, 64, 64)))


def test_training_sizes_need_no_padding():
    sizes = {name: spec.fitting_size(topology(), (30, 135)) for name, spec in SMALL.items()}
    assert sizes == {"unet": (32, 128), "deeplab": (32, 128), "sinet": (64, 128)}


@EVERY
def test_refuses_fields_that_do_not_exist(spec):
    n = len(spec.places)
    for wrong in ((0.5,) * (n + 1), (0.5,) * (n - 1), (1.5,) * n, (-0.1,) * n, (float("nan"),) * n):
        with pytest.raises(ValueError, match=rf"ratios=.*: give {n} from 0 to 1, of .*; e\.g\. \(0\.75, "):
            replace(spec, score="curvature", ratios=wrong)
    with pytest.raises(ValueError, match=r"without a score select nothing. Add score=.curvature., or leave out"):
        replace(spec, ratios=(0.5,) * n)
    with pytest.raises(ValueError, match="score='sharpness': choose of curvature, entropy"):
        replace(spec, score="sharpness")


def test_refuses_other_fields():
    for spec, wrong in ((UNET, {"features": (4, 6)}), (DEEPLAB, {"encoder": "vgg"}), (DEEPLAB, {"width": 0})):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
            replace(spec, **wrong)


@EVERY
def test_describes_its_score_and_ratios(spec):
    described = [replace(spec, score=s).describe() for s in (None, "curvature", "entropy", "random")]
    assert [d["score"] for d in described] == ["None", "curvature", "entropy", "random"]
    assert described[0]["ratios"] == "()"
    assert described[1]["ratios"] == described[3]["ratios"] == str(spec.paper_ratios["curvature"])
    assert described[2]["ratios"] == ("(0.5, 0.5)" if spec is UNET else described[1]["ratios"])
    assert {d["network"] for d in described} == {type(spec).__name__}
    assert all(isinstance(v, str) for d in described for v in d.values())
