"""Fixed all-ones filters, and the multi-scale difference that M2SNet makes of them.

M2SNet (X. Zhao et al., arXiv 2303.10894), Section 3.1, equation (2): Filter_k is a k x k filter whose weights are one.

    box_k(x)(p) = sum of x(q) over the window of size k around p, each channel by itself, zeros outside
    front(d)    = |box_1(d)| + |box_3(d)| + |box_5(d)|,    d = A - B

box_k is linear, so box_k(A) - box_k(B) = box_k(A - B) and one filter a scale is enough; and it is its own adjoint, so
its gradient is the same filter again. What the backward pass needs of the front is signs, one byte each.

Same values as `avg_pool(x, k, 1, k // 2, divisor_override=1)`. Sums from integral images would be inexact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

Sizes = tuple[tuple[int, ...], ...]
Reduce = Literal["sum", "mean"]


def _ordered_for_filters(x: Tensor) -> Tensor:
    """Put channels last in volumes on the CPU, where filters of single channels are several times faster then."""
    if x.ndim == 4 or x.device.type != "cpu":
        return x
    return x.contiguous(memory_format=torch.channels_last_3d)


def _ordered_as(x: Tensor, like: Tensor) -> Tensor:
    """Put channels first again if another tensor has them so."""
    return x.contiguous() if like.is_contiguous() else x


def _window_sums(x: Tensor, size: Sequence[int]) -> Tensor:
    """Sum over windows by a convolution of each channel with ones."""
    if all(k == 1 for k in size):
        return x
    convolve = F.conv3d if x.ndim == 5 else F.conv2d
    ones = x.new_ones((x.shape[1], 1, *size))
    return convolve(x, ones, padding=[k // 2 for k in size], groups=x.shape[1])


class _BoxFilter(torch.autograd.Function):
    """The filter as an operation that is its own gradient, so that it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, ...]) -> Tensor:
        ctx.size = size
        return _window_sums(_ordered_for_filters(x), size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _BoxFilter.apply(grad, ctx.size), None


class _SignedBoxes(torch.autograd.Function):
    """Sum of box_k(weight_k sign_k g): the front's gradient, linear in g; its own gradient is sign_k box_k."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, sizes: Sizes, weights: tuple[float, ...], *signs: Tensor) -> Tensor:
        ctx.save_for_backward(*signs)
        ctx.sizes, ctx.weights = sizes, weights
        ordered, total = _ordered_for_filters(g), None
        for sign, size, weight in zip(signs, sizes, weights, strict=True):
            signed = ordered * sign
            term = _window_sums(signed if weight == 1 else signed * weight, size)
            total = term if total is None else total.add_(term)
        assert total is not None
        return _ordered_as(total, g)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        terms = [
            _BoxFilter.apply(grad, size) * sign * weight
            for sign, size, weight in zip(ctx.saved_tensors, ctx.sizes, ctx.weights, strict=True)
        ]
        return sum(terms[1:], start=terms[0]), None, None, *[None] * len(terms)


class _MultiScaleDifference(torch.autograd.Function):
    """Sum of weight_k |box_k(d)|; keeps signs instead of the filtered maps."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, sizes: Sizes, weights: tuple[float, ...]) -> Tensor:
        ordered, total, signs = _ordered_for_filters(d), None, []
        for size, weight in zip(sizes, weights, strict=True):
            filtered = _window_sums(ordered, size)
            signs.append(filtered.sign().to(torch.int8))
            term = filtered.abs() if weight == 1 else filtered.abs() * weight
            total = term if total is None else total.add_(term)
        ctx.save_for_backward(*signs)
        ctx.sizes, ctx.weights = sizes, weights
        assert total is not None
        return _ordered_as(total, d)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _SignedBoxes.apply(grad, ctx.sizes, ctx.weights, *ctx.saved_tensors), None, None


def _checked(sizes: Sequence[Sequence[int]], dims: int) -> Sizes:
    found = tuple(tuple(int(k) for k in size) for size in sizes)
    if not found or any(len(size) != dims or any(k < 1 or k % 2 == 0 for k in size) for size in found):
        raise ValueError(f"sizes={found} of {dims}D filters: give one or more, each of {dims} odd numbers, as (3, 3).")
    return found


def box_filter(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return the sums over windows.

    Args:
        x: `(B, C, *S)`, two or three spatial axes, any floating type.
        size: (dims,) odd sides of the window in voxels.

    Returns:
        `(B, C, *S)`; zeros outside count as zeros.

    Raises:
        ValueError: if a side is even or below 1, or their number is not that of the axes.
    """
    if has_torch_function_unary(x):  # what passes for a tensor, as lifted volumes do
        return handle_torch_function(box_filter, (x,), x, size)
    return _BoxFilter.apply(x, _checked((size,), x.ndim - 2)[0])


def multi_scale_difference(d: Tensor, sizes: Sequence[Sequence[int]], reduce: Reduce = "sum") -> Tensor:
    """Return the front of M2SNet's subtraction unit, equation (2) without its convolution.

    Args:
        d: `(B, C, *S)`, the difference of two maps.
        sizes: one (dims,) tuple of odd sides a scale: ((1, 1), (3, 3), (5, 5)) in the paper, ((1, 1),) in MSNet.
        reduce: `sum` as in the paper, or `mean`: each filter divided by its number of voxels, also at borders. With
            sums, wide filters dominate: in 2D, 5 x 5 gives values 8 to 21 times those of 1 x 1 (measured at random
            initialisation); in 3D, a window has 125 voxels.

    In half precision, sums above 65504 overflow: 125 voxels of a 5 x 5 x 5 window may differ by 500 on average.

    Returns:
        `(B, C, *S)`, not negative. Where a filtered difference is exactly 0, its gradient is 0.

    Raises:
        ValueError: as for `box_filter`.
    """
    if has_torch_function_unary(d):
        return handle_torch_function(multi_scale_difference, (d,), d, sizes, reduce)
    checked = _checked(sizes, d.ndim - 2)
    if all(k == 1 for size in checked for k in size):
        return d.abs() * len(checked) if len(checked) > 1 else d.abs()
    weights = tuple(1 / math.prod(size) if reduce == "mean" else 1 for size in checked)
    return _MultiScaleDifference.apply(d, checked, weights)
