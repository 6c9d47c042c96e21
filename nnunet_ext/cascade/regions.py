"""Where to look: the windows of an image that a coarse network is least sure of, and how both maps become one.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 3: of the Np x Np patches of an image, the Np with the lowest |mean(p) - 1/2| are given to a second
network, whose result replaces the first one's.

    m_c = mean of class c's probability over a window
    confidence = max_c m_c - 1/2          one class a pixel; for two classes this is the paper's |m_1 - 1/2|
               = min_c |m_c - 1/2|        regions, which overlap
    k = ceil(f n)                         of n windows, for a budget f; the paper's f is 1 / Np
    p = (G p_fine + w0 p_coarse) / (G + w0)      where a chosen window is, with its weights' sum G; else p_coarse

Where we differ: several classes and regions, any number of windows, windows that overlap, and w0; w0 = 0 pastes, as the
paper does. Probabilities are scored, as the text says; the authors' code scores logits.

Pure functions of tensors. A window is a box of `patch` pixels; windows are the product of the starts along each axis,
the last axis fastest, as nnU-Net orders them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.architectures.exporting import exporting

DECIMALS = 12  # of a confidence: windows that differ by rounding alone are equal
SMALLEST = 1e-6  # probability that has a logarithm


def interpolation(coarse: int, fine: int) -> Tensor:
    """Return the matrix of a linear interpolation along one axis, `(fine, coarse)` float64, as `upsample` does it."""
    eye = torch.eye(coarse, dtype=torch.float64)
    return F.interpolate(eye[None], fine, mode="linear", align_corners=False)[0].T


def upsample(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate linearly, pixel centres halfway (align_corners False).

    Args:
        maps: `(K, *s)` floating; one, two or three axes.
        shape: S, larger or smaller.

    Returns:
        `(K, *S)`.
    """
    if tuple(maps.shape[1:]) == tuple(shape):
        return maps
    if maps.ndim == 4 and maps.shape[1] == shape[0]:  # slices stay slices; also of an image as nnU-Net has it
        return F.interpolate(maps.transpose(0, 1), tuple(shape[1:]), mode="bilinear").transpose(0, 1)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    return F.interpolate(maps[None], tuple(shape), mode=mode)[0]


def _averages(starts: Sequence[int], size: int, length: int) -> Tensor:
    """Return `(windows, length)` float64: each row averages the part of a window that is inside 0 .. length."""
    rows = torch.zeros(len(starts), length, dtype=torch.float64)
    for row, start in zip(rows, starts, strict=True):
        row[max(start, 0) : max(start + size, 0)] = 1
    return rows / rows.sum(1, keepdim=True)


def window_means(
    maps: Tensor, starts: Sequence[Sequence[int]], patch: Sequence[int], shape: Sequence[int] | None = None
) -> Tensor:
    """Average maps over windows.

    Interpolation and mean are both linear and go axis by axis, so that the means of an upsampled map come from the
    coarse one directly: exact, and a large volume is never built.

    Args:
        maps: `(K, *s)`.
        starts: of the windows along each axis, in pixels of `shape`; windows may reach beyond it, what is there does
            not count.
        patch: pixels of a window along each axis.
        shape: S that the maps would be upsampled to; None for s.

    Returns:
        `(K, n)` float64.
    """
    means = maps.double().cpu()
    for axis, (begin, size) in enumerate(zip(starts, patch, strict=True), 1):
        length = means.shape[axis] if shape is None else shape[axis - 1]
        weights = _averages(begin, size, length)
        if length != means.shape[axis]:
            weights = weights @ interpolation(means.shape[axis], length)
        means = torch.tensordot(means, weights, dims=([axis], [1])).movedim(-1, axis)
    return means.flatten(1)


def confidence(means: Tensor, regions: bool = False) -> Tensor:
    """Return how sure a network is of each window.

    Args:
        means: `(K, n)` mean probabilities, or `(K, B, n)` of a batch.
        regions: each output is a sigmoid of its own, not one softmax.

    Returns:
        `(n,)` or `(B, n)`: max_c m_c - 1/2, at least 1 / K - 1/2, or min_c |m_c - 1/2| of regions; at most 1/2.
    """
    return (means - 0.5).abs().amin(0) if regions else means.amax(0) - 0.5


def pixel_margin(maps: Tensor, regions: bool = False) -> Tensor:
    """Return the difference of the two highest probabilities of each pixel; of regions, min_c |2 p_c - 1|.

    Its mean over a window is another confidence, which the paper does not have: scored first, then averaged.

    Args:
        maps: `(K, *s)` probabilities; K of at least 2, or regions.

    Returns:
        `(1, *s)` in [0, 1].
    """
    if regions:
        return (2 * maps - 1).abs().amin(0, keepdim=True)
    best = maps.topk(2, 0).values
    return best[:1] - best[1:]


def number_selected(budget: float, windows: int) -> int:
    """Return ceil(budget x windows); a product that is a whole number but for rounding stays it."""
    return min(windows, math.ceil(budget * windows - 1e-9))


def lowest(confidences: Tensor, count: int) -> Tensor:
    """Return the `count` least confident windows, lowest first; of equal ones, the first: `(..., n)` -> int64."""
    if exporting():  # ONNX has no stable sort, but its TopK is one
        return torch.topk(confidences, count, dim=-1, largest=False).indices
    return torch.argsort(confidences, dim=-1, stable=True)[..., :count]


def select(confidences: Tensor, budget: float, max_confidence: float | None = None) -> Tensor:
    """Return the windows to refine: the least confident, lowest first; of equal ones, the first.

    Args:
        confidences: `(n,)`.
        budget: share of the windows, 0 to 1.
        max_confidence: windows above it are left, whatever the budget (in the history of the authors' code: 1/4).

    Returns:
        `(k,)` int64 indices.
    """
    rounded = torch.round(confidences.double(), decimals=DECIMALS)
    chosen = lowest(rounded, number_selected(budget, len(confidences)))
    return chosen if max_confidence is None else chosen[rounded[chosen] <= max_confidence]


def merge(coarse: Tensor, fine: Tensor, weight: Tensor, coarse_weight: float = 0.0) -> Tensor:
    """Return p = (G p_fine + w0 p_coarse) / (G + w0) where G > 0, else p_coarse.

    Args:
        coarse: `(K, *S)` probabilities.
        fine: `(K, *S)` probabilities; anything where `weight` is 0.
        weight: `(*S)` G, the sum of the weights of the chosen windows over a pixel.
        coarse_weight: w0 >= 0; 0 pastes.

    Returns:
        `(K, *S)` probabilities.
    """
    share = torch.where(weight > 0, weight / (weight + coarse_weight).clamp(min=torch.finfo(weight.dtype).tiny), 0)
    return torch.where(weight > 0, coarse + share * (fine - coarse), coarse)


def as_logits(probabilities: Tensor, regions: bool = False) -> Tensor:
    """Return what nnU-Net turns into these probabilities again: log p, of which softmax is p; of regions, logit p.

    Args:
        probabilities: `(K, ...)`; are kept away from 0 (and, of regions, from 1) by 1e-6.
    """
    if regions:
        return torch.logit(probabilities, SMALLEST)
    return probabilities.clamp(min=SMALLEST).log()
