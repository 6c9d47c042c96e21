"""Offset vectors as further channels of the last layer, for networks of which nothing else is known.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 3.2,
with everything shared by both heads; see `offset_branch.py` for the other ways. What such a network begins at is not
known either, so a learned factor of each further channel, 0.01 at first, makes the offsets begin small.

    class nnUNetTrainerMine(OffsetVectorTrainer):
        spec = SharedOffsetSpec(MonaiUNetSpec(levels=5, res_units=1))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.heads.offset_branch import Scales, largest_offset, output_of
from nnunet_ext.architectures.heads.offset_vectors import Fuse, OffsetRefinement, Refined, check_fuse
from nnunet_ext.architectures.network import NetworkSpec, TrainingOutput
from nnunet_ext.architectures.topology import Topology

START = 0.01


class SharedOffsetNetwork(nn.Module):
    """A network with K + n + 1 outputs, of which the last n + 1 refine the first K.

    Args:
        network: `(B, C, *S)` -> logits `(B, K + n + 1, *S)`, or a list of scales.
        output_channels: K.
        refinement: without parameters.
    """

    def __init__(self, network: nn.Module, output_channels: int, refinement: OffsetRefinement) -> None:
        super().__init__()
        self.network, self.output_channels, self.refinement = network, output_channels, refinement
        self.factor = nn.Parameter(torch.full((refinement.channels,), START))

    @property
    def decoder(self) -> nn.Module:
        """The network's own, whose `deep_supervision` nnU-Net flips.

        Raises:
            AttributeError: if it has none.
        """
        return self.network.decoder  # type: ignore[return-value]

    def _scales(self, x: Tensor) -> tuple[Refined, list[Tensor], bool]:
        output = self.network(x)
        scales = [output] if isinstance(output, Tensor) else output
        logits, raw = [s[:, : self.output_channels] for s in scales], scales[0][:, self.output_channels :]
        raw = raw * self.factor.view(-1, *[1] * (raw.ndim - 2))
        return self.refinement(logits[0], raw), logits[1:], not isinstance(output, Tensor)

    def refined(self, x: Tensor) -> Refined:
        """`(B, C, *S)` -> the class map and what it was made of."""
        return self._scales(x)[0]

    def forward(self, x: Tensor) -> Scales | TrainingOutput:
        """`(B, C, *S)` -> logits `(B, K, *S)`, with deep supervision a list; in training also what the loss needs."""
        refined, others, in_scales = self._scales(x)
        return output_of(refined, others, self.training, in_scales)


@dataclass(frozen=True)
class SharedOffsetSpec(NetworkSpec):
    """Offset vectors on the network of another spec, one that returns plain logits in training.

    Attributes:
        base: builds the network.
        tau, tau_mm: the largest offset, see `largest_offset`.
        fuse: see `OffsetRefinement`.
    """

    base: NetworkSpec
    tau: float = 0.5
    tau_mm: float | None = None
    fuse: Fuse = "logits"

    def __post_init__(self) -> None:
        check_fuse(self.fuse)

    @property
    def dims(self) -> tuple[int, ...]:  # type: ignore[override]
        """Spatial dimensions that it can be built for."""
        return self.base.dims

    @property
    def supports_deep_supervision(self) -> bool:  # type: ignore[override]
        """Whether it has class scores at the plan's scales."""
        return self.base.supports_deep_supervision

    def check(self, topology: Topology) -> None:  # noqa: D102
        self.base.check(topology)
        largest_offset(topology, self.tau, self.tau_mm)

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return self.base.fitting_size(topology, size)

    def build(  # noqa: D102
        self, topology: Topology, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        largest = largest_offset(topology, self.tau, self.tau_mm)
        refinement = OffsetRefinement(largest, self.fuse, in_voxels=True)
        outputs = output_channels + refinement.channels
        network = self.base.build(topology, input_channels, outputs, deep_supervision)
        return SharedOffsetNetwork(network, output_channels, refinement)

    def describe(self) -> dict[str, str]:  # noqa: D102
        values = {"tau": self.tau, "tau_mm": self.tau_mm, "fuse": self.fuse}
        return self.base.describe() | {"offset vectors": "shared"} | {k: str(v) for k, v in values.items()}
