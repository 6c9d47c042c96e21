"""MONAI's residual UNet with a stride and a kernel for every level.

Paper: Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), Section IV-B: "both implementations
use the Monai package". MONAI's `UNet` (Apache-2.0) takes one kernel size for all levels, with which the paper's
8-level lifted networks cannot be built: their depth is used up after four halvings, and Table II is met only by
kernels (1, 3, 3) below. Same blocks, same order, same names in the state dict as MONAI's.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks.convolutions import Convolution, ResidualUnit
from monai.networks.layers.simplelayers import SkipConnection
from torch import Tensor, nn


class LevelUNet(nn.Module):
    """UNet of `len(channels)` levels, the last of which is the bottom with stride 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: K, channels of the output.
        channels: (L,) channels of each level, finest first.
        strides: (L - 1, spatial_dims) strides of the levels above the bottom.
        kernels: (L, spatial_dims) kernels; a level's down and up convolutions share its kernel.
        num_res_units: convolutions in each down unit (the paper's 1Res and 2Res).

    Raises:
        ValueError: if the lengths of `strides` and `kernels` do not fit `channels`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        num_res_units: int,
    ) -> None:
        super().__init__()
        if len(strides) != len(channels) - 1 or len(kernels) != len(channels):
            raise ValueError(
                f"{len(channels)} levels need {len(channels) - 1} strides and {len(channels)} kernels, "
                f"got {len(strides)} and {len(kernels)}."
            )
        self.spatial_dims = spatial_dims
        self.num_res_units = num_res_units
        self.model = self._level(in_channels, out_channels, list(channels), list(strides), list(kernels), True)

    def _level(
        self,
        inc: int,
        outc: int,
        channels: list[int],
        strides: list[Sequence[int]],
        kernels: list[Sequence[int]],
        top: bool,
    ) -> nn.Module:
        """One level and, inside its skip connection, all below it."""
        c, stride, kernel = channels[0], strides[0], kernels[0]
        if len(channels) > 2:
            below, below_c = self._level(c, c, channels[1:], strides[1:], kernels[1:], False), c
        else:
            one = (1,) * self.spatial_dims
            below, below_c = self._down(c, channels[1], one, kernels[1]), channels[1]
        return nn.Sequential(
            self._down(inc, c, stride, kernel),
            SkipConnection(below),
            self._up(c + below_c, outc, stride, kernel, top),
        )

    def _down(self, inc: int, outc: int, stride: Sequence[int], kernel: Sequence[int]) -> nn.Module:
        return ResidualUnit(self.spatial_dims, inc, outc, stride, kernel, subunits=self.num_res_units)

    def _up(self, inc: int, outc: int, stride: Sequence[int], kernel: Sequence[int], top: bool) -> nn.Module:
        return nn.Sequential(
            Convolution(self.spatial_dims, inc, outc, stride, kernel, act="PRELU", is_transposed=True),
            ResidualUnit(self.spatial_dims, outc, outc, 1, kernel, subunits=1, last_conv_only=top),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, in_channels, *S) -> (B, out_channels, *S)`; S has to be a multiple of the strides' product."""
        return self.model(x)
