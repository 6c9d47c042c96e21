"""A 3D network made to read and write 2D: lift, run, fuse.

Spatial Lifting for Dense Prediction, Section III-A, equations (1) and (2). Where we differ: slices that are equal by
construction are computed once (`deduplicate.py`), with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.lifting.deduplicate import run_deduplicated
from nnunet_ext.architectures.lifting.replicate import replicate
from nnunet_ext.architectures.lifting.slice_selection import SliceSelection
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.padding import pad_to_multiple

Form = Literal["plain", "distinct", "stacked"]


class LiftedNetwork(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` in evaluation mode; all slices `(B, K, D, H, W)` in training mode.

    Args:
        network: `(B, C, D, H, W) -> (B, K, D, H, W)`; in training also a `TrainingOutput` of such volumes.
        depth: D, how often the image is copied (16 in the paper).
        n_selected: S, how many slices predict (5 in the paper).
        multiple: (2,) sizes that the network needs H and W to be multiples of; others are padded inside.
        minimum: (2,) smallest H and W that it takes.

    Attributes:
        form: how the 3D network is computed, with the same result beyond rounding; None for the device's `FASTEST`.
            `plain`: on the whole lifted volume, as the paper does. `distinct`: each product of distinct slices once,
            the fewest multiplications. `stacked`: distinct slices as channels of 2D convolutions.
        FASTEST: form by type of device, for training and inference alike, as `benchmarks/lifting.py` measured it.
            Devices that are not named were not measured; they compute the plain form in `channels_last_3d`.
    """

    FASTEST: ClassVar[dict[str, Form]] = {"cpu": "stacked"}

    def __init__(
        self, network: nn.Module, depth: int, n_selected: int, multiple: Sequence[int], minimum: Sequence[int]
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last_3d)
        self.selection = SliceSelection(depth, n_selected)
        self.depth = depth
        self.form: Form | None = None
        self._multiple, self._minimum = tuple(multiple), tuple(minimum)

    def slices(self, x: Tensor) -> Tensor:
        """Return every slice's logits, in evaluation mode.

        Args:
            x: `(B, C, H, W)` of any size.

        Returns:
            `(B, K, D, H, W)`.
        """
        slices = self._volumes(x)
        return slices if isinstance(slices, Tensor) else cast("Tensor", slices.logits)

    def _volumes(self, x: Tensor) -> Tensor | TrainingOutput:
        padded, (rows, columns) = pad_to_multiple(x, self._multiple, self._minimum)
        form = self.form or self.FASTEST.get(x.device.type, "plain")
        if form == "plain":
            volume = replicate(padded, self.depth)
            output = self.network(volume.contiguous(memory_format=torch.channels_last_3d))
        else:
            output = run_deduplicated(self.network, padded, self.depth, stacked=form == "stacked")
        if isinstance(output, Tensor):
            return output[..., rows, columns]
        extra = {name: v[..., rows, columns] for name, v in output.extra.items()}
        return TrainingOutput(output.logits[..., rows, columns], extra)

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """Return all slices for the loss in training mode, the fused selected slices otherwise."""
        if self.training:
            output = self._volumes(x)
            return TrainingOutput(output, {}) if isinstance(output, Tensor) else output
        return self.selection(self.slices(x))
