"""The structure loss: weighted binary cross-entropy plus weighted IoU, pixels near borders counting up to six times.

PraNet (D.-P. Fan et al., MICCAI 2020); used by Spatial Lifting (Table V) and many others:

    w = 1 + 5 |avgpool_31(y) - y|          (31 x 31, stride 1, zero padding counted)
    wBCE = sum(w bce) / sum(w),   wIoU = 1 - (sum(w p y) + 1) / (sum(w (p + y)) - sum(w p y) + 1)

The widely copied public code passes `reduce='none'` to the cross-entropy, which PyTorch reads as "mean": there the
cross-entropy is not weighted. Here it is, as the equation says.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def structure_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None, window: int = 31) -> Tensor:
    """Return wBCE + wIoU of every image and channel.

    Args:
        logits: `(B, C, *S)`, one binary problem a channel.
        target: `(B, C, *S)` in [0, 1].
        valid: `(B, 1, *S)`, 0 where a pixel does not count; None counts all.
        window: odd side of the averaging window in pixels.

    Returns:
        `(B, C)` float32.
    """
    logits, target = logits.float(), target.float()
    pool = F.avg_pool2d if logits.ndim == 4 else F.avg_pool3d
    weight = 1 + 5 * (pool(target, window, 1, window // 2) - target).abs()
    if valid is not None:
        weight = weight * valid
    axes = tuple(range(2, logits.ndim))
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wbce = (weight * bce).sum(axes) / weight.sum(axes).clamp(min=1e-8)
    p = torch.sigmoid(logits)
    overlap = (weight * p * target).sum(axes)
    total = (weight * (p + target)).sum(axes)
    return wbce + 1 - (overlap + 1) / (total - overlap + 1)


def one_against_rest(logits: Tensor) -> Tensor:
    """Turn softmax logits into binary ones of each foreground class: logit(p_k) = z_k - logsumexp_{j != k} z_j.

    Args:
        logits: `(B, K, *S)`, background first, K >= 2.

    Returns:
        `(B, K - 1, *S)` float32.
    """
    z = logits.float()
    rest = [torch.logsumexp(torch.cat([z[:, :k], z[:, k + 1 :]], 1), 1) for k in range(1, z.shape[1])]
    return z[:, 1:] - torch.stack(rest, 1)


class StructureLoss(nn.Module):
    """Structure loss of nnU-Net's outputs and targets; mean over images and foreground classes or regions.

    Args:
        regions: targets are `(B, R, *S)` region masks (a further last channel marks ignored pixels if `ignore` is
            set); otherwise `(B, 1, *S)` label maps.
        ignore_label: the label (or, with regions, any value not None) that marks ignored pixels.
        window: side of the averaging window in pixels.
    """

    def __init__(self, regions: bool = False, ignore_label: int | None = None, window: int = 31) -> None:
        super().__init__()
        self.regions, self.ignore_label, self.window = regions, ignore_label, window

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`(B, K, *S)` logits and nnU-Net's target to a scalar."""
        if self.regions:
            valid = None if self.ignore_label is None else 1 - target[:, -1:].float()
            masks = target if self.ignore_label is None else target[:, :-1]
            return structure_loss(logits, masks, valid, self.window).mean()
        valid = None if self.ignore_label is None else (target != self.ignore_label).float()
        classes = torch.arange(1, logits.shape[1], device=target.device).view(1, -1, *[1] * (target.ndim - 2))
        return structure_loss(one_against_rest(logits), target == classes, valid, self.window).mean()
