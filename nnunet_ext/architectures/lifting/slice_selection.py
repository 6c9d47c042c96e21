"""Choosing the slices that predict, and fusing them.

Spatial Lifting for Dense Prediction, Section III-A, "Model Training" and "Model Testing": the mean training loss of
every slice is taken over the final epoch, the S slices with the lowest mean are kept (S = 5), and the prediction is
the sum of the kept slices' probabilities.

Where we differ: the statistics are taken in every epoch, so that every checkpoint holds a valid selection (the last
epoch's is the paper's). The paper's text sums "prediction logits" while its description and ours sum probabilities;
the sum is divided by S and returned as a logarithm, because nnU-Net's predictors, ensembles and exports expect logits.
Softmax (or sigmoid, for regions) of what is returned is the mean probability exactly, so the label is the paper's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.architectures.activation import KnowsActivation


def lowest_slices(mean_loss: Tensor, n_selected: int) -> Tensor:
    """Return the indices of the slices with the lowest mean loss, lowest first, ties to the lower index.

    Args:
        mean_loss: `(D,)` mean training loss of each slice.
        n_selected: S, between 1 and D.

    Returns:
        `(S,)` int64.
    """
    return torch.sort(mean_loss, stable=True).indices[:n_selected]


def log_mean_probability(slices: Tensor) -> Tensor:
    """Fuse softmax slices: log of the mean probability over slices.

    log(1/S sum_d softmax(z_d)) = logsumexp_d(log_softmax(z_d)) - log S, without leaving log space.

    Args:
        slices: `(B, K, S, *S2)` logits.

    Returns:
        `(B, K, *S2)` float32, at least -87 (below it float32 has no probability left), at most 0.
    """
    log_p = F.log_softmax(slices.float(), dim=1)
    return (torch.logsumexp(log_p, dim=2) - math.log(slices.shape[2])).clamp(min=-87.0)


def logit_mean_probability(slices: Tensor) -> Tensor:
    """Fuse sigmoid slices: logit of the mean probability over slices.

    logit(1/S sum_d sigmoid(z_d)) = logsumexp_d(log sigmoid(z_d)) - logsumexp_d(log sigmoid(-z_d)).

    Args:
        slices: `(B, K, S, *S2)` logits.

    Returns:
        `(B, K, *S2)` float32, within -87 and 87.
    """
    z = slices.float()
    fused = torch.logsumexp(F.logsigmoid(z), dim=2) - torch.logsumexp(F.logsigmoid(-z), dim=2)
    return fused.clamp(min=-87.0, max=87.0)


class SliceSelection(KnowsActivation):
    """Remembers which slices predict, and fuses them. Its state travels in the network's state dict.

    Buffers (what stock nnU-Net prediction needs is in the checkpoint's weights):
        selected: `(S,)` int64, lowest mean loss first. Before the first epoch ends: the middle slices.
        mean_loss: `(D,)` float32 mean training loss of each slice in the last epoch; NaN before the first.
        uses_sigmoid: bool; True for region-based training, where every output is a sigmoid of its own.

    Args:
        depth: D, number of slices.
        n_selected: S, number of slices that predict.

    Raises:
        ValueError: if not 1 <= n_selected <= depth.
    """

    selected: Tensor
    mean_loss: Tensor

    def __init__(self, depth: int, n_selected: int) -> None:
        super().__init__()
        if not 1 <= n_selected <= depth:
            raise ValueError(
                f"n_selected={n_selected} slices cannot be selected of depth={depth}: choose 1 to {depth}."
            )
        start = (depth - n_selected) // 2
        self.register_buffer("selected", torch.arange(start, start + n_selected))
        self.register_buffer("mean_loss", torch.full((depth,), float("nan")))

    def update(self, mean_loss: Tensor) -> None:
        """Take the mean losses of an epoch and select anew.

        Args:
            mean_loss: `(D,)`. Slices without a finite mean come last; if none is finite, nothing changes.
        """
        mean_loss = mean_loss.to(self.mean_loss)
        if not bool(torch.isfinite(mean_loss).any()):
            return
        self.mean_loss.copy_(mean_loss)
        ranked = torch.where(torch.isfinite(mean_loss), mean_loss, torch.full_like(mean_loss, math.inf))
        self.selected.copy_(lowest_slices(ranked, len(self.selected)))

    def forward(self, slices: Tensor) -> Tensor:
        """Fuse the selected slices.

        Args:
            slices: `(B, K, D, *S)` logits.

        Returns:
            `(B, K, *S)` float32: log (softmax) or logit (sigmoid) of the mean selected probability.
        """
        kept = slices.index_select(2, self.selected)
        return logit_mean_probability(kept) if self._sigmoid else log_mean_probability(kept)
