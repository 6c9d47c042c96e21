"""The loss of a network that holds both stages: each stage's own, of what it has seen of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nnunet_ext.cascade.crops import crop, shrink


def shrink_labels(target: Tensor, size: Sequence[int], labels: int, ignore_label: int | None = None) -> Tensor:
    """Give each smaller pixel the most frequent label of those that it stands for; of equal ones, the lowest.

    It is what the area-averaged image shows, and without the shift of half a pixel that taking one of them has.

    Args:
        target: `(B, 1, H, W)` label map of any type.
        size: (2,) of the result.
        labels: K; labels are 0 to K - 1.
        ignore_label: where more than half of the pixels have it, the result has it; else they do not count.

    Returns:
        `(B, 1, *size)` of the target's type.
    """
    best = shrink((target == 0).float(), size)
    found = torch.zeros_like(best)
    for label in range(1, labels):
        share = shrink((target == label).float(), size)
        found, best = torch.where(share > best, label, found), torch.maximum(share, best)
    if ignore_label is not None:
        found = torch.where(shrink((target == ignore_label).float(), size) > 0.5, ignore_label, found)
    return found.to(target.dtype)


def shrink_regions(target: Tensor, size: Sequence[int], ignore: bool = False) -> Tensor:
    """Set each smaller pixel where more than half of those that it stands for are, of each region.

    Args:
        target: `(B, R, H, W)` masks of any type; with `ignore`, a further last channel marks ignored pixels.
        size: (2,) of the result.
        ignore: ignored pixels do not count; where they are more than half, the result is ignored.

    Returns:
        `(B, R, *size)` of the target's type, with `ignore` one channel more.
    """
    masks, valid = (target[:, :-1], 1 - target[:, -1:].float()) if ignore else (target, torch.ones(()))
    masks, valid = masks.float(), valid.to(target.device)
    # sums over equal numbers of pixels are compared, so that a half is a half in floating point, too
    regions = shrink(masks * valid, size) > shrink((1 - masks) * valid, size)
    if ignore:
        regions = torch.cat([regions, shrink(1 - valid, size) > shrink(valid, size)], 1)
    return regions.to(target.dtype)


class HostedLoss(nn.Module):
    """`loss(coarse logits, shrunk target) + loss(fine logits, target in their boxes)`.

    No parameter is in both terms, so that with an optimiser like Adam, which treats each on its own, this is two
    trainings at once. Where gradients are clipped by their norm, it is that of both together.

    Args:
        loss: `(logits, target) -> scalar`.
        shrunk: `(target, (2,) size) -> target`, e.g. `shrink_labels` with its labels.
        enlarged: `(2,) size of the target -> (2,) size` that the coarse network's boxes are cut from.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        shrunk: Callable[[Tensor, Sequence[int]], Tensor],
        enlarged: Callable[[Sequence[int]], Sequence[int]],
    ) -> None:
        super().__init__()
        self.loss, self.shrunk, self.enlarged = loss, shrunk, enlarged

    def forward(
        self, logits: Tensor, target: Tensor, *, fine: Tensor, corners: Tensor, coarse_corners: Tensor | None = None
    ) -> Tensor:
        """Return the scalar sum; arguments as `TwoStageNet` returns them, and nnU-Net's target `(B, 1 or R, H, W)`."""
        if coarse_corners is None:
            small = self.shrunk(target, logits.shape[2:])
        else:
            small = crop(self.shrunk(target, self.enlarged(target.shape[2:])), coarse_corners, logits.shape[2:])
        return self.loss(logits, small) + self.loss(fine, crop(target, corners, fine.shape[2:]))
