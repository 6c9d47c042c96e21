"""Focal loss plus Dice loss, as the two-stage paper trains.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701); the constants are those of the authors' code. Of logits z and masks y in [0, 1], with p = sigmoid(z):

    p_t = p y + (1 - p)(1 - y),   a_t = a y + (1 - a)(1 - y)         gamma 2, a 1/4
    focal = mean of a_t (1 - p_t)^gamma BCE(z, y) over all pixels    (T.-Y. Lin et al., ICCV 2017)
    Dice = (2 sum p y + 1) / (sum (p + y) + 1)                       sums over the whole batch at once
    L = focal + (1 - Dice)

The paper has one binary mask. Ours beyond it: with labels, every foreground class against the rest, z being its
log-odds, of two classes z_1 - z_0; with regions, every one. The focal mean is over all of these, and so is that of
their Dice, each over the whole batch. Ignored pixels are in no sum and no mean. With DistributedDataParallel the whole
batch is that of each process: nothing is gathered, unlike in nnU-Net's batch Dice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GAMMA, ALPHA, SMOOTH = 2.0, 0.25, 1.0


def log_odds(logits: Tensor) -> Tensor:
    """Return log(p_k / (1 - p_k)) of the softmax's foreground classes.

    Args:
        logits: `(B, K, *S)`, background first, K of at least 2.

    Returns:
        `(B, K - 1, *S)`.
    """
    classes = range(logits.shape[1])
    others = [torch.logsumexp(logits[:, [j for j in classes if j != k]], 1) for k in classes[1:]]
    return logits[:, 1:] - torch.stack(others, 1)


def focal(z: Tensor, masks: Tensor, valid: Tensor | None = None, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """Return the mean sigmoid focal loss.

    Args:
        z: `(B, C, *S)` floating logits, each channel a binary problem of its own.
        masks: `(B, C, *S)` of the same type, in [0, 1].
        valid: `(B, 1, *S)` of the same type, 0 where a pixel does not count; None counts all.
        alpha: weight of the foreground, 1 - alpha that of the rest; negative: no weights.
        gamma: power of 1 - p_t.

    Returns:
        A scalar; 0 if nothing counts.
    """
    from torchvision.ops import sigmoid_focal_loss

    if valid is None:
        return sigmoid_focal_loss(z, masks, alpha, gamma, "mean")
    each = sigmoid_focal_loss(z, masks, alpha, gamma) * valid
    return each.sum() / (valid.sum() * z.shape[1]).clamp(min=1)


def soft_dice(z: Tensor, masks: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return `(C,)` soft Dice of each channel over the whole batch. Args as for `focal`."""
    p = torch.sigmoid(z)
    if valid is not None:
        p, masks = p * valid, masks * valid
    axes = (0, *range(2, z.ndim))
    return (2 * (p * masks).sum(axes) + SMOOTH) / ((p + masks).sum(axes) + SMOOTH)


class FocalDiceLoss(nn.Module):
    """Focal + (1 - Dice) of nnU-Net's outputs and targets, in float32 also under autocast.

    Args:
        regions: targets are `(B, R, *S)` region masks (a further last channel marks ignored pixels if there is an
            ignore label); otherwise `(B, 1, *S)` label maps.
        ignore_label: the label (or, with regions, any value not None) that marks ignored pixels.
    """

    def __init__(self, regions: bool = False, ignore_label: int | None = None) -> None:
        super().__init__()
        self.regions, self.ignore_label = regions, ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`(B, K, *S)` logits and nnU-Net's target to a scalar float32; float64 of float64 logits."""
        z = logits if logits.dtype == torch.float64 else logits.float()
        ignored = None
        if self.regions:
            masks = target if self.ignore_label is None else target[:, :-1]
            ignored = None if self.ignore_label is None else target[:, -1:] != 0
        else:
            masks = torch.cat([target == k for k in range(1, z.shape[1])], 1)
            ignored = None if self.ignore_label is None else target == self.ignore_label
            z = log_odds(z)
        valid = None if ignored is None else (~ignored).to(z.dtype)
        masks = masks.to(z.dtype)
        return focal(z, masks, valid) + 1 - soft_dice(z, masks, valid).mean()
