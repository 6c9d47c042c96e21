"""Box filter, subtraction unit, pyramid and decoder: against plain pooling, the authors' vectors and the equations."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import REFERENCE, architecture
from torch import nn

from nnunet_ext.architectures.decoders.box_filter import box_filter, multi_scale_difference
from nnunet_ext.architectures.decoders.multiscale_subtraction import (
    SubtractionDecoder,
    SubtractionUnit,
    filter_sizes,
    resize_to,
    subtraction_pyramid,
)
from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

SQUARES = ((1, 1), (3, 3), (5, 5))
CUBES = ((1, 1, 1), (3, 3, 3), (5, 5, 5))
IN_PLANE = ((1, 1, 1), (1, 3, 3), (1, 5, 5))


def noise(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pooled(x, size):
    """The filter as pooling without division."""
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    return pool(x, size, 1, [k // 2 for k in size], divisor_override=1)


def front_by_pooling(d, sizes, mean=False):
    return sum(pooled(d, s).abs() / (math.prod(s) if mean else 1) for s in sizes)


def vectors(name):
    """Reference vectors of the authors' code; tests that need them skip where they are absent."""
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    return np.load(path, allow_pickle=False)


@pytest.fixture(scope="module")
def units():
    return vectors("m2snet_units.npz")


@pytest.fixture(scope="module")
def head():
    return vectors("m2snet_head.npz")


# ---------------------------------------------------------------- the filter


@pytest.mark.parametrize("memory", ["contiguous", "channels last"])
@pytest.mark.parametrize("size", [(3, 3), (5, 5), (1, 3), (7, 5), (3, 3, 3), (5, 5, 5), (1, 5, 5)])
def test_filter_is_pooling_without_division(size, memory):
    x = noise(2, 3, *(9, 8, 7)[: len(size)])
    if memory == "channels last":
        x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
    assert torch.allclose(box_filter(x, size), pooled(x, size), atol=1e-12)


def test_filter_is_linear():
    a, b = noise(2, 4, 11, 13, dtype=torch.float32), noise(2, 4, 11, 13, dtype=torch.float32, seed=1)
    difference = box_filter(a, (5, 5)) - box_filter(b, (5, 5))
    assert torch.allclose(difference, box_filter(a - b, (5, 5)), atol=1e-5)


@pytest.mark.parametrize("size", [(3, 3), (5, 3), (3, 3, 3), (1, 3, 3)])
def test_filter_has_exact_first_and_second_derivatives(size):
    x = noise(1, 2, *(4, 5, 3)[: len(size)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: box_filter(v, size), (x,))
    assert torch.autograd.gradgradcheck(lambda v: box_filter(v, size), (x,))


@pytest.mark.parametrize("sizes", [SQUARES, ((1, 1), (3, 3)), CUBES, IN_PLANE])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_front_and_its_derivatives(sizes, reduce):
    d = noise(1, 2, *(6, 5, 5)[: len(sizes[0])]).requires_grad_()
    ours = multi_scale_difference(d, sizes, reduce)
    plain = front_by_pooling(d, sizes, reduce == "mean")
    assert torch.allclose(ours, plain, atol=1e-12)
    weight = noise(*d.shape, seed=3)
    found, expected = (torch.autograd.grad((y * weight).sum(), d)[0] for y in (ours, plain))
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.autograd.gradcheck(lambda v: multi_scale_difference(v, sizes, reduce), (d,))
    squared = lambda v: multi_scale_difference(v, sizes, reduce).square()  # noqa: E731
    assert torch.autograd.gradgradcheck(squared, (d,))


def test_front_keeps_one_byte_for_each_scale_of_an_element():
    d = noise(2, 8, 16, 16, dtype=torch.float32).requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        multi_scale_difference(d, SQUARES)
    assert sum(t.numel() * t.element_size() for t in saved) == 3 * d.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sizes", [SQUARES, CUBES])
def test_front_works_in_half_precision(dtype, sizes):
    d = noise(1, 4, *(8, 8, 8)[: len(sizes[0])], dtype=torch.float32)
    half = d.to(dtype).requires_grad_()
    y = multi_scale_difference(half, sizes)
    y.sum().backward()
    assert y.dtype == half.grad.dtype == dtype
    expected = front_by_pooling(d.to(dtype).float(), sizes)
    assert ((y.float() - expected).abs() / expected.max()).max() < 0.02


@pytest.mark.parametrize("sizes", [SQUARES, CUBES, IN_PLANE])
def test_front_and_filter_compile_without_a_break_also_backwards(sizes):
    d = noise(1, 2, *(6, 5, 5)[: len(sizes[0])], dtype=torch.float32).requires_grad_()
    torch._dynamo.reset()

    def both(x):
        return multi_scale_difference(x, sizes) + box_filter(x, sizes[1])

    found = torch.autograd.grad(torch.compile(both, backend="aot_eager", fullgraph=True)(d).square().sum(), d)[0]
    assert torch.allclose(found, torch.autograd.grad(both(d).square().sum(), d)[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("sizes", [((2, 2),), ((3,),), ((3, 3, 3),), (), ((0, 1),)])
def test_filters_that_cannot_be_are_refused(sizes):
    with pytest.raises(ValueError, match="odd numbers"):
        multi_scale_difference(noise(1, 1, 6, 6), sizes)


# ---------------------------------------------------------------- the unit


def test_equal_inputs_give_the_convolution_exactly_nothing():
    seen = []
    unit = SubtractionUnit(nn.Sequential(nn.Identity()), SQUARES)
    unit.block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = noise(2, 3, 8, 8)
    unit(x, x.clone())
    assert torch.count_nonzero(seen[0]) == 0


@pytest.mark.parametrize("case", ["same_size", "double", "signed", "tiny", "equal", "volume"])
def test_units_before_their_convolution_agree_with_the_reference(units, case):
    a, b = (torch.from_numpy(units[f"{case}.{k}"]).requires_grad_() for k in "AB")
    ones = (1,) * (a.ndim - 2)
    sizes = CUBES if a.ndim == 5 else SQUARES

    def close(found, key, tolerance=1e-6):
        expected = torch.from_numpy(units[f"{case}.{key}"])
        scale = expected.abs().max().clamp(min=1e-12)
        assert ((found - expected).abs().max() / scale) < tolerance, key

    close(resize_to(a, b), "A_up")
    close(SubtractionUnit(nn.Identity(), (ones,))(a, b), "su_front")
    front = SubtractionUnit(nn.Identity(), sizes)(a, b)
    close(front, "msu_sum_front", 2e-6)
    if case == "volume":
        close(SubtractionUnit(nn.Identity(), IN_PLANE)(a, b), "msu_sum_inplane_front", 2e-6)
        return
    for k in (3, 5):
        close(box_filter(resize_to(a, b) - b, (k, k)).abs(), f"msu_box{k}", 2e-6)
    close(SubtractionUnit(nn.Identity(), sizes, "mean")(a, b), "msu_mean_front", 2e-6)
    if case != "equal":
        (front * torch.from_numpy(units[f"{case}.cotangent"])).sum().backward()
        close(a.grad, "msu_sum_grad_A", 1e-5)
        close(b.grad, "msu_sum_grad_B", 1e-5)


# ---------------------------------------------------------------- the pyramid


@pytest.mark.parametrize("case", ["identity_square", "identity_wide"])
@pytest.mark.parametrize("kind", ["su", "msu"])
def test_pyramid_and_sums_agree_with_the_reference(head, case, kind):
    maps = [torch.from_numpy(head[f"{case}.x{i}"])[None, None] for i in range(1, 6)]
    unit = SubtractionUnit(nn.Identity(), SQUARES if kind == "msu" else SQUARES[:1])
    orders = subtraction_pyramid(maps, [[unit] * n for n in (4, 3, 2, 1)])

    def close(found, key):
        expected = torch.from_numpy(head[f"{case}.{kind}.{key}"])
        assert ((found[0, 0] - expected).abs().max() / expected.abs().max()) < 1e-5, key

    for n in range(2, 6):
        for i in range(1, 7 - n):
            close(orders[n - 1][i - 1], f"MS_n{n}_i{i}")
    for i in range(1, 6):
        close(sum(orders[n - 1][i - 1] for n in range(1, 7 - i)), f"CE_paper_i{i}")


@pytest.mark.parametrize("levels", [2, 3, 5, 7])
@pytest.mark.parametrize("first", [0, 1])
def test_every_pair_of_levels_has_a_unit(levels, first):
    decoder = SubtractionDecoder(plan(levels), [4] * levels, [[1, 1]] + [[2, 2]] * (levels - 1), first=first)
    in_pyramid = levels - min(first, levels - 2)
    units = [m for m in decoder.modules() if isinstance(m, SubtractionUnit)]
    assert len(units) == in_pyramid * (in_pyramid - 1) // 2
    maps = [noise(1, 4, 2 ** (levels - i), 2 ** (levels - i), dtype=torch.float32) for i in range(levels)]
    assert [tuple(m.shape) for m in decoder(maps)] == [tuple(m.shape) for m in maps[:-1]]


def plan(n_stages, dims=2, width=4, kernels=None, bias=True):
    """A topology of any number of stages."""
    kwargs = dict(architecture(dims)["arch_kwargs"])
    kwargs |= {
        "n_stages": n_stages,
        "features_per_stage": [width] * n_stages,
        "strides": [[1] * dims] + [[2] * dims] * (n_stages - 1),
        "kernel_sizes": kernels or [[3] * dims] * n_stages,
        "n_conv_per_stage": [1] * n_stages,
        "n_conv_per_stage_decoder": [1] * (n_stages - 1),
        "conv_bias": bias,
    }
    return Topology.from_plan({**architecture(dims), "arch_kwargs": kwargs}, [2**n_stages] * dims)


def test_one_scale_is_msnet_bit_for_bit():
    """The same weights with |A - B| written out."""
    decoder = SubtractionDecoder(plan(4), [4] * 4, [[1, 1]] + [[2, 2]] * 3, scales=(1,))
    maps = [noise(2, 4, 2 ** (5 - i), 2 ** (5 - i), dtype=torch.float32, seed=i) for i in range(4)]
    ours = decoder(maps)

    class Plain(nn.Module):
        def __init__(self, unit):
            super().__init__()
            self.block = unit.block

        def forward(self, deep, shallow):
            up = F.interpolate(deep, size=shallow.shape[2:], mode="bilinear", align_corners=False)
            return self.block((up - shallow).abs())

    decoder.units = nn.ModuleList(nn.ModuleList(Plain(u) for u in row) for row in decoder.units)
    assert all(torch.equal(a, b) for a, b in zip(ours, decoder(maps), strict=True))


def test_decoder_is_the_equations():
    """Written out for three levels with the pyramid from the finest: MS, then equation (3), then the sums."""
    decoder = SubtractionDecoder(plan(3), [4] * 3, [[1, 1], [2, 2], [2, 2]], first=0).double()
    x1, x2, x3 = (noise(1, 4, 8 // 2**i, 8 // 2**i, seed=i) for i in range(3))

    def msu(a, b, unit):
        up = F.interpolate(a, scale_factor=2, mode="bilinear", align_corners=False)
        return unit.block(sum((pooled(up, s) - pooled(b, s)).abs() for s in SQUARES))

    def up(a):
        return F.interpolate(a, scale_factor=2, mode="bilinear", align_corners=False)

    a1, a2, a3 = (block(x) for block, x in zip(decoder.reductions, (x1, x2, x3), strict=True))
    b1, b2 = msu(a2, a1, decoder.units[0][0]), msu(a3, a2, decoder.units[0][1])
    c1 = msu(b2, b1, decoder.units[1][0])
    e1, e2, e3 = (block(s) for block, s in zip(decoder.aggregate, (a1 + b1 + c1, a2 + b2, a3), strict=True))
    d2 = decoder.merge[1](up(e3) + e2)
    d1 = decoder.merge[0](up(d2) + e1)
    for found, expected in zip(decoder([x1, x2, x3]), (d1, d2), strict=True):
        assert torch.allclose(found, expected, atol=1e-10)


def test_odd_sizes_and_axes_without_stride_pass():
    kernels = [[1, 3, 3], [1, 3, 3], [3, 3, 3]]
    decoder = SubtractionDecoder(plan(3, 3, kernels=kernels), [4] * 3, [[1, 1, 1], [1, 2, 2], [2, 2, 2]])
    maps = [noise(1, 4, *s, dtype=torch.float32) for s in ((11, 45, 51), (11, 23, 26), (6, 12, 13))]
    assert [m.shape[2:] for m in decoder(maps)] == [m.shape[2:] for m in maps[:-1]]


def test_filters_do_not_reach_where_the_plans_kernel_does_not():
    assert filter_sizes((1, 3, 3), (1, 3, 5)) == IN_PLANE
    assert filter_sizes((3, 3), (1, 3, 5)) == SQUARES


def test_a_single_stage_is_refused():
    with pytest.raises(UnsupportedPlanError, match=r"1 stage.*nnUNetTrainer"):
        SubtractionDecoder(plan(1), [4], [[1, 1]])


@pytest.mark.parametrize("dims", [2, 3])
def test_memory_estimate_counts_every_convolution(dims):
    """Against the outputs of all convolution layers of a forward pass."""
    spec = ComposedSpec(decoder=partial(SubtractionDecoder, scales=(1, 3)))
    network = spec.build(plan(4, dims), 1, 2, False).eval()
    elements = []
    for m in network.modules():
        if isinstance(m, nn.Conv2d | nn.Conv3d):
            m.register_forward_hook(lambda _, __, y: elements.append(y[0].numel()))
    network(torch.zeros(1, 1, *[16] * dims))
    assert network.compute_conv_feature_map_size([16] * dims) == sum(elements)


def test_memory_of_a_stock_plan_stays_near_that_of_the_unet():
    """Stock plans can be used unchanged: nnU-Net's own estimate agrees within a percent (512 x 512, 8 stages)."""
    features = [32, 64, 128, 256, 512, 512, 512, 512]
    kwargs = dict(architecture(2)["arch_kwargs"])
    kwargs |= {
        "n_stages": 8, "features_per_stage": features, "strides": [[1, 1]] + [[2, 2]] * 7,
        "kernel_sizes": [[3, 3]] * 8, "n_conv_per_stage": [2] * 8, "n_conv_per_stage_decoder": [2] * 7,
    }  # fmt: skip
    topology = Topology.from_plan({**architecture(2), "arch_kwargs": kwargs}, [512, 512])
    with torch.device("meta"):
        sizes = [
            spec.build(topology, 3, 2, True).compute_conv_feature_map_size([512, 512])
            for spec in (ComposedSpec(decoder=SubtractionDecoder), ComposedSpec())
        ]
    assert sizes[0] / sizes[1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_train_under_autocast(dims):
    """bfloat16 on the CPU; gradients stay near those of float32."""
    torch.manual_seed(0)  # near is a matter of the weights
    network = ComposedSpec(decoder=SubtractionDecoder).build(plan(4, dims, width=8), 1, 2, True)
    x = noise(2, 1, *[32] * dims, dtype=torch.float32)
    gradients = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = sum(F.cross_entropy(s, torch.ones_like(s[:, 0]).long()) for s in network(x))
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert torch.isfinite(gradients[1]).all()
    assert F.cosine_similarity(*gradients, dim=0) > 0.98
