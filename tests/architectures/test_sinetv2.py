"""SINetV2's parts by hand and by loops, what its outputs are, and which of them see the selected channels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lively import lively
from scipy import ndimage
from torch import nn

from nnunet_ext.architectures.published.sinetv2 import SINetV2Spec
from nnunet_ext.architectures.published.sinetv2_parts import (
    GroupReversal,
    NeighbourConnection,
    ReverseStage,
    TextureEnhanced,
)

SMALL, ENHANCED = SINetV2Spec(backbone="test_resnet"), SINetV2Spec("curvature", backbone="test_resnet")


def build(spec, outputs=2):
    torch.manual_seed(0)
    return lively(spec.build(None, 3, outputs, False))


def image(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def norms_apart(network):
    """Training, but batch norms use their statistics, so that outputs are those of evaluation."""
    network.train()
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
    return network


# ---------------------------------------------------------------- texture enhanced module


@pytest.mark.parametrize(("branch", "side"), [(0, 1), (1, 9), (2, 15), (3, 21)])
def test_a_branch_sees_a_box_of_three_times_its_kernel(branch, side):
    """Of kernels of ones, an impulse becomes a box of ones: k x k, which the dilated kernel lays out three by three."""
    part = TextureEnhanced(1, 1).double().eval()
    with torch.no_grad():
        for m in part.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.fill_(1)
        impulse = torch.zeros(1, 1, 31, 31, dtype=torch.double)
        impulse[0, 0, 15, 15] = 1
        found = part.branches[branch](impulse)[0, 0]
    expected = torch.zeros(31, 31, dtype=torch.double)
    reach = side // 2
    expected[15 - reach : 16 + reach, 15 - reach : 16 + reach] = 1
    assert torch.allclose(found, expected, atol=1e-4)  # of 1e-5 in the variance of four norms


def test_branches_are_merged_beside_a_shortcut():
    torch.manual_seed(0)
    part, x = TextureEnhanced(3, 4).eval(), torch.randn(1, 3, 6, 5)
    with torch.no_grad():
        side_by_side = torch.cat([b(x) for b in part.branches], 1)
        assert side_by_side.shape == (1, 16, 6, 5)
        before = part.merge(side_by_side) + part.shortcut(x)
        assert torch.equal(part(x), before.clamp(min=0))
    assert before.min() < 0
    assert not [m for m in part.modules() if isinstance(m, nn.ReLU)], "the only nonlinearity is the last"


# ---------------------------------------------------------------- neighbour connection


def twice(x):
    """Bilinear, corners aligned."""
    return ndimage.zoom(x, 2, order=1, mode="nearest", grid_mode=False)


def test_neighbours_gate_each_other():
    """Of kernels that are the identity, one channel a map."""
    part = NeighbourConnection(1, 1).double().eval()
    for m in part.modules():
        if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3):
            nn.init.dirac_(m.weight)
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 0
    with torch.no_grad():
        part.score[1].weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1))
        part.score[1].bias.fill_(0.5)
        fine, middle, coarse = (
            np.random.default_rng(i).normal(size=(h, h + 4 * h // 8)) for i, h in enumerate((16, 8, 4))
        )
        found = part(*(torch.from_numpy(m)[None, None] for m in (fine, middle, coarse)))[0, 0].numpy()
    gated_middle = twice(coarse) * middle
    gated_fine = twice(gated_middle) * twice(middle) * fine
    expected = gated_fine + 10 * twice(gated_middle) + 100 * twice(twice(coarse)) + 0.5
    np.testing.assert_allclose(found, expected, atol=1e-10)


# ---------------------------------------------------------------- reverse stages


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("size", [8, 4, 1])
def test_all_class_maps_stand_behind_each_group_of_channels(size, outputs):
    torch.manual_seed(0)
    part = GroupReversal(8, size, outputs)
    x, maps = torch.randn(2, 8, 5, 6), torch.randn(2, outputs, 5, 6)
    guided = []
    for first in range(0, 8, size):
        guided += [x[:, c] for c in range(first, first + size)] + [maps[:, k] for k in range(outputs)]
    with torch.no_grad():
        refined, found = part(x, maps)
        convolved = F.conv2d(torch.stack(guided, 1), part.residual.weight, part.residual.bias, padding=1)
        expected = x + convolved.clamp(min=0)
        scores = F.conv2d(expected, part.score.weight, part.score.bias, padding=1)
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(found, maps + scores)


def test_a_reverse_stage_looks_at_what_the_guidance_leaves_out():
    part, guidance = ReverseStage(8, (8, 4, 1), 2), torch.randn(1, 2, 4, 4)
    seen = []
    part.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for block in part.blocks:
        nn.init.zeros_(block.score.weight)
        nn.init.zeros_(block.score.bias)
    with torch.no_grad():
        found = part(torch.randn(1, 8, 4, 4), guidance)
    torch.testing.assert_close(seen[0], 1 / (1 + guidance.exp()))
    torch.testing.assert_close(found, guidance + 1 / (1 + guidance.exp()))


# ---------------------------------------------------------------- the network


def test_outputs_are_the_class_maps_at_the_size_of_the_image():
    network, x = norms_apart(build(SMALL)), image(64, 96)
    with torch.no_grad():
        small, output = network.class_maps(x), network(x)
        alone = network.eval()(x)
    assert [tuple(m.shape[2:]) for m in small] == [(8, 12), (2, 3), (4, 6), (8, 12)]
    assert list(output.extra) == ["s_g", "s_5", "s_4"]
    assert torch.equal(output.logits, alone)
    for found, m in zip([*output.extra.values(), output.logits], small, strict=True):
        for image_, expected in zip(found.flatten(0, 1).numpy(), m.flatten(0, 1).numpy(), strict=True):
            enlarged = ndimage.zoom(expected, 64 // m.shape[2], order=1, mode="nearest", grid_mode=True)
            np.testing.assert_allclose(image_, enlarged, atol=1e-4 * np.abs(enlarged).max())


def test_each_stage_is_guided_by_the_map_before_it():
    """From the coarse class map to stride 32, and then finer and finer; each on its own features."""
    network, seen = build(SMALL), []
    for stage in network.reverse_stages:
        stage.register_forward_hook(lambda _, inputs, output: seen.append((*inputs, output)))
    with torch.no_grad():
        found = network.class_maps(image(64, 96))
    assert [s[2].data_ptr() for s in seen] == [m.data_ptr() for m in found[1:]]
    assert [tuple(x.shape[1:]) for x, _, _ in seen] == [(32, 2, 3), (32, 4, 6), (32, 8, 12)]
    for (_, guidance, _), before in zip(seen, found, strict=False):
        resized = F.interpolate(before, size=guidance.shape[2:], mode="bilinear", align_corners=False)
        assert torch.equal(guidance, resized)


def test_the_first_class_map_is_made_of_raw_channels():
    network, x = norms_apart(build(ENHANCED)), image(64, 64)
    with torch.no_grad():
        before = network(x)
        for convolution in network.first_convs:
            convolution.weight.mul_(-1)
        after = network(x)
    assert torch.equal(after.extra["s_g"], before.extra["s_g"])
    for name in ("s_5", "s_4"):
        assert not torch.allclose(after.extra[name], before.extra[name], rtol=1e-2)
    assert not torch.allclose(after.logits, before.logits, rtol=1e-2)


def test_first_convolutions_are_linear_and_only_there_with_a_score():
    assert len(build(SMALL).first_convs) == len(build(SMALL).selections) == 0
    network = build(ENHANCED)
    assert [(c.in_channels, c.out_channels) for c in network.first_convs] == [(56, 32), (56, 32), (64, 32)]
    maps = [torch.randn(1, 32, n, n) for n in (8, 4, 2)]
    for found, c, select, m in zip(network.enhance(maps), network.first_convs, network.selections, maps, strict=True):
        assert found.min() < 0
        assert torch.equal(found, F.conv2d(select(m), c.weight, c.bias, padding=1))
