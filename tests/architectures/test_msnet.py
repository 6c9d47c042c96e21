"""MSNet and M2SNet: the published code's numbers and outputs, each reading by itself, sizes, plans that are refused."""

import numpy as np
import pytest
import torch
from support import REFERENCE, architecture
from torch import nn

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.decoders.multiscale_subtraction import SubtractionUnit, resize_to
from nnunet_ext.architectures.encoders.pretrained import ImageNormalization
from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.architectures.published.msnet_dense_filter import DenseFilter, DenseUnits
from nnunet_ext.architectures.published.msnet_head import BoxUnits, SubtractionHead
from nnunet_ext.architectures.published.msnet_weights import head_names
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
TINY = "test_resnet"  # timm's model for tests, 0.4 M parameters
SU, MSU, DENSE = MSNetSpec((1,), backbone=TINY), MSNetSpec(backbone=TINY), MSNetSpec(filter="dense", backbone=TINY)
READINGS = {
    "msnet": SU,
    "m2snet": MSU,
    "mean": MSNetSpec(filter="box_mean", backbone=TINY),
    "dense": DENSE,
    "paper": MSNetSpec(aggregate="paper", backbone=TINY),
    "activation": MSNetSpec(level1="activation", backbone=TINY),
}


def on_meta(spec, outputs=1, channels=3):
    with torch.device("meta"):
        return spec.build(None, channels, outputs, False)


def image(*size, channels=3, batch=2):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def build(spec, channels=3, outputs=2, topology=None):
    torch.manual_seed(0)
    return spec.build(topology, channels, outputs, False)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("spec", "parameters", "macs_256", "macs_352"),
    [
        (MSNetSpec((1,)), 27_692_329, 8_909_225_984, 16_844_005_376),
        # box filters of ten differences, 9 + 25 additions for each of 64 channels: what they really cost
        (MSNetSpec(), 27_692_329, 8_909_225_984 + 67_403_776, 16_844_005_376 + 127_435_264),
        (MSNetSpec(filter="dense"), 27_692_585, 8_909_225_984, 16_844_005_376),
        (MSNetSpec((1,), aggregate="paper"), 26_586_601, 8_845_524_992, 16_723_570_688),
    ],
    ids=["msnet", "m2snet", "dense", "paper"],
)
def test_published_numbers(spec, parameters, macs_256, macs_352):
    network = on_meta(spec)
    assert count_parameters(network) == parameters
    assert count_macs(network, (3, 256, 256)) == macs_256
    assert count_macs(network, (3, 352, 352)) == macs_352


def test_parameters_by_part():
    network = on_meta(MSNetSpec())
    assert count_parameters(network.encoder) == 23_669_352
    assert count_parameters(network.subtraction) + count_parameters(network.head) == 4_022_977
    assert count_parameters(network.subtraction.units) == 370_560
    assert len(network.subtraction.units) == 10
    assert count_parameters(on_meta(MSNetSpec(), outputs=5)) == 27_692_329 + 4 * 577
    assert (network.encoder.out_channels, network.encoder.strides) == (
        [64, 256, 512, 1024, 2048],
        [[2, 2], [4, 4], [8, 8], [16, 16], [32, 32]],
    )


# ---------------------------------------------------------------- the authors' outputs


def vectors(prefix):
    content = np.load(REFERENCE / "m2snet_head.npz")
    return {k.removeprefix(prefix): torch.from_numpy(content[k]) for k in content.files if k.startswith(prefix)}


def small_head(net, given):
    """A head of 4 channels with the reference's weights, and its last convolution."""
    units = {
        "msnet": lambda blocks: BoxUnits(blocks, (1,), "sum"),
        "m2snet_box": lambda blocks: BoxUnits(blocks, (1, 3, 5), "sum"),
        "m2snet": lambda blocks: DenseUnits(blocks, 4),
    }[net]
    head, last = SubtractionHead([4, 6, 8, 10, 12], 4, units), nn.Conv2d(4, 1, 3, padding=1)
    state = head.state_dict()
    names = head_names(dense=net == "m2snet")
    names |= {"filter_bn3": "units.filters.0.norm", "filter_bn5": "units.filters.1.norm"} if net == "m2snet" else {}
    loaded = set()
    for theirs, ours in names.items():
        for key in [k for k in given if k.startswith(f"weights.{theirs}.")]:
            target = ours + key.removeprefix(f"weights.{theirs}")
            assert state[target].shape == given[key].shape
            state[target] = given[key]
            loaded.add(target)
    assert {n for n, _ in head.named_parameters()} == loaded
    head.load_state_dict(state)
    last.load_state_dict({k: given[f"weights.output1.0.{k}"] for k in ("weight", "bias")})
    return head.double(), last.double()


@reference
@pytest.mark.parametrize("net", ["msnet", "m2snet", "m2snet_box"])
def test_the_published_codes_outputs_gradients_and_statistics(net):
    given = vectors("small.")
    head, last = small_head(net, given)
    features = [given[f"x{i}"].double().requires_grad_() for i in range(1, 6)]
    like = torch.empty(2, 1, 64, 64)

    def logits():
        return resize_to(last(head(features)), like)

    output = logits()
    assert torch.allclose(output.float(), given[f"{net}.train_output"], rtol=1e-4, atol=1e-4)
    (output * given["cotangent"].double()).sum().backward()
    unit = head.units.blocks["n2_i4"] if net == "m2snet" else head.units["n2_i4"].block
    found = {"grad_x1": features[0].grad, "grad_x5": features[4].grad, "grad_x5_x4_conv_weight": unit[0].weight.grad}
    for name, gradient in found.items():
        expected = given[f"{net}.{name}"].double()
        assert (gradient - expected).norm() < 1e-4 * expected.norm(), name
    if net == "m2snet":
        for f, k in zip(head.units.filters, (3, 5), strict=True):
            assert torch.allclose(f.norm.running_mean.float(), given[f"m2snet.filter_bn{k}.running_mean"], rtol=1e-4)
            assert torch.allclose(f.norm.running_var.float(), given[f"m2snet.filter_bn{k}.running_var"], rtol=1e-4)
            assert f.norm.num_batches_tracked == 20
    head.eval()
    with torch.no_grad():
        assert torch.allclose(logits().float(), given[f"{net}.eval_output"], rtol=1e-4, atol=1e-4)


def identity_head(kind, aggregate="code"):
    """A head of one channel whose blocks are the identity."""
    units = {
        "su": lambda blocks: BoxUnits(blocks, (1,), "sum"),
        "msu": lambda blocks: BoxUnits(blocks, (1, 3, 5), "sum"),
        "dense_train": lambda blocks: DenseUnits(blocks, 1),
    }[kind]
    return SubtractionHead([1] * 5, 1, units, aggregate, block=lambda _, __: nn.Identity()).double()


def close(found, expected, tolerance=1e-5):
    return (found.squeeze() - expected).abs().max() <= tolerance * expected.abs().max()


@reference
@pytest.mark.parametrize("kind", ["su", "msu", "dense_train"])
@pytest.mark.parametrize("case", ["identity_square", "identity_wide"])
def test_pyramid_and_aggregation_by_hand(case, kind):
    given = {k: v.double() for k, v in vectors(f"{case}.").items()}
    maps = [given[f"x{i}"][None, None] for i in range(1, 6)]
    like = torch.empty(1, 1, *(int(s) for s in given["input_size"]))
    head, tolerance = identity_head(kind), 1e-4 if kind == "dense_train" else 1e-5
    rows = head.pyramid(maps)
    assert [len(row) for row in rows] == [5, 4, 3, 2, 1]
    for i, row in enumerate(rows, 1):
        for n, found in enumerate(row[1:], 2):
            assert close(found, given[f"{kind}.MS_n{n}_i{i}"], tolerance)
    fresh = identity_head(kind)  # whose running statistics have seen nothing
    assert close(resize_to(fresh(maps), like), given[f"{kind}.output_code"], tolerance)
    if kind == "dense_train":
        for f, k in zip(fresh.units.filters, (3, 5), strict=True):
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                assert close(getattr(f.norm, name).double(), given[f"dense_train.bn{k}.{name}"], tolerance)
        return
    paper = identity_head(kind, "paper")
    for head, reading in ((fresh, "code"), (paper, "paper")):
        for i, found in enumerate(head.aggregate(rows, maps[-1]), 1):
            assert close(found, given[f"{kind}.CE_{reading}_i{i}"])
    assert close(resize_to(paper(maps), like), given[f"{kind}.output_paper"])


@pytest.mark.parametrize("size", [3, 5])
def test_the_dense_filter_is_the_dense_convolution(size):
    x = image(7, 6, channels=4)
    ones = nn.functional.conv2d(x, torch.ones(4, 4, size, size), padding=size // 2)
    expected = nn.BatchNorm2d(4)(ones).relu()
    assert torch.allclose(DenseFilter(4, size)(x), expected, atol=1e-5)


def test_the_dense_filter_does_not_overflow_half_precision():
    x = torch.full((1, 64, 8, 8), 100.0, dtype=torch.bfloat16)
    x[:, :, ::2] = 60.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = DenseFilter(64, 5)(x)
    assert found.dtype == torch.float32
    assert torch.allclose(found, DenseFilter(64, 5)(x.float()), atol=1e-4)


# ---------------------------------------------------------------- every reading


@pytest.mark.parametrize("name", READINGS)
def test_trains_and_predicts_any_size(name):
    network = build(READINGS[name])
    assert not hasattr(network, "decoder")  # nnU-Net would flip its deep supervision
    x = image(64, 96)
    network.train()
    output = network(x)
    assert output.shape == (2, 2, 64, 96)
    (output * torch.randn_like(output)).sum().backward()
    for key, p in network.named_parameters():
        assert p.grad is not None, key
        assert torch.isfinite(p.grad).all(), key
        if key.startswith("subtraction") and not key.endswith("bias"):  # a bias before batch norm has none, and timm
            assert p.grad.abs().max() > 0, key  # starts each residual branch of the encoder at zero
    network.eval()
    with torch.no_grad():
        for size in ((64, 96), (37, 50), (17, 33)):
            x = image(*size)
            assert network(x).shape == (2, 2, *size)
            assert torch.isfinite(network(x)).all()


@pytest.mark.parametrize(("spec", "training"), [(MSU, False), (DENSE, True)], ids=["box", "dense"])
def test_compiles_to_one_graph(spec, training):
    torch._dynamo.reset()
    network = build(spec, topology=topology((64, 64), ("RGBTo01Normalization",) * 3)).train(training)
    compiled, x = torch.compile(network, backend="eager", fullgraph=True), image(64, 64)
    with torch.no_grad():
        assert torch.allclose(compiled(x), network(x), atol=1e-5)


def test_one_scale_is_msnet_bit_for_bit():
    single, three = build(SU), build(MSU)
    three.load_state_dict(single.state_dict(), strict=True)
    x = image(64, 64)
    expected = single.eval()(x)
    assert not torch.equal(three.eval()(x), expected)
    for unit in three.modules():
        if isinstance(unit, SubtractionUnit):
            unit.sizes = ((1, 1),)
    assert torch.equal(three(x), expected)
    assert torch.equal(build(MSNetSpec((1,), "box_mean", backbone=TINY)).eval()(x), expected)


def test_dense_and_box_weights_never_load_into_each_other():
    box, dense = build(MSU), build(DENSE)
    for one, other in ((box, dense), (dense, box)):
        with pytest.raises(RuntimeError, match=r"Missing key[\s\S]*Unexpected key"):
            one.load_state_dict(other.state_dict(), strict=True)
        # nnU-Net's -pretrained_weights only asks that the file has every key of the network
        assert set(one.state_dict()) - set(other.state_dict())


def test_the_level_before_the_stems_pool_is_twice_as_fine():
    sizes = {}
    for name in ("m2snet", "activation"):
        network = build(READINGS[name]).eval()
        network.head.register_forward_pre_hook(lambda _, inputs, name=name: sizes.update({name: inputs[0][0].shape}))
        network(image(64, 64))
    assert (sizes["m2snet"][-2:], sizes["activation"][-2:]) == ((16, 16), (32, 32))


def test_other_channel_counts_build():
    for channels in (1, 2, 4):
        network = build(MSU, channels)
        assert network.eval()(image(64, 64, channels=channels)).shape == (2, 2, 64, 64)


def test_nnunet_leaves_the_last_convolution_out_of_pretrained_weights():
    keys = [k for k in build(MSU).state_dict() if ".seg_layers." in k]
    assert keys == ["head.seg_layers.0.weight", "head.seg_layers.0.bias"]


# ---------------------------------------------------------------- plans


def topology(patch, normalization=()):
    return Topology.from_plan(architecture(len(patch)), patch, normalization)


def test_colour_images_in_0_to_1_are_normalised_inside():
    rgb = ("RGBTo01Normalization",) * 3
    plain = build(MSU).eval()
    inside = build(MSU, topology=topology((64, 64), rgb)).eval()
    assert set(inside.state_dict()) == set(plain.state_dict())  # constants are not weights
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (plain.encoder.mean, plain.encoder.std))
    x = torch.rand(1, 3, 64, 64)
    assert torch.allclose(inside(x), plain((x - mean) / std), atol=1e-5)
    assert not torch.allclose(inside(x), plain(x), atol=1e-3)
    for other in (("ZScoreNormalization",) * 3, rgb[:2], (*rgb[:2], "ZScoreNormalization"), rgb[:1], ()):
        network = build(MSU, topology=topology((64, 64), other)).eval()
        assert torch.equal(network(x), plain(x)), other


def test_labels_of_a_previous_stage_are_not_normalised():
    network = build(MSU, 5, topology=topology((64, 64), ("RGBTo01Normalization",) * 3))
    assert isinstance(network.normalization, ImageNormalization)
    x = torch.rand(1, 5, 64, 64)
    assert torch.equal(network.normalization(x)[:, 3:], x[:, 3:])
    assert not torch.isclose(network.normalization(x)[:, :3], x[:, :3]).all()


def test_imagenets_statistics_are_those_of_the_published_backbone():
    encoder = on_meta(MSNetSpec()).encoder
    assert encoder.mean == (0.485, 0.456, 0.406)
    assert encoder.std == (0.229, 0.224, 0.225)


def test_refuses_small_patches_and_volumes():
    MSU.check(topology((64, 100)))
    with pytest.raises(UnsupportedPlanError, match=r'\[48, 96\] has a side below 64.*"patch_size": \[64, 96\]'):
        MSU.check(topology((48, 96)))
    with pytest.raises(UnsupportedPlanError, match=r"2D only\. Use the configuration 2d"):
        MSU.check(topology((64, 64, 64)))


def test_training_sizes_are_multiples_of_32():
    assert MSU.fitting_size(topology((64, 64)), (30, 130)) == (64, 128)
    assert MSU.fitting_size(topology((352, 352)), (352 * 0.75, 352 * 1.25)) == (256, 448)


def test_refuses_filters_that_do_not_exist():
    for wrong in ({"scales": (2,)}, {"scales": ()}, {"scales": (1, 3), "filter": "dense"}):
        with pytest.raises(ValueError, match="scales="):
            MSNetSpec(**wrong)


def test_describes_its_reading():
    described = DENSE.describe()
    assert described["network"] == "MSNetSpec"
    assert (described["filter"], described["scales"], described["backbone"]) == ("dense", "(1, 3, 5)", TINY)
    assert len({tuple(spec.describe().items()) for spec in READINGS.values()}) == len(READINGS)
