"""The linear head: one 1x1 convolution from features to class scores, as in nnU-Net."""

from __future__ import annotations

from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import nn


def linear_head(dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build a head `(B, in_channels, *S) -> (B, out_channels, *S)` logits.

    Args:
        dims: 2 or 3 spatial dimensions.
        in_channels: channels of the features.
        out_channels: number of classes or regions.
    """
    head = convert_dim_to_conv_op(dims)(in_channels, out_channels, 1, 1, 0, bias=True)
    InitWeights_He(1e-2)(head)
    return head
