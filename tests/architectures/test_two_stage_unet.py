"""The two-stage paper's U-Net: its layers, parameters and costs, and its forward pass layer by layer."""

import json

import pytest
import torch
import torch.nn.functional as F
from support import REFERENCE
from torch import nn

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.published.two_stage_unet import TwoStageUNet, TwoStageUNetSpec
from nnunet_ext.cascade.hosted import TwoStageNetSpec

SMALL = (4, 6, 8, 10, 12)


@pytest.fixture(scope="module")
def counts():
    path = REFERENCE / "twostage_counts.json"
    if not path.is_file():
        pytest.skip("reference vectors are not here")
    return json.loads(path.read_text())


def test_layers_are_the_papers(counts):
    network = TwoStageUNet(3, 1)
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    for layer, expected in zip(found, counts["network"]["layers"], strict=True):
        assert type(layer).__name__ == expected["type"]
        assert list(layer.weight.shape) == expected["weight"]
        assert list(layer.stride) == expected["stride"]
        assert layer.bias is not None
    assert len(list(network.modules())) == len(found) + 5, "no norm, no dropout: lists and the network itself"


def test_parameters(counts):
    assert {f"in_channels_{c}": count_parameters(TwoStageUNet(c, 1)) for c in (1, 3)} == counts["network"]["params"]
    assert counts["network"]["params"]["in_channels_3"] == 18_842_241


def test_multiply_accumulates_of_one_and_of_two_stages(counts):
    for cost in counts["cost"]:
        size = (3, cost["hi"], cost["hi"])
        assert count_macs(TwoStageUNet(3, 1), size) == cost["baseline"]["true_macs"]
        for two in cost["two_stage"]:
            if two["possible"]:
                found = count_macs(TwoStageNetSpec(two["np"]).build(None, 3, 1, False), size)
                assert found == two["total_true_macs"]
                assert found / cost["baseline"]["true_macs"] == pytest.approx(1 / 64 + 1 / two["np"], rel=1e-6)


def test_forward_by_hand():
    torch.manual_seed(0)
    network, x = TwoStageUNet(2, 3, SMALL).eval(), torch.randn(1, 2, 64, 96)
    w = list(network.parameters())
    down = [x]
    for i in range(5):
        down.append(F.relu(F.conv2d(down[-1], w[2 * i], w[2 * i + 1], 2, 1)))
    y = down[5]
    for i in range(5):
        y = F.relu(F.conv_transpose2d(torch.cat([y, down[5 - i]], 1), w[10 + 2 * i], w[11 + 2 * i], 2, 1, 1))
    expected = F.conv2d(y, w[20], w[21])
    with torch.no_grad():
        assert torch.allclose(network(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (70, 64)])
def test_takes_any_size(size):
    """Inside, the border is repeated, more of it at the end where the number is odd."""
    torch.manual_seed(0)
    network, x = TwoStageUNet(1, 2, SMALL).eval(), torch.randn(1, 1, *size)
    missing = [-s % 32 for s in size]
    top, left = (m // 2 for m in missing)
    padded = F.pad(x, (left, missing[1] - left, top, missing[0] - top), mode="replicate")
    with torch.no_grad():
        expected = network(padded)[..., top : top + size[0], left : left + size[1]]
        assert torch.allclose(network(x), expected, atol=1e-6)


def test_channels_that_cannot_be():
    for features in ((4, 6, 8, 10), (4, 6, 8, 10, 11)):
        with pytest.raises(ValueError, match=r"five positive even numbers.*\(64, 128, 256, 512, 1024\)"):
            TwoStageUNetSpec(features)
