"""Lifting as a part of a composition: the plan's own encoder, decoder and head in 3D, with few channels.

Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), Section III-A: any 2D network has a lifted one,
thinner and with an axis more. The paper lifts MONAI's residual UNet (`published/slunet.py`); here it is the network of
an nnU-Net plan. Our choices, on which the paper says nothing: the depth is halved with the plan's first downsamplings
until it is 1, kernels read 3 slices wherever there is more than one, every level has the same few channels, and the
finest scale alone is supervised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from torch import nn

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.architectures.network import ComposedNetwork, ComposedSpec
from nnunet_ext.architectures.topology import Topology

DEPTHS = (4, 8, 16, 32)


def default_selected(depth: int) -> int:
    """Return how many slices predict where nobody says it: the paper's share, 5 of 16."""
    return max(1, round(depth * 5 / 16))


def in_three_dimensions(operation: Any) -> Any:
    """Return the 3D class of a 2D normalisation or dropout class; others (and None) as they are."""
    name = getattr(operation, "__name__", "")
    return getattr(nn, name[:-2] + "3d") if name.endswith("2d") else operation


def lift_topology(topology: Topology, depth: int, channels: int) -> Topology:
    """Return a 2D topology with an axis of `depth` slices in front and `channels` channels at every stage."""
    strides, kernels, left = [], [], depth
    for stride, kernel in zip(topology.strides, topology.kernels, strict=True):
        halve = left > 1 and any(s > 1 for s in stride)
        left = left // 2 if halve else left
        strides.append((2 if halve else 1, *stride))
        kernels.append((3 if halve or left > 1 else 1, *kernel))
    return replace(
        topology,
        dims=3,
        patch_size=(depth, *topology.patch_size),
        features=(channels,) * topology.n_stages,
        strides=tuple(strides),
        kernels=tuple(kernels),
        copied_axes=1,
        norm=in_three_dimensions(topology.norm),
        dropout=in_three_dimensions(topology.dropout),
    )


@dataclass(frozen=True)
class LiftedSpec(ComposedSpec):
    """A composition in 3D around a lifted image; in and out stay 2D.

    Attributes:
        depth: D, slices of the lifted image: 4, 8, 16 or 32.
        channels: of every level; the paper's networks have 8.
        n_selected: S, slices that predict; None for 5 of 16 and the same share of other depths.

    Raises:
        ValueError: if the depth cannot be halved level by level, or more slices are selected than there are.
    """

    depth: int = 16
    channels: int = 8
    n_selected: int | None = None
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise ValueError(f"depth={self.depth} is not possible: choose {', '.join(map(str, DEPTHS))}.")
        if self.channels < 1:
            raise ValueError(f"channels={self.channels} is not possible: choose 1 or more (the paper has 8).")
        if not 1 <= self.selected <= self.depth:
            raise ValueError(f"n_selected={self.n_selected} of depth={self.depth} slices: choose 1 to {self.depth}.")

    @property
    def selected(self) -> int:
        """How many slices predict."""
        return default_selected(self.depth) if self.n_selected is None else self.n_selected

    def build(  # noqa: D102
        self, topology: Topology, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        lifted = lift_topology(topology, self.depth, self.channels)
        network = super().build(lifted, input_channels, output_channels, deep_supervision=False)
        assert isinstance(network, ComposedNetwork)
        del network.head.seg_layers[1:]  # only the finest scale is supervised
        stride = topology.total_stride
        return LiftedNetwork(network, self.depth, self.selected, stride, stride)

    def describe(self) -> dict[str, str]:  # noqa: D102
        values = {"depth": self.depth, "channels": self.channels, "n_selected": self.selected}
        return super().describe() | {k: str(v) for k, v in values.items()}


def lift(spec: ComposedSpec, depth: int, channels: int = 8) -> LiftedSpec:
    """Lift a composition; what `SL<depth>[C<channels>]` in a trainer's name means."""
    parts: dict[str, Callable[..., Any]] = {f.name: getattr(spec, f.name) for f in fields(spec)}
    return LiftedSpec(**parts, depth=depth, channels=channels)  # type: ignore[arg-type]
