"""SL-UNet and the 2D UNets it is compared with, exactly as in Table II of the paper.

Paper: Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), Section IV-B and Table II. No code was
published; the configurations were recovered by matching parameters and multiply-accumulates to all printed digits.

| network | channels | parameters, one output |
|---|---|---|
| UNet 5L, 1Res and 2Res | 32, 64, 128, 256, 512 | 3,352,215 and 6,495,868 |
| UNet 8L, 1Res and 2Res | 32, 64, 128, 256, 512, 512, 512, 512 | 33,012,384 and 43,235,464 |
| SL-UNet 5L, 1Res and 2Res | 8 at every level, depth 16 | 29,537 and 38,222 |
| SL-UNet 8L, 1Res and 2Res | 8 at every level, depth 16 | 37,130 and 46,418 |

Where we differ: sizes that the strides do not divide are padded and cropped inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from monai.networks.nets.unet import UNet
from torch import Tensor, nn

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.architectures.network import NetworkSpec
from nnunet_ext.architectures.padding import nearest_multiple, pad_to_multiple
from nnunet_ext.architectures.published.level_unet import LevelUNet
from nnunet_ext.architectures.topology import Topology

UNET_CHANNELS = (32, 64, 128, 256, 512, 512, 512, 512)


def lifted_strides(levels: int, depth: int) -> list[tuple[int, int, int]]:
    """(levels - 1, 3) strides: the depth is halved until it is 1, the image at every level."""
    strides = []
    for _ in range(levels - 1):
        strides.append((2 if depth > 1 else 1, 2, 2))
        depth = -(-depth // strides[-1][0])
    return strides


def lifted_kernels(strides: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(levels, 3) kernels: 3 along the depth where the level halves it, 1 below.

    Five levels keep 3 x 3 x 3 at the bottom as well (that is MONAI's one kernel for all, and what Table II counts).
    """
    kernels = [(3 if s[0] == 2 else 1, 3, 3) for s in strides]
    return [*kernels, (3, 3, 3) if all(s[0] == 2 for s in strides) else (1, 3, 3)]


def _smallest(levels: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(multiple, minimum) of H and W: a bottom of a single pixel cannot be instance-normalised."""
    multiple = 2 ** (levels - 1)
    return (multiple, multiple), (2 * multiple, 2 * multiple)


class PaddedUNet(nn.Module):
    """MONAI's 2D UNet with padding inside: `(B, C, H, W) -> (B, K, H, W)` logits."""

    def __init__(self, network: nn.Module, levels: int) -> None:
        super().__init__()
        self.network = network
        self._multiple, self._minimum = _smallest(levels)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's size."""
        padded, (rows, columns) = pad_to_multiple(x, self._multiple, self._minimum)
        return self.network(padded)[..., rows, columns]


@dataclass(frozen=True)
class MonaiUNetSpec(NetworkSpec):
    """The paper's 2D baseline.

    Attributes:
        levels: 5 or 8.
        res_units: 1 or 2 convolutions in each residual unit.
    """

    levels: Literal[5, 8] = 8
    res_units: Literal[1, 2] = 2
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return nearest_multiple(size, *_smallest(self.levels))

    def build(  # noqa: D102
        self, topology: Topology, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        network = UNet(
            spatial_dims=2,
            in_channels=input_channels,
            out_channels=output_channels,
            channels=UNET_CHANNELS[: self.levels],
            strides=(2,) * (self.levels - 1),
            num_res_units=self.res_units,
        )
        return PaddedUNet(network, self.levels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {"levels": str(self.levels), "res_units": str(self.res_units)}


@dataclass(frozen=True)
class SLUNetSpec(NetworkSpec):
    """The lifted UNet of the paper.

    Attributes:
        levels: 5 or 8.
        res_units: 1 or 2 convolutions in each residual unit.
        depth: D, slices of the lifted image.
        n_selected: S, slices that predict.
        width: channels at every level.
    """

    levels: Literal[5, 8] = 8
    res_units: Literal[1, 2] = 2
    depth: int = 16
    n_selected: int = 5
    width: int = 8
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.depth < 2 or self.depth & (self.depth - 1):
            raise ValueError(f"depth={self.depth} cannot be halved level by level: choose 2, 4, 8, 16 or 32.")
        if not 1 <= self.n_selected <= self.depth:
            raise ValueError(f"n_selected={self.n_selected} of depth={self.depth} slices: choose 1 to {self.depth}.")

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return nearest_multiple(size, *_smallest(self.levels))

    def build(  # noqa: D102
        self, topology: Topology, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        strides = lifted_strides(self.levels, self.depth)
        network = LevelUNet(
            spatial_dims=3,
            in_channels=input_channels,
            out_channels=output_channels,
            channels=(self.width,) * self.levels,
            strides=strides,
            kernels=lifted_kernels(strides),
            num_res_units=self.res_units,
        )
        return LiftedNetwork(network, self.depth, self.n_selected, *_smallest(self.levels))

    def describe(self) -> dict[str, str]:  # noqa: D102
        values = {k: str(getattr(self, k)) for k in ("levels", "res_units", "depth", "n_selected", "width")}
        return super().describe() | values
