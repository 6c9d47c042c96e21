"""Where offset vectors leave a network: three ways to add OVeNet's second head to one that has a first.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 3.2:
both heads share a body and then follow paths of their own. On HRNet the paper's second path is a copy of the last stage
(`published/ovenet_hrnet.py`). On other networks, ours:

- `light`: two convolutions and a 1x1 convolution on the decoder's finest features; in volumes half as many channels,
  since at full width they are a quarter of a 3D network's multiplications;
- `decoder`: a second decoder on the shared encoder, the paper's form;
- `shared`: further channels of the last layer. It needs to know nothing of the network (`SharedOffsetSpec`).

The offsets' last layer begins at N(0, 0.001) and bias 0, so that seeds begin within a tenth of a pixel of their own
places and F at 0.5. nnU-Net's initialisation (He) would begin at offsets of half the largest. Its output is in voxels
(`OffsetRefinement.in_voxels`), where the authors' is in largest offsets, for the sake of nnU-Net's optimiser.

Class scores at coarser scales (deep supervision) are the initial ones; the paper has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.architectures.heads.linear import linear_head
from nnunet_ext.architectures.heads.offset_vectors import Fuse, OffsetRefinement, Refined, check_fuse
from nnunet_ext.architectures.network import ComposedNetwork, TrainingOutput
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

Branch = Literal["light", "decoder", "shared"]
START = 1e-3  # standard deviation of the offsets' last layer
Scales = Tensor | list[Tensor]


def begin_small(layer: nn.Module, first: int = 0) -> None:
    """Give a convolution's output channels from `first` on weights of N(0, 0.001) and bias 0."""
    convolution = cast("nn.Conv2d", layer)
    with torch.no_grad():
        convolution.weight[first:].normal_(0, START)
        if convolution.bias is not None:
            convolution.bias[first:].zero_()


def largest_offset(topology: Topology, tau: float = 0.5, tau_mm: float | None = None) -> tuple[float, ...]:
    """Return the largest offset along each axis in voxels, of all axes that are not copies of the image.

    Args:
        topology: gives the patch and, for `tau_mm`, the spacing.
        tau: share of half the patch: tau / 2 * (patch - 1). The paper's 0.5 is a quarter of the patch to each side.
        tau_mm: the same along all axes in mm, in the place of `tau`.

    Raises:
        UnsupportedPlanError: if it is not above 0, reaches across the whole patch, or the spacing is not known.
    """
    patch = topology.patch_size[topology.copied_axes :]
    if tau_mm is None:
        if not 0 < tau <= 2:
            raise UnsupportedPlanError(
                f"tau={tau} (offset vectors) is not possible: the largest offset is tau / 2 of the patch. "
                "Choose above 0, up to 2; the paper has 0.5."
            )
        return tuple(tau / 2 * max(p - 1, 1) for p in patch)
    if not topology.spacing:
        raise UnsupportedPlanError(f"tau_mm={tau_mm} (offset vectors) needs a plan with a spacing; this one has none.")
    spacing = topology.spacing
    largest = min((p - 1) * s for p, s in zip(patch, spacing, strict=True) if p > 1)
    if not 0 < tau_mm <= largest:
        raise UnsupportedPlanError(
            f"tau_mm={tau_mm} (offset vectors) is not possible: the patch {list(patch)} at spacing {list(spacing)} is "
            f"{largest:g} mm at its shortest side. Choose above 0, up to {largest:g}."
        )
    return tuple(tau_mm / s for s in spacing)


class OffsetVectorNetwork(ComposedNetwork):
    """Encoder -> decoder -> class scores and offsets -> refined class scores.

    The branch's parameters are named `offset_branch.seg_layers`: with `-pretrained_weights`, nnU-Net takes all others
    from a checkpoint of the same network without offsets, and leaves these as they are.

    Args:
        encoder, decoder, heads: as of `ComposedNetwork`.
        output_channels: K; the heads' further channels, if they have any, are the offsets'.
        branch: `(encoder maps, decoder maps) -> (B, n + 1, *S)`; None where the offsets are channels of the heads.
        refinement: without parameters.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, heads: Sequence[nn.Module], output_channels: int,
        branch: nn.Module | None, refinement: OffsetRefinement,
    ) -> None:  # fmt: skip
        super().__init__(encoder, decoder, heads)
        self.output_channels = output_channels
        if branch is not None:
            self.offset_branch = branch
        self.refinement = refinement

    def _scales(self, x: Tensor) -> tuple[Refined, list[Tensor]]:
        """Return the finest scale, refined, and the coarser scales' logits."""
        features = self.encode(x)
        maps = self.decoder(features)
        first, *others = self.head(maps if self.decoder.deep_supervision else maps[:1])
        if hasattr(self, "offset_branch"):
            return self.refinement(first, self.offset_branch(features, maps)), others
        k = self.output_channels
        return self.refinement(first[:, :k], first[:, k:]), [o[:, :k] for o in others]

    def refined(self, x: Tensor) -> Refined:
        """`(B, C, *S)` -> the class map and what it was made of."""
        return self._scales(x)[0]

    def forward(self, x: Tensor) -> Scales | TrainingOutput:  # type: ignore[override]
        """`(B, C, *S)` -> logits `(B, K, *S)`, with deep supervision a list; in training also what the loss needs."""
        refined, others = self._scales(x)
        return output_of(refined, others, self.training, bool(self.decoder.deep_supervision))

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of all convolution outputs for one image (nnU-Net's memory estimate when planning)."""
        total = super().compute_conv_feature_map_size(input_size)
        if hasattr(self, "offset_branch"):
            total += self.offset_branch.compute_conv_feature_map_size(input_size)  # type: ignore[operator]
        return total


def output_of(refined: Refined, others: list[Tensor], training: bool, in_scales: bool) -> Scales | TrainingOutput:
    """Return what a network with offset vectors returns."""
    logits: Scales = [refined.fused, *others] if in_scales else refined.fused
    return TrainingOutput(logits, refined.beside) if training else logits


class LightBranch(nn.Module):
    """Two convolutions as of the plan's finest stage, then 1x1, on the decoder's finest map."""

    def __init__(self, topology: Topology, channels: int, out_channels: int) -> None:
        super().__init__()
        convolve = convert_dim_to_conv_op(topology.dims)
        width = channels if topology.dims == 2 else max(1, channels // 2)
        blocks = StackedConvBlocks(
            2, convolve, channels, width, topology.kernels[0], 1, topology.conv_bias,
            topology.norm, topology.norm_kwargs, topology.dropout, topology.dropout_kwargs,
            topology.nonlin, topology.nonlin_kwargs, topology.nonlin_first,
        )  # fmt: skip
        blocks.apply(InitWeights_He(1e-2))
        last = convolve(width, out_channels, 1)
        begin_small(last)
        self.seg_layers = nn.Sequential(blocks, last)
        self._width, self._out = width, out_channels

    def forward(self, features: list[Tensor], maps: list[Tensor]) -> Tensor:
        """Return `(B, out_channels, *S)` of the decoder's maps, finest first."""
        return self.seg_layers(maps[0])

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of all convolution outputs for one image."""
        return (2 * self._width + self._out) * math.prod(input_size)


class SecondDecoder(nn.Module):
    """A decoder like the first one, and 1x1.

    Args:
        decoder: new, with deep supervision off.
        dims: 2 or 3.
        out_channels: n + 1.
    """

    def __init__(self, decoder: nn.Module, dims: int, out_channels: int) -> None:
        super().__init__()
        last = convert_dim_to_conv_op(dims)(cast("list[int]", decoder.out_channels)[0], out_channels, 1)
        begin_small(last)
        self.seg_layers = nn.ModuleList([decoder, last])
        self._out = out_channels

    def forward(self, features: list[Tensor], maps: list[Tensor]) -> Tensor:
        """Return `(B, out_channels, *S)` of the encoder's maps, finest first."""
        decoder, last = self.seg_layers
        return last(decoder(features)[0])

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of all convolution outputs for one image."""
        decoder: Any = self.seg_layers[0]
        return decoder.compute_conv_feature_map_size(input_size) + self._out * math.prod(input_size)


@dataclass(frozen=True)
class OffsetVectorHead:
    """The head of a composition: class scores by a 1x1 convolution, refined by offset vectors.

    Attributes:
        branch: where the offsets leave the network.
        tau, tau_mm: the largest offset, see `largest_offset`; `tau_mm` counts if both are given.
        fuse: see `OffsetRefinement`.

    Raises:
        ValueError: if there is no such branch or fusion.
    """

    branch: Branch = "light"
    tau: float = 0.5
    tau_mm: float | None = None
    fuse: Fuse = "logits"

    def __post_init__(self) -> None:
        if self.branch not in get_args(Branch):
            raise ValueError(f"branch={self.branch!r}: choose of {', '.join(get_args(Branch))}.")
        check_fuse(self.fuse)

    def check_topology(self, topology: Topology) -> None:
        """Refuse offsets that the plan's patch does not hold."""
        largest_offset(topology, self.tau, self.tau_mm)

    def __call__(self, dims: int, in_channels: int, out_channels: int) -> nn.Module:
        """Build the class scores' head of one scale."""
        return linear_head(dims, in_channels, out_channels)

    def attach(
        self, topology: Topology, parts: tuple[nn.Module, nn.Module], output_channels: int,
        new_decoder: Callable[[], nn.Module],
    ) -> nn.Module:  # fmt: skip
        """Build the network.

        Args:
            topology: read from the plan.
            parts: encoder and decoder.
            output_channels: K.
            new_decoder: builds another decoder like the one of `parts`.
        """
        largest = largest_offset(topology, self.tau, self.tau_mm)
        refinement = OffsetRefinement(largest, self.fuse, in_voxels=True)
        encoder, decoder = parts
        channels, further = cast("list[int]", decoder.out_channels), refinement.channels
        extra = further if self.branch == "shared" else 0
        heads = [self(topology.dims, c, output_channels + extra) for c in channels]
        branch: nn.Module | None = None
        if self.branch == "light":
            branch = LightBranch(topology, channels[0], further)
        elif self.branch == "decoder":
            branch = SecondDecoder(new_decoder(), topology.dims, further)
        else:
            for head in heads:
                begin_small(head, output_channels)
        return OffsetVectorNetwork(encoder, decoder, heads, output_channels, branch, refinement)


def named_head(branch: str = "light", percent: int | None = None, mm: int | None = None) -> OffsetVectorHead:
    """Return what `OVe[Decoder|Shared][<percent>|<mm>mm]` in a trainer's name means.

    Args:
        branch: `Decoder`, `Shared`, or left out for `light`.
        percent: 100 tau, other than 50, which is the default and has one name.
        mm: `tau_mm`.

    Raises:
        ValueError: if the largest offset is 0 or beyond the patch.
    """
    if percent is not None and not 0 < percent <= 200:
        raise ValueError(f"tau={percent / 100} is not possible: write 1 to 200, in hundredths; the paper has 50.")
    if percent == 50:
        raise ValueError("tau is 0.5 without a number: leave the 50 out.")
    if mm == 0:
        raise ValueError("a largest offset of 0 mm is not possible: write 1mm or more.")
    tau = 0.5 if percent is None else percent / 100
    return OffsetVectorHead(cast("Branch", branch.lower()), tau, mm)
