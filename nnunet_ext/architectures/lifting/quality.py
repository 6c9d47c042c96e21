"""Prediction quality from the slices alone: how well selected and unselected slices agree.

Spatial Lifting for Dense Prediction, Section III-B, "Prediction Quality Assessment": with B_d the binarised map of
slice d, T the S selected slices and U the D - S others,

    Q = 1 / (S (D - S)) sum_{i in T} sum_{j in U} Dice(B_i, B_j),    Dice(A, B) = 2 |A and B| / (|A| + |B|).

The paper gives the binary case. Chosen here: Dice of two empty maps is 1; with several classes, a pair's Dice is the
mean over the foreground classes that either map has, 1 if there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 2**18  # voxels that are binarised at once: bounds the memory, whatever the size of a volume
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


def pieces(size: tuple[int, ...] | torch.Size) -> Iterator[tuple[int, slice]]:
    """Divide a volume `(Z, H, W)` into parts of a plane with at most `PIECE` voxels: index of the plane, its rows."""
    planes, height, width = size
    rows = max(1, PIECE // max(1, width))
    return ((z, slice(y, y + rows)) for z in range(planes) for y in range(0, height, rows))


def bounded(margin: Tensor, sigmoid: bool, limit: float) -> Tensor:
    """Return margins within +-limit, for sums in half precision: no label of `binarise` changes.

    Args:
        margin: `(F, *S)`. Not a number stays so.
        sigmoid: as for `margins`. With one softmax, all outputs of a voxel shrink by the same factor, so that their
            order stays; else each is clamped.
        limit: above 0.
    """
    if sigmoid or len(margin) == 1:
        return margin.clamp(-limit, limit)
    finite = margin.clamp(-1e30, 1e30)
    return finite * (limit / finite.abs().amax(0).clamp(min=limit))


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
    return _agreement(*_counts(maps.flatten(2), n_selected), n_selected)


def agreement_of_margins(margin: Tensor, sigmoid: bool, n_selected: int) -> Agreement:
    """Binarise and compare, piece by piece: what is needed beside the margins does not grow with the volume.

    Args:
        margin: `(F, D, Z, H, W)`, one image's slices as from `margins`, or positive multiples, the selected ones first.
        sigmoid: as for `margins`.
        n_selected: S.

    Returns:
        `agreement` of the binarised slices, float64 on the CPU.
    """
    both, sizes = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for z, rows in pieces(margin.shape[2:]):
        maps = binarise(margin[None, :, :, z, rows], sigmoid)[0]
        found = _counts(maps.flatten(2), n_selected)
        both, sizes = both + found[0], sizes + found[1]
    return _agreement(both, sizes, n_selected)


def _agreement(both: Tensor, sizes: Tensor, n_selected: int) -> Agreement:
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
