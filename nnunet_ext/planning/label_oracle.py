"""What two stages could reach at best, from true labels alone: no network is trained for it.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701) varies Np on six datasets by training; vessels and dense cells come out worse at every Np. Here the first
network is replaced by the mean of the true labels over each block of low resolution, and the second by the truth:

    p = linear up(area down(one-hot labels))        windows are ranked as `cascade.regions` does
    Dice of argmax p, with the first ceil(f n) windows replaced by the truth

Where we differ: the paper has no such estimate. It overstates what is lost against one real network, which errs at the
same places, and understates it where a real coarse network misses whole objects.

Pure functions of tensors; memory does not grow with the number of classes, but for the small maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.cascade.regions import confidence, interpolation, number_selected, select, upsample, window_means

AT_ONCE = 2**25  # values of upsampled maps in memory


@dataclass(frozen=True)
class Outputs:
    """What a network's outputs stand for.

    Attributes:
        values: labels of each foreground class (one each) or region (any number).
        regions: whether they are regions, which overlap.
        ignore: label of voxels that are neither learnt nor scored; None if there is none.
    """

    values: tuple[tuple[int, ...], ...]
    regions: bool = False
    ignore: int | None = None


def _is_one_of(labels: Tensor, values: Sequence[int]) -> Tensor:
    found = labels == values[0]
    for value in values[1:]:
        found |= labels == value
    return found


def block_means(labels: Tensor, outputs: Outputs, shape: Sequence[int]) -> Tensor:
    """Return each output's share of the voxels of a block: what a perfect coarse network would predict.

    Args:
        labels: `(*S)` integers.
        shape: s, of the maps; blocks are those of PyTorch's area mode, which nnU-Net's resampling uses.

    Returns:
        `(K, *s)` float64 in [0, 1]. Ignored voxels do not count; a block of these alone is 0.
    """
    masks = (_is_one_of(labels, values) for values in outputs.values)
    means = torch.stack([_area(mask, shape) for mask in masks])
    if outputs.ignore is None:
        return means
    return means / _area(labels != outputs.ignore, shape).clamp(min=torch.finfo(means.dtype).tiny)


def _area(mask: Tensor, shape: Sequence[int]) -> Tensor:
    return F.interpolate(mask[None, None].double(), tuple(shape), mode="area")[0, 0]


def ranking(
    means: Tensor, outputs: Outputs, starts: Sequence[Sequence[int]], patch: Sequence[int], shape: Sequence[int]
) -> Tensor:
    """Return the windows' indices, the least confident first, when `block_means` are upsampled to `shape`."""
    maps = means if outputs.regions else torch.cat([1 - means.sum(0, keepdim=True), means])
    return select(confidence(window_means(maps, starts, patch, shape), outputs.regions), 1.0)


def refined_by(order: Tensor, starts: Sequence[Sequence[int]], patch: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return which window refines a voxel first: its place in the order, or the number of windows if none does.

    Returns:
        `(*shape)` int32.
    """
    boxes = list(product(*starts))
    ranks = torch.full(tuple(shape), len(boxes), dtype=torch.int32)
    for rank in range(len(order) - 1, -1, -1):
        corner = boxes[int(order[rank])]
        ranks[tuple(slice(max(c, 0), max(c + p, 0)) for c, p in zip(corner, patch, strict=True))] = rank
    return ranks


def _upsampled(means: Tensor, shape: Sequence[int]) -> Iterator[tuple[slice, Tensor]]:
    """Upsample maps, a slab along the first axis at a time if they are large; `(K, rows, ...)` each."""
    rows = max(1, AT_ONCE // (len(means) * int(torch.Size(shape[1:]).numel())))
    if rows >= shape[0]:
        yield slice(0, shape[0]), upsample(means, shape)
        return
    weights = interpolation(means.shape[1], shape[0])
    for start in range(0, shape[0], rows):
        part = weights[start : start + rows]
        used = part.any(0).nonzero().flatten()
        near = slice(int(used[0]), int(used[-1]) + 1)
        slab = torch.tensordot(part[:, near], means[:, near], dims=([1], [1])).transpose(0, 1)
        yield slice(start, start + len(part)), upsample(slab, (len(part), *shape[1:]))


def _pairs(labels: Tensor, outputs: Outputs, means: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Return the upsampled prediction and the truth, 0 for background, 1 .. n: once, or for each region (n = 1)."""
    groups = [[v] for v in outputs.values] if outputs.regions else [list(outputs.values)]
    maps = means.split(1) if outputs.regions else [means]
    for values, group in zip(groups, maps, strict=True):
        predicted = torch.zeros(labels.shape, dtype=torch.int16)
        for rows, part in _upsampled(group, labels.shape):
            best = 1 - part.sum(0)  # of the background
            for number, one in enumerate(part, 1):
                predicted[rows].masked_fill_(one > best, number)
                best = torch.maximum(best, one)
        truth = torch.zeros_like(predicted)
        for number, value in enumerate(values, 1):
            truth.masked_fill_(_is_one_of(labels, value), number)
        if outputs.ignore is not None:
            predicted.masked_fill_(labels == outputs.ignore, 0)
        yield predicted, truth, len(values)


def _dice(predicted: Tensor, truth: Tensor, n: int, ranks: Tensor, selected: Sequence[int]) -> Tensor:
    """Return `(selected, n)` Dice after the first windows of the ranking were corrected; NaN if a class is absent."""
    wrong = predicted != truth
    is_true, is_predicted, rank = truth[wrong].long(), predicted[wrong].long(), ranks[wrong]
    true_sum = torch.bincount(truth.flatten(), minlength=n + 1)
    predicted_sum = torch.bincount(predicted.flatten(), minlength=n + 1)
    hits = true_sum - torch.bincount(is_true, minlength=n + 1)
    rows = []
    for k in selected:
        mended = rank < k
        gained = torch.bincount(is_true[mended], minlength=n + 1)
        lost = torch.bincount(is_predicted[mended], minlength=n + 1)
        total = true_sum + predicted_sum + gained - lost
        dice = 2 * (hits + gained).double() / total.clamp(min=1)
        rows.append(torch.where(true_sum > 0, dice, torch.nan)[1:])
    return torch.stack(rows)


def oracle_dice(
    labels: Tensor, outputs: Outputs, coarse: Sequence[int], starts: Sequence[Sequence[int]], patch: Sequence[int],
    budgets: Sequence[float], order: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return the Dice of an image's true labels, seen coarsely, whose least confident windows are then corrected.

    Args:
        labels: `(*S)` integers.
        coarse: shape of low resolution.
        starts: of the windows along each axis; they may overlap, and reach beyond the image.
        patch: voxels of a window.
        budgets: shares of the windows, each 0 to 1; 0 corrects none.
        order: indices of the windows, the first refined first; None for their confidence.

    Returns:
        `(budgets,)` float64: mean over the foreground classes, or regions, that the image has; NaN if it has none.
    """
    means = block_means(labels, outputs, coarse)
    if order is None:
        order = ranking(means, outputs, starts, patch, labels.shape)
    ranks = refined_by(order, starts, patch, labels.shape)
    selected = [number_selected(budget, len(order)) for budget in budgets]
    found = [_dice(predicted, truth, n, ranks, selected) for predicted, truth, n in _pairs(labels, outputs, means)]
    return torch.cat(found, 1).nanmean(1)
