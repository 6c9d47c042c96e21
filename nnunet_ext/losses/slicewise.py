"""Dense slice supervision: every slice of a lifted prediction is supervised by the same 2D target.

Spatial Lifting for Dense Prediction, Section III-A, equations (3) and (4): L = 1/D sum_d l(Z_d, Y).

The inner loss is called once a slice instead of once with the slices folded into the batch, because nnU-Net's batch
Dice sums over the batch: folded, it would be one Dice over all slices, which is not the mean over slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def split_slices(output: Tensor | list[Tensor]) -> list[Any]:
    """Split `(B, K, D, *S)` into D tensors `(B, K, *S)`; a list of scales into D lists of scales.

    Split at once, not indexed one by one: the gradient of an index is a volume of zeros for each slice.
    """
    if isinstance(output, Tensor):
        return list(output.unbind(2))
    return [list(scales) for scales in zip(*(o.unbind(2) for o in output), strict=True)]


class SlicewiseLoss(nn.Module):
    """Mean over slices of an inner loss; keeps each slice's running mean over an epoch.

    Args:
        inner: `(logits (B, K, *S), target) -> scalar`, e.g. nnU-Net's Dice + cross-entropy, for labels or regions, with
            or without ignore label and deep supervision.

    Attributes:
        recording: whether losses go into the statistics; off where a batch is repeated at another scale.
    """

    def __init__(self, inner: Callable[..., Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.recording = True
        self._sum: Tensor | None = None
        self._images = 0

    def forward(self, slices: Tensor | list[Tensor], target: Any, **extra: Tensor) -> Tensor:
        """Return the mean over slices.

        Args:
            slices: `(B, K, D, *S)` logits, or a list of them with deep supervision.
            target: as the inner loss takes it; the same for every slice.
            extra: further `(B, C, D, *S)` outputs, sliced and passed on to the inner loss.
        """
        logits = split_slices(slices)
        extras = {name: split_slices(values) for name, values in extra.items()}
        each = [self.inner(z, target, **{k: v[d] for k, v in extras.items()}) for d, z in enumerate(logits)]
        losses = torch.stack(each)
        if self.recording:
            self._record(losses.detach().cpu().double(), len(slices if isinstance(slices, Tensor) else slices[0]))
        return losses.mean()

    def _record(self, losses: Tensor, images: int) -> None:
        """Each image counts once, also those of a short batch."""
        self._sum = losses * images if self._sum is None else self._sum + losses * images
        self._images += images

    def statistics(self) -> Tensor | None:
        """Return sums of each slice's loss over images, then the number of images; None if there were none.

        `(D + 1,)` float64 on the CPU. Sums (not means), so that they can be added over processes.
        """
        if self._sum is None:
            return None
        return torch.cat([self._sum, self._sum.new_tensor([self._images])])

    def reset(self) -> None:
        """Forget what was recorded; called at the start of an epoch."""
        self._sum, self._images = None, 0
