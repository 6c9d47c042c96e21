"""nnU-Net's U-Net decoder as a part: upsample by transposed convolution, concatenate the skip, convolve.

The same layers, names and order as dynamic_network_architectures' `UNetDecoder`. It differs in what it keeps: it does
not store the encoder (no tensor stands twice in a state dict) and returns features instead of class scores, so that
any head can follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from dynamic_network_architectures.building_blocks.helper import (
    convert_dim_to_conv_op,
    get_matching_convtransp,
)
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.architectures.topology import Topology


class UNetDecoder(nn.Module):
    """`list` of encoder maps, finest first -> `list` of decoder maps, finest first, one fewer.

    Args:
        topology: gives kernels, blocks per stage, normalisation and nonlinearity.
        in_channels: (n_stages,) channels of the encoder's maps, finest first.
        strides: (n_stages, dims) strides of the encoder's stages.
        deep_supervision: whether the network returns class scores at every scale (read by the network).
        skip_channels: (n_stages,) channels of the maps as they come in, where an enhancement has added to the
            encoder's; None: as `in_channels`, which give the width of the decoder's stages in any case.

    Attributes:
        out_channels: (n_stages - 1,) channels of the returned maps, finest first.
        deep_supervision: flipped by nnU-Net as `network.decoder.deep_supervision`.
    """

    def __init__(
        self,
        topology: Topology,
        in_channels: Sequence[int],
        strides: Sequence[Sequence[int]],
        deep_supervision: bool = True,
        skip_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        coming = list(in_channels if skip_channels is None else skip_channels)
        self.out_channels = list(in_channels[:-1])
        conv_op = convert_dim_to_conv_op(topology.dims)
        transposed = get_matching_convtransp(conv_op=conv_op)
        self._strides = [tuple(s) for s in strides]
        self.transpconvs, self.stages = nn.ModuleList(), nn.ModuleList()
        for i, n_convs in enumerate(topology.decoder_convs):  # coarsest first
            below, skip, stride = in_channels[-1 - i], in_channels[-2 - i], self._strides[-1 - i]
            self.transpconvs.append(transposed(below, skip, stride, stride, bias=topology.conv_bias))
            self.stages.append(
                StackedConvBlocks(
                    n_convs, conv_op, skip + coming[-2 - i], skip, topology.kernels[-2 - i], 1, topology.conv_bias,
                    topology.norm, topology.norm_kwargs, topology.dropout, topology.dropout_kwargs,
                    topology.nonlin, topology.nonlin_kwargs, topology.nonlin_first,
                )
            )  # fmt: skip
        self.apply(InitWeights_He(1e-2))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Merge the scales, coarsest to finest.

        Args:
            features: the encoder's maps `(B, C_i, *S_i)`, finest first.

        Returns:
            Maps `(B, out_channels[i], *S_i)`, finest first.
        """
        x, merged = features[-1], []
        for i, (up, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            x = stage(torch.cat([up(x), features[-2 - i]], 1))  # a list: torch.compile looks for lifted volumes in it
            merged.append(x)
        return merged[::-1]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of all convolution outputs for one image, as nnU-Net's planners count them.

        Args:
            input_size: (dims,) spatial size of the network's input.
        """
        sizes = [list(input_size)]
        for stride in self._strides[1:-1]:
            sizes.append([s // d for s, d in zip(sizes[-1], stride, strict=True)])
        total = np.int64(0)
        for stage, size, channels in zip(self.stages, sizes[::-1], self.out_channels[::-1], strict=True):
            conv: StackedConvBlocks = stage
            total += conv.compute_conv_feature_map_size(size) + np.prod([channels, *size], dtype=np.int64)
        return int(total)
