"""The plan's own encoder: nnU-Net's plain or residual stages, behind our encoder contract.

Both are dynamic_network_architectures' classes with their parameter names unchanged, so that weights of stock
nnU-Net trainings load (`nnUNetv2_train ... -pretrained_weights FILE`).
"""

from __future__ import annotations

from typing import Any, Literal

from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.initialization.weight_init import (
    InitWeights_He,
    init_last_bn_before_add_to_0,
)
from torch import nn

from nnunet_ext.architectures.topology import Topology


def _common(topology: Topology, input_channels: int) -> dict[str, Any]:
    return {
        "input_channels": input_channels,
        "n_stages": topology.n_stages,
        "features_per_stage": list(topology.features),
        "conv_op": convert_dim_to_conv_op(topology.dims),
        "kernel_sizes": [list(k) for k in topology.kernels],
        "strides": [list(s) for s in topology.strides],
        "conv_bias": topology.conv_bias,
        "norm_op": topology.norm,
        "norm_op_kwargs": topology.norm_kwargs,
        "dropout_op": topology.dropout,
        "dropout_op_kwargs": topology.dropout_kwargs,
        "nonlin": topology.nonlin,
        "nonlin_kwargs": topology.nonlin_kwargs,
        "return_skips": True,
    }


class PlainEncoder(PlainConvEncoder):
    """Plain convolution stages: `(B, C, *S) -> list`, finest first, one map a stage.

    Args:
        topology: read from the plan.
        input_channels: channels of the network's input.
        pool: what makes a map smaller: each stage's first convolution (nnU-Net's plans), or max pooling before it.
    """

    def __init__(self, topology: Topology, input_channels: int, pool: Literal["conv", "max"] = "conv") -> None:
        super().__init__(
            **_common(topology, input_channels),
            n_conv_per_stage=list(topology.encoder_blocks),
            nonlin_first=topology.nonlin_first,
            pool=pool,
        )
        self.out_channels = list(topology.features)
        self.apply(InitWeights_He(1e-2))


class ResidualStageEncoder(ResidualEncoder):
    """Residual stages of the ResEnc presets: `(B, C, *S) -> list`, finest first, one map a stage."""

    def __init__(self, topology: Topology, input_channels: int) -> None:
        super().__init__(
            **_common(topology, input_channels),
            n_blocks_per_stage=list(topology.encoder_blocks),
            **topology.encoder_kwargs,
        )
        self.out_channels = list(topology.features)
        self.apply(InitWeights_He(1e-2))
        self.apply(init_last_bn_before_add_to_0)


def plan_encoder(topology: Topology, input_channels: int) -> nn.Module:
    """Build the encoder that the plan describes.

    Args:
        topology: read from the plan.
        input_channels: channels of the network's input.

    Returns:
        A module with `out_channels` (n_stages,) and `strides` (n_stages, dims), initialised as nnU-Net does.
    """
    return (ResidualStageEncoder if topology.residual else PlainEncoder)(topology, input_channels)
