"""Prediction quality from the slices alone: how well selected and unselected slices agree.

Spatial Lifting for Dense Prediction, Section III-B, "Prediction Quality Assessment": with B_d the binarised map of
slice d, T the S selected slices and U the D - S others,

    Q = 1 / (S (D - S)) sum_{i in T} sum_{j in U} Dice(B_i, B_j),    Dice(A, B) = 2 |A and B| / (|A| + |B|).

The paper gives the binary case. Chosen here: Dice of two empty maps is 1; with several classes, a pair's Dice is the
mean over the foreground classes that either map has, 1 if there is none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 2**15  # voxels a matrix product: counts of float32 are exact below 2**24, and the floats stay in the cache


class Agreement(NamedTuple):
    """Agreement of selected with unselected slices of one image; all in [0, 1], NaN without unselected slices.

    total: Q, a scalar. classes: `(F,)`, the same with one class alone, where a pair without that class counts 1.
    pairs: `(S, D - S)`, what `total` is the mean of.
    """

    total: Tensor
    classes: Tensor
    pairs: Tensor


def rank_order(selected: Tensor, mean_loss: Tensor) -> Tensor:
    """Return the slices' indices, selected ones first, each part lowest mean loss first.

    Args:
        selected: `(S,)` indices, in the order of their rank.
        mean_loss: `(D,)`; where it is NaN, indices ascend.

    Returns:
        `(D,)` int64.
    """
    ranked = torch.sort(mean_loss, stable=True).indices  # NaN comes last
    return torch.cat([selected, ranked[~torch.isin(ranked, selected)]])


def margins(slices: Tensor, sigmoid: bool) -> Tensor:
    """Return how far each foreground output is above the background: all that binarising needs.

    Args:
        slices: `(B, K, D, *S)` logits.
        sigmoid: each output is a sigmoid of its own; else one softmax, whose output 0 is the background.

    Returns:
        `(B, F, D, *S)`: for sigmoids the logits themselves (F = K), else z_k - z_0 for k = 1..K-1 (F = K - 1).
    """
    return slices if sigmoid else slices[:, 1:] - slices[:, :1]


def binarise(margin: Tensor, sigmoid: bool) -> Tensor:
    """Return each foreground output's map: probability above 0.5 for sigmoids, argmax for softmax.

    Args:
        margin: `(B, F, *S)` as from `margins`, or a positive multiple of it.
        sigmoid: as for `margins`.

    Returns:
        `(B, F, *S)` bool.
    """
    above = margin > 0
    if sigmoid or margin.shape[1] == 1:
        return above
    best = margin.argmax(dim=1, keepdim=True)
    return torch.zeros_like(above).scatter_(1, best, above.gather(1, best))


def probabilities(margin: Tensor, sigmoid: bool) -> Tensor:
    """Return each foreground output's probability, `(B, F, *S)` float32, of `margins`' `(B, F, *S)`."""
    if sigmoid or margin.shape[1] == 1:
        return torch.sigmoid(margin.float())
    return torch.softmax(torch.cat([torch.zeros_like(margin[:, :1]), margin], dim=1).float(), dim=1)[:, 1:]


def agreement(maps: Tensor, n_selected: int) -> Agreement:
    """Compare each selected slice's maps with each unselected slice's.

    Args:
        maps: `(F, D, *S)` bool, one image's binarised slices, the selected ones first.
        n_selected: S.

    Returns:
        float64 on the CPU.
    """
    both, sizes = _counts(maps.flatten(2), n_selected)
    total_size = sizes[:, :n_selected, None] + sizes[:, None, n_selected:]  # (F, S, D - S)
    present = total_size > 0
    dice = torch.where(present, 2 * both / total_size.clamp(min=1), 1.0)
    n_present = present.sum(0)
    pairs = torch.where(n_present > 0, (dice * present).sum(0) / n_present.clamp(min=1), 1.0)
    return Agreement(pairs.mean(), dice.mean((1, 2)), pairs)


def _counts(maps: Tensor, n_selected: int) -> tuple[Tensor, Tensor]:
    """Return voxels in both maps of each pair, `(F, S, D - S)`, and in each map, `(F, D)`, of `(F, D, N)`; exact."""
    both, sizes = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for part in maps.split(CHUNK, dim=2):
        ones = part.view(torch.uint8).float()  # five times faster than from bool
        pairs = ones[:, :n_selected] @ ones[:, n_selected:].transpose(1, 2)
        both, sizes = both + pairs.cpu().double(), sizes + ones.sum(2).cpu().double()  # some devices have no float64
    return both, sizes
