"""Normalisation of a volume that is held as its distinct slices: equal slices count as often as they stand in it.

mean = sum_i m_i mean(x_i) / D and the same for the variance, where distinct slice i stands m_i times among D.

For the gradient only the result is kept, not the input: with y = (x - mean) rstd,
dx = rstd (dy - mean(dy) - y mean(dy y)). The nonlinearity that follows keeps y anyway, so normalisation needs no
memory of its own. Slices are treated as channels, `(B, n C, H, W)`, and temporary tensors are reused: on the CPU both
decide the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnunet_ext.architectures.lifting.stacked_convolution import as_channels, as_slices

HALF = (torch.float16, torch.bfloat16)


class _Statistics:
    """Weighted sums over a volume's slices and plane, and the batch if asked."""

    def __init__(self, x: Tensor, counts: tuple[int, ...], over_batch: bool) -> None:
        self.channels, self.counts, self.over_batch = x.shape[1], counts, over_batch
        self.pixels = x.shape[3] * x.shape[4] * (x.shape[0] if over_batch else 1)
        self.like = x

    def weights(self) -> Tensor:
        """How often each slice stands in the volume, as channels `(1, n C)`."""
        dtype = torch.float32 if self.like.dtype in HALF else self.like.dtype
        counts = torch.tensor(self.counts, dtype=dtype, device=self.like.device)
        return counts.repeat_interleave(self.channels).view(1, -1)

    def mean(self, sums: Tensor) -> Tensor:
        """Turn sums over the plane `(B, n C)` into the volume's means, `(B or 1, C)`."""
        if self.over_batch:
            sums = sums.sum(0, keepdim=True)
        return sums.unflatten(1, (-1, self.channels)).sum(1) / (sum(self.counts) * self.pixels)

    def spread(self, values: Tensor) -> Tensor:
        """`(B or 1, C)` -> `(B or 1, n C, 1, 1)`."""
        return values.repeat(1, len(self.counts))[..., None, None]


def _forward(x: Tensor, counts: tuple[int, ...], over_batch: bool, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised volume, mean and biased variance `(B or 1, C)`."""
    flat = as_channels(x)
    flat = flat.float() if x.dtype in HALF else flat
    statistics = _Statistics(x, counts, over_batch)
    weights = statistics.weights()
    mean = statistics.mean(flat.sum((2, 3)) * weights)
    y = flat - statistics.spread(mean)
    var = statistics.mean(y.square().sum((2, 3)) * weights)
    y.mul_(statistics.spread(torch.rsqrt(var + eps)))
    return as_slices(y.to(x.dtype), x.shape[1]), mean, var


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...], over_batch: bool, eps: float) -> tuple[Tensor, ...]:
        y, mean, var = _forward(x, counts, over_batch, eps)
        ctx.save_for_backward(y, torch.rsqrt(var + eps))
        ctx.counts, ctx.over_batch = counts, over_batch
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        y, rstd = ctx.saved_tensors
        g, z = as_channels(dy), as_channels(y)
        if y.dtype in HALF:
            g, z = g.float(), z.float()
        statistics = _Statistics(y, ctx.counts, ctx.over_batch)
        # a distinct slice receives the sum of its equal ones' gradients: dy is that sum, the means have its weight
        scale, weights = statistics.spread(rstd), statistics.weights()[..., None, None]
        product = g * z
        first, second = statistics.mean(g.sum((2, 3))), statistics.mean(product.sum((2, 3)))
        dx = torch.mul(z, -scale * weights * statistics.spread(second), out=product)
        dx.sub_(scale * weights * statistics.spread(first)).addcmul_(g, scale)
        return as_slices(dx.to(y.dtype), y.shape[1]), None, None, None


def normalise(
    x: Tensor, counts: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float,
    over_batch: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Instance normalisation, or batch normalisation in training, of distinct slices.

    Args:
        x: `(B, C, n, H, W)`.
        counts: (n,) how often each slice stands in the volume.
        weight, bias: `(C,)` or None.
        eps: added to the variance.
        over_batch: statistics over the batch, too.

    Returns:
        the normalised slices, and mean and biased variance `(B or 1, C)`, float32 for half precision.
    """
    function = _Normalise.apply if torch.is_grad_enabled() else _forward
    y, mean, var = function(x, counts, over_batch, eps)
    if weight is not None:
        y = y * weight.to(y.dtype).view(1, -1, 1, 1, 1)
    if bias is not None:
        y = y + bias.to(y.dtype).view(1, -1, 1, 1, 1)
    return y, mean, var
