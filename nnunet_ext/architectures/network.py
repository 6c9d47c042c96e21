"""NetworkSpec -> network: the composed encoder, decoder and head, and what every network returns.

What a network returns (docs/adr/0002-training-outputs.md):
- in evaluation mode with deep supervision off: one tensor of logits `(B, K, *S)`;
- in evaluation mode with deep supervision on: a list of logits, finest first;
- in training mode: the same, or a `TrainingOutput` where the method's loss needs more.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from inspect import signature
from typing import Any, ClassVar, NamedTuple, cast

from torch import Tensor, nn

from nnunet_ext.architectures.decoders.unet import UNetDecoder
from nnunet_ext.architectures.encoders.plan import plan_encoder
from nnunet_ext.architectures.heads.linear import linear_head
from nnunet_ext.architectures.padding import nearest_multiple
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError


class TrainingOutput(NamedTuple):
    """What a network returns in training when its loss needs more than class scores.

    Attributes:
        logits: class scores, a tensor or a list, finest first. What the axes mean is the method's own
            (Spatial Lifting: `(B, K, D, *S)`, one score a slice).
        extra: further tensors by name; they reach the method's loss as keyword arguments.
    """

    logits: Tensor | list[Tensor]
    extra: dict[str, Tensor]


def describe_part(part: Any) -> str:
    """Return the dotted name of a class or function, with the options that a `partial` or a dataclass fixes."""
    if is_dataclass(part) and not isinstance(part, type):
        options = ", ".join(f"{f.name}={getattr(part, f.name)!r}" for f in fields(part))
        return f"{describe_part(type(part))}({options})"
    if isinstance(part, partial):
        options = ", ".join(f"{k}={v!r}" for k, v in sorted(part.keywords.items()))
        return f"{describe_part(part.func)}({options})"
    return f"{part.__module__}.{part.__qualname__}"


@dataclass(frozen=True)
class NetworkSpec(ABC):
    """What a trainer's network is made of. Subclassed by compositions and by published networks.

    Attributes:
        dims: spatial dimensions that it can be built for.
        supports_deep_supervision: it has class scores at the plan's scales.
        least_batch: images that a batch needs for training.
    """

    dims: ClassVar[tuple[int, ...]] = (2, 3)
    supports_deep_supervision: ClassVar[bool] = True
    least_batch: ClassVar[int] = 1

    def check(self, topology: Topology) -> None:
        """Refuse a plan before work starts.

        Raises:
            UnsupportedPlanError: with what to type next.
        """
        if topology.dims not in self.dims:
            allowed = " or ".join(f"{d}D" for d in self.dims)
            raise UnsupportedPlanError(
                f"this configuration is {topology.dims}D (patch_size {list(topology.patch_size)}), the network is "
                f"{allowed} only. Use the configuration {'2d' if 2 in self.dims else '3d_fullres'} in its place."
            )

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:
        """Return the nearest size that needs no padding, for training at several scales.

        Args:
            topology: read from the plan.
            size: (dims,) pixels wanted.
        """
        return nearest_multiple(size, topology.total_stride, topology.total_stride)

    @abstractmethod
    def build(self, topology: Topology, input_channels: int, output_channels: int, deep_supervision: bool) -> nn.Module:
        """Build the network, initialised; no download, no file.

        Args:
            topology: read from the plan.
            input_channels: channels of the input, previous stages of a cascade included.
            output_channels: number of classes or regions, K.
            deep_supervision: whether it starts out returning a list of scales.
        """

    def describe(self) -> dict[str, str]:
        """Parts by slot, as text: kept in manifests and checkpoints, and compared when one is loaded."""
        return {"network": type(self).__name__}


@dataclass(frozen=True)
class ComposedSpec(NetworkSpec):
    """Encoder, enhancement, decoder and head on the plan's topology; each slot holds what builds the part.

    Attributes:
        encoder: `(topology, input_channels) -> module` with `out_channels` and `strides`.
        decoder: `(topology, in_channels, strides, deep_supervision, skip_channels=...) -> module` with `out_channels`
            and `deep_supervision`. `skip_channels` are those of the maps as they come in, with an enhancement more than
            the encoder's; it is given only then.
        head: `(dims, in_channels, out_channels) -> module`, one for each scale. A head that refines what these give
            has a method `attach(topology, (encoder, decoder), output_channels, new_decoder) -> network`, which is a
            `ComposedNetwork`.
        enhancement: `(topology, channels, strides) -> module` with `out_channels`, of the list of the encoder's maps;
            None for none.

    A part that cannot be built for every plan has a static method `check_topology(topology)`, which raises
    `UnsupportedPlanError` before work starts.
    """

    encoder: Callable[[Topology, int], nn.Module] = plan_encoder
    decoder: Callable[..., nn.Module] = UNetDecoder
    head: Callable[[int, int, int], nn.Module] = linear_head
    enhancement: Callable[[Topology, Sequence[int], Sequence[Sequence[int]]], nn.Module] | None = None

    def check(self, topology: Topology) -> None:  # noqa: D102
        super().check(topology)
        topology.require_fitting_patch()
        for part in (self.encoder, self.decoder, self.head, self.enhancement):
            check = getattr(part.func if isinstance(part, partial) else part, "check_topology", None)
            if check is not None:
                check(topology)
        if self.enhancement is not None and "skip_channels" not in signature(self.decoder).parameters:
            raise UnsupportedPlanError(
                f"the decoder {describe_part(self.decoder)} takes no skip_channels, so no enhanced skips. Leave the "
                "enhancement out, or choose the decoder UNet, MS or M2S."
            )

    def build(  # noqa: D102
        self, topology: Topology, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        encoder = self.encoder(topology, input_channels)
        channels, strides = cast("list[int]", encoder.out_channels), cast("list[list[int]]", encoder.strides)
        new_decoder, enhancement = partial(self.decoder, topology, channels, strides), None
        if self.enhancement is not None:
            enhancement = self.enhancement(topology, channels, strides)
            new_decoder = partial(new_decoder, skip_channels=enhancement.out_channels)
        decoder = new_decoder(deep_supervision=deep_supervision)
        attach = getattr(self.head, "attach", None)
        if attach is not None:
            other = partial(new_decoder, deep_supervision=False)
            network = attach(topology, (encoder, decoder), output_channels, other)
        else:
            heads = [self.head(topology.dims, c, output_channels) for c in cast("list[int]", decoder.out_channels)]
            network = ComposedNetwork(encoder, decoder, heads)
        network.enhancement = enhancement
        return network

    def describe(self) -> dict[str, str]:  # noqa: D102
        slots = {"encoder": self.encoder, "enhancement": self.enhancement, "decoder": self.decoder, "head": self.head}
        return super().describe() | {slot: describe_part(part) for slot, part in slots.items() if part is not None}


class HeadPerScale(nn.Module):
    """One head for each scale. The name `seg_layers` is nnU-Net's: its weights are not taken from other tasks."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """`(B, C_i, *S_i)` maps -> `(B, K, *S_i)` logits, in the same order."""
        return [head(f) for head, f in zip(self.seg_layers, features, strict=False)]


class ComposedNetwork(nn.Module):
    """Encoder -> enhancement, if there is one -> decoder -> head at every scale.

    All heads exist whether or not deep supervision is on, so that weights load strictly either way.

    Attributes:
        enhancement: `list` of encoder maps -> `list` of maps that the decoder is given; None for none.
    """

    enhancement: nn.Module | None

    def __init__(self, encoder: nn.Module, decoder: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = HeadPerScale(heads)
        self.enhancement = None

    def encode(self, x: Tensor) -> list[Tensor]:
        """`(B, C, *S)` -> the maps that the decoder is given, finest first."""
        features = self.encoder(x)
        return features if self.enhancement is None else self.enhancement(features)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """`(B, C, *S)` -> logits `(B, K, *S)`, or a list of them, finest first, with deep supervision."""
        features = self.decoder(self.encode(x))
        if self.decoder.deep_supervision:
            return self.head(features)
        return self.head(features[:1])[0]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements of all convolution outputs for one image (nnU-Net's memory estimate when planning)."""
        heads = self.head.seg_layers[0].out_channels * math.prod(input_size)  # type: ignore[operator]
        enhancement: Any = self.enhancement
        return int(
            self.encoder.compute_conv_feature_map_size(input_size)  # type: ignore[operator]
            + self.decoder.compute_conv_feature_map_size(input_size)  # type: ignore[operator]
            + (0 if enhancement is None else enhancement.compute_conv_feature_map_size(input_size))
            + heads
        )


__all__ = [
    "ComposedNetwork",
    "ComposedSpec",
    "HeadPerScale",
    "NetworkSpec",
    "TrainingOutput",
    "UnsupportedPlanError",
]
