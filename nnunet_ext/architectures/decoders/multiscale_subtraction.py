"""Multi-scale subtraction: a pyramid of absolute differences between neighbouring scales, and an additive decoder.

M2SNet: Multi-scale in Multi-scale Subtraction Network for Medical Image Segmentation (X. Zhao, H. Jia, Y. Pang, L. Lv,
F. Tian, L. Zhang, W. Sun, H. Lu, arXiv 2303.10894), Section 3.1; MSNet is its predecessor (MICCAI 2021). The authors'
repository, Xiaoqi-Zhao-DLUT/MSNet-M2SNet, has no licence: this is written from the paper's equations.

    SU(A, B)  = Conv(|A - B|)                                                        (1)   MSNet
    MSU(A, B) = Conv(|F1(A) - F1(B)| + |F3(A) - F3(B)| + |F5(A) - F5(B)|)            (2)   M2SNet, F_k: ones, k x k
    MS_{n+1}^i = MSU(up(MS_n^{i+1}), MS_n^i),   MS_1^i = reduced encoder map of level i
    CE^i      = Conv(sum_n MS_n^i)                                                   (3)
    D^L = CE^L,   D^i = Conv(up(D^{i+1}) + CE^i)

Where this differs from the paper, because it stands on any plan's encoder: normalisation, nonlinearity and kernels are
the plan's; every level is reduced to `width` channels; the pyramid begins at stage `first` (the paper's begins at
stride 4); a filter does not reach along an axis that the plan's kernel does not; every scale gets class scores. The
authors' own head, which differs from their equations, is in `published/msnet.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.architectures.decoders.box_filter import Reduce, multi_scale_difference
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

PAPER_SCALES = (1, 3, 5)
FIRST = 1  # with 32 channels, feature maps then take the memory of the plan's U-Net within a percent


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize `(B, C, *S)` to the spatial size of another map, bilinear or trilinear, corners not aligned."""
    if x.shape[2:] == like.shape[2:]:
        return x
    mode = {4: "bilinear", 5: "trilinear"}[x.dim()]
    return F.interpolate(x, size=like.shape[2:], mode=mode, align_corners=False)


class SubtractionUnit(nn.Module):
    """Equations (1) and (2): `(deep (B, C, *S'), shallow (B, C, *S)) -> (B, C', *S)`.

    Args:
        block: the convolution, `(B, C, *S) -> (B, C', *S)`.
        sizes: (dims,) window of each filter; ((1, 1),) is equation (1).
        reduce: as for `multi_scale_difference`.
    """

    def __init__(self, block: nn.Module, sizes: Sequence[Sequence[int]], reduce: Reduce = "sum") -> None:
        super().__init__()
        self.block = block
        self.sizes, self.reduce = tuple(tuple(s) for s in sizes), reduce

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """Resize the deeper map to the shallower one and subtract."""
        return self.block(multi_scale_difference(resize_to(deep, shallow) - shallow, self.sizes, self.reduce))

    def extra_repr(self) -> str:
        """Show the filters."""
        return f"sizes={self.sizes}, reduce={self.reduce!r}"


def subtraction_pyramid(maps: Sequence[Tensor], units: Sequence[Sequence[nn.Module]]) -> list[list[Tensor]]:
    """Return MS_n^i as `[n - 1][i - 1]`: the L maps themselves, then L - 1 differences, and so on to one.

    Args:
        maps: L maps `(B, C, *S_i)`, finest first.
        units: units of order n = 2, 3, ... up to L; each row has one unit for each level, finest first.
    """
    orders = [list(maps)]
    for row in units:
        last = orders[-1]
        orders.append([unit(deep, shallow) for unit, deep, shallow in zip(row, last[1:], last[:-1], strict=True)])
    return orders


def filter_sizes(kernel: Sequence[int], scales: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the window of each scale, which is 1 along the axes where the plan's kernel is 1."""
    return tuple(tuple(scale if k > 1 else 1 for k in kernel) for scale in scales)


class SubtractionDecoder(nn.Module):
    """`list` of encoder maps, finest first -> `list` of `width`-channel maps, finest first, one fewer.

    Levels finer than `first` have no subtraction units; there, equation (3) is a convolution of the reduced map alone.

    Args:
        topology: gives kernels, normalisation and nonlinearity.
        in_channels: (n_stages,) channels of the encoder's maps, finest first.
        strides: (n_stages, dims) strides of the encoder's stages.
        deep_supervision: whether the network returns class scores at every scale (read by the network).
        scales: odd sides of the fixed filters; (1,) is MSNet.
        reduce: as for `multi_scale_difference`.
        width: channels of all maps of the decoder; None for those of the plan's first stage (32 in nnU-Net's plans).
        first: stage at which the pyramid begins, at most two below the last.
        skip_channels: (n_stages,) channels of the maps as they come in, where an enhancement has added to the
            encoder's; None: as `in_channels`.

    Attributes:
        out_channels: (n_stages - 1,) channels of the returned maps, finest first.
        deep_supervision: flipped by nnU-Net as `network.decoder.deep_supervision`.

    Raises:
        UnsupportedPlanError: if there is a single stage, which leaves nothing to subtract.
    """

    def __init__(
        self,
        topology: Topology,
        in_channels: Sequence[int],
        strides: Sequence[Sequence[int]],
        deep_supervision: bool = True,
        scales: Sequence[int] = PAPER_SCALES,
        reduce: Reduce = "sum",
        width: int | None = None,
        first: int = FIRST,
        skip_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.check_topology(topology)
        levels, width = len(in_channels), width or in_channels[0]
        self.deep_supervision = deep_supervision
        self.out_channels = [width] * (levels - 1)
        self.first = min(first, levels - 2)
        self._strides = [tuple(s) for s in strides]
        self._dims, self._width = topology.dims, width

        def block(level: int, inputs: int = width) -> nn.Module:
            return _block(topology, inputs, self._width, level)

        self.reductions = nn.ModuleList(block(i, c) for i, c in enumerate(skip_channels or in_channels))
        self.units = nn.ModuleList(
            nn.ModuleList(
                SubtractionUnit(block(i), filter_sizes(topology.kernels[i], scales), reduce)
                for i in range(self.first, levels - n)
            )
            for n in range(1, levels - self.first)
        )
        self.aggregate = nn.ModuleList(block(i) for i in range(levels))
        self.merge = nn.ModuleList(block(i) for i in range(levels - 1))
        self.apply(InitWeights_He(1e-2))

    @staticmethod
    def check_topology(topology: Topology) -> None:
        """Refuse a plan with a single stage.

        Raises:
            UnsupportedPlanError: with what to type next.
        """
        if topology.n_stages < 2:
            raise UnsupportedPlanError(
                f"the plan has {topology.n_stages} stage, and a subtraction decoder compares neighbouring ones. It "
                "needs 2 or more. Plan with larger patches, or train this plan with -tr nnUNetTrainer."
            )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Subtract, aggregate and merge the scales.

        Args:
            features: the encoder's maps `(B, C_i, *S_i)`, finest first.

        Returns:
            Maps `(B, width, *S_i)`, finest first.
        """
        enhanced = self.complementary(features)
        x, merged = enhanced[-1], []
        for stage, skip in zip(list(self.merge)[::-1], enhanced[-2::-1], strict=True):
            x = stage(resize_to(x, skip) + skip)
            merged.append(x)
        return merged[::-1]

    def complementary(self, features: list[Tensor]) -> list[Tensor]:
        """Return the complementarity-enhanced maps CE^i of equation (3), `(B, width, *S_i)`, finest first."""
        reduced = [block(f) for block, f in zip(self.reductions, features, strict=True)]
        orders = subtraction_pyramid(reduced[self.first :], self.units)  # type: ignore[arg-type]
        sums = reduced[: self.first]
        for i in range(len(reduced) - self.first):
            of_level = [maps[i] for maps in orders if i < len(maps)]
            total = of_level[0]
            for m in of_level[1:]:
                total = total + m
            sums.append(total)
        return [block(s) for block, s in zip(self.aggregate, sums, strict=True)]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of all convolution outputs for one image, as nnU-Net's planners count them.

        The fixed filters are left out: they keep a byte an element.

        Args:
            input_size: (dims,) spatial size of the network's input.
        """
        sizes = [list(input_size)]
        for stride in self._strides[1:]:
            sizes.append([s // d for s, d in zip(sizes[-1], stride, strict=True)])
        levels = len(sizes)
        total = 0
        for i, size in enumerate(sizes):
            blocks = 2 + (levels - 1 - i if i >= self.first else 0) + (1 if i < levels - 1 else 0)
            total += blocks * self._width * math.prod(size)
        return total


def _block(topology: Topology, inputs: int, outputs: int, level: int) -> nn.Module:
    """Convolution, normalisation and nonlinearity as the plan has them at a level."""
    return ConvDropoutNormReLU(
        convert_dim_to_conv_op(topology.dims), inputs, outputs, topology.kernels[level], 1, topology.conv_bias,
        topology.norm, topology.norm_kwargs, topology.dropout, topology.dropout_kwargs,
        topology.nonlin, topology.nonlin_kwargs, topology.nonlin_first,
    )  # fmt: skip


M2SNET_DECODER = SubtractionDecoder
MSNET_DECODER = partial(SubtractionDecoder, scales=(1,))
