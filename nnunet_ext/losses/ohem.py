"""Cross-entropy of hard pixels alone: online hard example mining (OHEM).

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 4.1,
supervises its three predictions with it; the rule is that of HRNet's segmentation code, which it builds upon:

    t = max(p_k, threshold),   k = min(max(1, min_kept), n - 1)
    L = mean of -w log p over the pixels with p < t

p is the probability of the pixel's true class, w this class's weight, n the number of valid pixels in the batch, p_k
the k-th of their p, ascending, counted from 0. The mean is not divided by the weights' sum. So the `min_kept` hardest
pixels are kept, and all below the threshold.

Where we differ: if no pixel is below t, the mean is over all valid ones, and of no valid pixel the loss is 0; the code
has NaN in both cases. Volumes are ours. As in the code, one pixel of n is left out if `min_kept` is n or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OhemCrossEntropy(nn.Module):
    """Cross-entropy averaged over the pixels that are hard at present, of the batch as a whole.

    It computes in float32 whatever autocast says (float64 of float64 logits), and does not wait for the GPU. With class
    weights, move it there (`.to(device)`), which nnU-Net does not do; else they are copied at every call.

    Args:
        ignore_label: the label of pixels that do not count; None: all count.
        threshold: in [0, 1]; pixels whose true class is less probable are kept.
        min_kept: pixels that are kept in any case, of the batch; 0 acts as 1.
        class_weight: (K,) factors of the classes' cross-entropy; None: all 1. They do not decide which pixels are hard.

    Raises:
        ValueError: if a number is outside of its range.
    """

    class_weight: Tensor | None

    def __init__(
        self, ignore_label: int | None = None, threshold: float = 0.9, min_kept: int = 131072,
        class_weight: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"OHEM's threshold is a probability in [0, 1], not {threshold}.")
        if min_kept < 0:
            raise ValueError(f"OHEM's min_kept is a number of pixels, 0 or more, not {min_kept}.")
        if class_weight is not None and not all(0 <= w < math.inf for w in class_weight):
            raise ValueError(f"OHEM's class_weight is finite and not negative, unlike {list(class_weight)}.")
        self.ignore_label, self.threshold, self.min_kept = ignore_label, threshold, min_kept
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: `(B, K, *S)`, two or three axes.
            target: `(B, 1, *S)` or `(B, *S)` labels of any type, below K where valid.

        Returns:
            A scalar, float32; float64 of float64 logits.

        Raises:
            ValueError: if shapes do not fit each other, or there are not K class weights.
        """
        labels = self._labels(logits, target)
        valid = torch.ones_like(labels, dtype=torch.bool) if self.ignore_label is None else labels != self.ignore_label
        inside = labels.masked_fill(~valid, 0)
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(z, inside, reduction="none")
        kept = self._hard(loss.detach(), valid)
        if self.class_weight is not None:
            loss = loss * self.class_weight.to(loss)[inside]
        return torch.where(kept, loss, 0).sum() / kept.sum().clamp(min=1)

    def _labels(self, logits: Tensor, target: Tensor) -> Tensor:
        """`(B, *S)` int64."""
        labels = target[:, 0] if target.ndim == logits.ndim and target.shape[1] == 1 else target
        if labels.shape != logits.shape[:1] + logits.shape[2:]:
            raise ValueError(
                f"OHEM compares logits (B, K, *S) with labels (B, 1, *S) or (B, *S), not {tuple(logits.shape)} "
                f"with {tuple(target.shape)}."
            )
        if self.class_weight is not None and len(self.class_weight) != logits.shape[1]:
            raise ValueError(f"OHEM has {len(self.class_weight)} class weights for {logits.shape[1]} classes.")
        return labels.long()

    def _hard(self, loss: Tensor, valid: Tensor) -> Tensor:
        """Return which pixels are kept; p ascends as -log p, which is `loss`, descends. `(B, *S)` each."""
        candidates = loss.masked_fill(~valid, -math.inf).flatten()
        count = min(max(1, self.min_kept) + 1, candidates.numel())
        hardest = candidates.topk(count, sorted=False).values
        # of fewer valid pixels than `count`, the last is the (n - 1)-th, as the rule says
        last = hardest.masked_fill(hardest == -math.inf, math.inf).min()
        limit = -math.log(self.threshold) if self.threshold > 0 else math.inf
        kept = valid & (loss > last.clamp(max=limit))
        return torch.where(kept.any(), kept, valid)
