"""A 3D network made to read and write 2D: lift, run, fuse.

Spatial Lifting for Dense Prediction, Section III-A, equations (1) and (2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.lifting.replicate import replicate
from nnunet_ext.architectures.lifting.slice_selection import SliceSelection
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.padding import pad_to_multiple


class LiftedNetwork(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` in evaluation mode; all slices `(B, K, D, H, W)` in training mode.

    Args:
        network: `(B, C, D, H, W) -> (B, K, D, H, W)`.
        depth: D, how often the image is copied (16 in the paper).
        n_selected: S, how many slices predict (5 in the paper).
        multiple: (2,) sizes that the network needs H and W to be multiples of; others are padded inside.
        minimum: (2,) smallest H and W that it takes.
    """

    def __init__(
        self, network: nn.Module, depth: int, n_selected: int, multiple: Sequence[int], minimum: Sequence[int]
    ) -> None:
        super().__init__()
        # volumes of few channels: 2 to 3 times less CPU time per training step than contiguous (batch 2, 256 x 256)
        self.network = network.to(memory_format=torch.channels_last_3d)
        self.selection = SliceSelection(depth, n_selected)
        self.depth = depth
        self._multiple, self._minimum = tuple(multiple), tuple(minimum)

    def slices(self, x: Tensor) -> Tensor:
        """Return every slice's logits.

        Args:
            x: `(B, C, H, W)` of any size.

        Returns:
            `(B, K, D, H, W)`.
        """
        padded, (rows, columns) = pad_to_multiple(x, self._multiple, self._minimum)
        # On the CPU, PyTorch convolves single small volumes without oneDNN; two at once take half the time of one.
        doubled = x.device.type == "cpu" and len(x) == 1 and not self.training
        volume = replicate(padded.expand(2, -1, -1, -1) if doubled else padded, self.depth)
        slices = self.network(volume.contiguous(memory_format=torch.channels_last_3d))
        return (slices[:1] if doubled else slices)[..., rows, columns]

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """Return all slices for the loss in training mode, the fused selected slices otherwise."""
        slices = self.slices(x)
        return TrainingOutput(slices, {}) if self.training else self.selection(slices)
