"""How much a feature map tells: curvature and entropy, one number for every image and channel.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023), Sections 2.1 and 2.2. The authors' repository, yezi-66/IFE, has no licence: this is written from the paper.

Curvature, equation (1), is the sum of |K * x| where the stencil lies inside the map:

    K = [[-1, 5, -1], [5, -16, 5], [-1, 5, -1]] / 16 = 3/16 (D_a + D_b) - 1/16 D_a D_b        D = [1, -2, 1]

Entropy, equation (2): i is a voxel, j the mean of its 8 neighbours (zeros outside of the map), p how often (i, j)
occurs, E = -sum p log2 p. Paper and code disagree about the histogram; all of them are here, as `Range`:

    joint               of (i, j), 256 x 256 bins, over the channel's range of i            equation (2)
    batch               of s = 100 i + j, 256 bins, over the range of the whole batch       the authors' U-Net
    unique              of the exact values of s                                            the authors' other networks
    channel, image      of s, 256 bins, over the range of each channel, or of each image    neither

`channel` is ours: a result does not depend on what else is in the batch, and features of a LeakyReLU, whose values are
all different, do not all score the same as they do with `unique`.

Beyond the paper: volumes, in which K is the mean of the stencils of the coordinate planes and j that of 26 neighbours;
axes shorter than the stencil, along which the map counts as constant; and p is a share of the map's own voxels, where
the authors divide by those of the padded map, which ranks channels the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.architectures.exporting import exporting

Range = Literal["channel", "image", "batch", "unique", "joint"]
BINS = 256
NEVER = -math.inf  # the score of a channel with a value that is not finite: chosen last


def _along(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """`x` from start to stop (from the end, if not positive) along an axis."""
    return x.narrow(axis, start, x.shape[axis] + stop - start)


def _bent(flat: Tensor, step: int, weight: float) -> Tensor:
    """(w D - 3) of values that are `step` apart: `step` shorter at both ends.

    K of a plane is (9 - the product of two of these) / 16.
    """
    ends = flat[..., : -2 * step] + flat[..., 2 * step :]
    if weight != 1:
        ends.mul_(weight)
    return ends.sub_(flat[..., step:-step], alpha=2 * weight + 3)


def curvature_scores(x: Tensor, axes: Sequence[int] | None = None, weights: Sequence[float] | None = None) -> Tensor:
    """Return the sum of absolute curvature of every channel.

    Args:
        x: `(B, C, *S)` floating, two or three spatial axes; no gradient is kept.
        axes: spatial axes, from 0, that the stencil reaches along; None: all. Those with fewer than 3 voxels are left
            out. Two axes give the stencil of their plane, one gives 3/16 D, none gives 0.
        weights: (number of spatial axes,) factors of the second difference along each, (h_min / h)^2 for a distance h
            of voxels; None: 1.

    Returns:
        `(B, C)` float32; -inf of a channel that is not finite.
    """
    x = x.detach().float()
    used = [a for a in (range(x.ndim - 2) if axes is None else axes) if x.shape[a + 2] >= 3]
    if not used:
        return torch.where(x.flatten(2).isfinite().all(-1), 0.0, NEVER)
    # a map as one line, in which neighbours along an axis are `step` apart: long lines are what processors are quick at
    flat = x.flatten(2)
    step = {a: math.prod(x.shape[a + 3 :]) for a in used}
    factor = {a: 1.0 if weights is None else float(weights[a]) for a in used}
    margin = sum(step.values())
    terms = []
    for a, b in combinations(used, 2):
        line = _shortened(flat, margin - step[a] - step[b])
        terms.append(_bent(_bent(line, step[b], factor[b]), step[a], factor[a]))
    inside = _shortened(flat, margin)
    if terms:
        scale, response = 1 / 16 / len(terms), terms[0].sub_(inside, alpha=9 * len(terms))
    else:
        scale, response = 3 / 16, _bent(flat, step[used[0]], factor[used[0]]).add_(inside, alpha=3)
    for term in terms[1:]:
        response.add_(term)
    total = response.mul_(_shortened(_within(x, used), margin)).abs_().sum(-1)
    return torch.where(total.isfinite(), total * scale, NEVER)


def _shortened(flat: Tensor, by: int) -> Tensor:
    """Leave values out at both ends."""
    return flat.narrow(-1, by, flat.shape[-1] - 2 * by)


def _within(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Return 1 where a map's voxels have neighbours on both sides along the axes, 0 at their borders; as a line."""
    border = [int(a in axes) for a in range(x.ndim - 2)]
    inner = x.new_ones([side - 2 * b for side, b in zip(x.shape[2:], border, strict=True)])
    return F.pad(inner, [b for b in reversed(border) for _ in range(2)]).flatten()


def box_sum(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Return the sum of the 3 x 3 (x 3) box around every voxel; outside of the map are zeros.

    Args:
        x: `(B, C, *S)` floating.
        axes: spatial axes, from 0, that the box reaches along; None: all.
    """
    dims = range(2, x.ndim) if axes is None else [a + 2 for a in axes]
    total = F.pad(x, [p for a in range(x.ndim - 1, 1, -1) for p in ((1, 1) if a in dims else (0, 0))])
    for a in dims:
        total = torch.add(_along(total, a, 0, -2), _along(total, a, 1, -1)).add_(_along(total, a, 2, 0))
    return total


def entropy_scores(x: Tensor, over: Range = "channel", axes: Sequence[int] | None = None) -> Tensor:
    """Return the entropy of every channel, in bits.

    Args:
        x: `(B, C, *S)` floating; no gradient is kept.
        over: which histogram, see above.
        axes: as for `box_sum`, at least one.

    Returns:
        `(B, C)` float32; -inf of a channel that is not finite, and with `batch` and `image` of all that share its
        range.
    """
    x = x.detach().float()
    others = 3 ** (x.ndim - 2 if axes is None else len(axes)) - 1
    total, i = box_sum(x, axes), x.flatten(2)
    if over == "joint":
        low, high, finite = _range(i, over)
        j = total.sub_(x).div_(others).flatten(2)
        counts = _count_equal(_bin(i.clone(), low, high).mul_(BINS).add_(_bin(j, low, high)))
    else:  # i and j in the same unit: `others` times s = 100 i + j
        s = total.add_(x, alpha=100 * others - 1).flatten(2)
        low, high, finite = _range(s, over)
        counts = _count_equal(s) if over == "unique" else _count(_bin(s, low, high), BINS)
    return torch.where(finite, _entropy(counts, i.shape[2]), NEVER)


def _range(s: Tensor, over: Range) -> tuple[Tensor, Tensor, Tensor]:
    """Return lowest and highest value, and whether both are finite: `(B, C, 1)` twice and `(B, C)`."""
    low, high = s.amin(-1, keepdim=True), s.amax(-1, keepdim=True)  # much quicker on a CPU than aminmax
    if over in ("image", "batch"):
        dims = (1, 2) if over == "image" else (0, 1, 2)
        low, high = low.amin(dims, keepdim=True).expand_as(low), high.amax(dims, keepdim=True).expand_as(high)
    return low, high, (low.isfinite() & high.isfinite())[..., 0]


def _bin(s: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the bin of each value, by the rule of `torch.histc`: floor((s - low) 256 / (high - low)), clamped.

    int32, also of values that are not finite: an index outside of its table would end a training on a GPU. `s` is used
    up.
    """
    width = torch.where(high > low, high - low, math.inf)  # of a constant channel, all is bin 0
    return s.sub_(low).mul_(BINS).div_(width).int().clamp_(0, BINS - 1)


def _count(places: Tensor, n: int) -> Tensor:
    """Count `(B, C, N)` whole numbers below n: `(B, C, n)` int32, which no order of adding changes."""
    b, c, _ = places.shape
    rows = torch.arange(b * c, device=places.device, dtype=places.dtype).mul_(n).view(b, c, 1)
    flat = (places + rows).flatten()
    counts = torch.zeros(b * c * n, dtype=torch.int32, device=places.device)
    ones = counts.new_ones(()).expand_as(flat)
    if exporting():  # ONNX adds at int64 places only; here that costs as much as all the rest
        return counts.scatter_add_(0, flat.long(), ones).view(b, c, n)
    return counts.index_add_(0, flat, ones).view(b, c, n)


def _count_equal(values: Tensor) -> Tensor:
    """Count equal values of `(B, C, N)`: `(B, C, N)` int32, the counts of the different ones in front, then 0."""
    ordered = values.sort(-1).values
    number = torch.zeros_like(ordered, dtype=torch.int64)  # of its value, among the different ones
    number[..., 1:] = (ordered[..., 1:] != ordered[..., :-1]).cumsum(-1)
    return _count(number, ordered.shape[-1])


def _entropy(counts: Tensor, n: int) -> Tensor:
    """Return -sum p log2 p for p = counts / n, of a table of c log2 c: equal counts give equal terms.

    In float64 (where the device has it), so that channels that tie are told apart by nothing.
    """
    exact = torch.float32 if counts.device.type == "mps" else torch.float64
    c = torch.arange(n + 1, device=counts.device, dtype=exact)
    terms = c * c.clamp(min=1).log2()
    sums = terms.index_select(0, counts.flatten()).view(counts.shape).sum(-1)
    return (math.log2(n) - sums / n).clamp_(min=0).float()
