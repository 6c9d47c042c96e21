"""Convolutions of distinct slices as ordinary 2D convolutions: slices are channels.

Tensors are `(B, C, n, H, W)` with n distinct slices; the 2D convolution sees `(B, n C, H, W)`. Its kernel holds, for
every pair of an output slice and an input slice, the sum of the taps that connect them, and zeros where none does:
the sums of `distinct_convolution.py` with zeros added. That is more multiplications, but few and wide ones, which is
what processors are quick at: 8 channels and 3 taps fill a small part of a vector unit, 64 channels fill it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.architectures.lifting.tap_patterns import Pattern, Term, refine

WIDTH = 32  # output channels of one 2D convolution; more slices than fill it are computed in blocks

Block = tuple[tuple[tuple[tuple[Term, ...], ...], tuple[int, ...]], ...]  # a volume's terms and slices, each volume's


def as_channels(x: Tensor) -> Tensor:
    """`(B, C, n, H, W) -> (B, n C, H, W)`."""
    return x.transpose(1, 2).flatten(1, 2)


def as_slices(x: Tensor, channels: int) -> Tensor:
    """`(B, n C, H, W) -> (B, C, n, H, W)`."""
    return x.unflatten(1, (-1, channels)).transpose(1, 2)


@lru_cache(maxsize=1024)
def blocks(patterns: tuple[Pattern, ...], size: int) -> tuple[Block, ...]:
    """Cut the output slices into blocks of `size`.

    Args:
        patterns: one for each volume; they agree in their distinct output slices.
        size: output slices of a block.

    Returns:
        for each block and volume: the terms of its output slices, and the (m,) input slices that they read, by whose
        place in that list the terms name them.
    """
    found = []
    for start in range(0, len(patterns[0].terms), size):
        block = []
        for pattern in patterns:
            terms = pattern.terms[start : start + size]
            read = tuple(sorted({i for sum_ in terms for i, _ in sum_}))
            place = {i: k for k, i in enumerate(read)}
            block.append((tuple(tuple((place[i], taps) for i, taps in sum_) for sum_ in terms), read))
        found.append(tuple(block))
    return tuple(found)


@lru_cache(maxsize=1024)
def connections(terms: tuple[tuple[Term, ...], ...], n: int, kernel: int) -> list[list[float]]:
    """Return which tap connects which slices: (n' n, k) of 0 and 1 for n' output and n input slices."""
    found = [[0.0] * kernel for _ in range(len(terms) * n)]
    for o, sum_ in enumerate(terms):
        for i, taps in sum_:
            for t in taps:
                found[o * n + i][t] = 1.0
    return found


@lru_cache(maxsize=1024)
def _array(terms: tuple[tuple[Term, ...], ...], n: int, kernel: int) -> np.ndarray:
    """Return `connections` as an array, kept: a tensor made under `inference_mode` could not be used in training."""
    return np.array(connections(terms, n, kernel), dtype=np.float32)


def stacked_kernel(weight: Tensor, terms: tuple[tuple[Term, ...], ...], n: int) -> Tensor:
    """Arrange a kernel for slices as channels.

    Args:
        weight: `(P, Q, k, kh, kw)`, P output and Q input channels.
        terms: (n',) sums of each output slice.
        n: input slices.

    Returns:
        `(n' P, n Q, kh, kw)`.
    """
    (p, q, k), size = weight.shape[:3], weight.shape[3:]
    compiling = torch.compiler.is_compiling()
    taps = torch.tensor(connections(terms, n, k)) if compiling else torch.from_numpy(_array(terms, n, k))
    kernel = taps.to(weight.device, weight.dtype) @ weight.permute(2, 0, 1, 3, 4).reshape(k, -1)
    return kernel.view(len(terms), n, p, q, *size).transpose(1, 2).reshape(len(terms) * p, n * q, *size)


def _blockwise(
    volumes: Sequence[Tensor], weights: Sequence[Tensor], patterns: tuple[Pattern, ...], channels: int,
    plane: Callable[[Tensor, Tensor, int], Tensor],
) -> Tensor:  # fmt: skip
    """Compute block after block.

    Args:
        volumes: `(B, Q_i, n_i, H, W)`.
        weights: `(P, Q_i, k, kh, kw)`.
        patterns: one for each volume.
        channels: P.
        plane: `(input, kernel, output slices) -> output` of a 2D convolution.
    """
    stacked = [as_channels(x) for x in volumes]
    results = []
    for block in blocks(patterns, max(1, WIDTH // channels)):
        inputs, kernels = [], []
        for x, w, (terms, read) in zip(stacked, weights, block, strict=True):
            if read:
                inputs.append(_take(x, read, w.shape[1]))
                kernels.append(stacked_kernel(w, terms, len(read)))
        x, kernel = (inputs[0], kernels[0]) if len(inputs) == 1 else (torch.cat(inputs, 1), torch.cat(kernels, 1))
        results.append(plane(x, kernel, len(block[0][0])))
    return as_slices(results[0] if len(results) == 1 else torch.cat(results, 1), channels)


def _take(x: Tensor, slices: tuple[int, ...], channels: int) -> Tensor:
    """Return slices of `(B, n C, H, W)`, as channels."""
    if len(slices) * channels == x.shape[1]:
        return x
    if slices[-1] - slices[0] == len(slices) - 1:
        return x[:, slices[0] * channels : (slices[-1] + 1) * channels]
    return torch.cat([x[:, i * channels : (i + 1) * channels] for i in slices], 1)


def convolve(
    volumes: Sequence[Tensor], weight: Tensor, bias: Tensor | None, patterns: tuple[Pattern, ...],
    stride: Sequence[int], padding: Sequence[int],
) -> tuple[Tensor, tuple[int, ...]]:  # fmt: skip
    """Convolve the concatenation of volumes.

    Args:
        volumes: `(B, I_i, n_i, H, W)`.
        weight: `(O, sum I_i, k, kh, kw)`.
        bias: `(O,)` or None.
        patterns: of this convolution along the depth, one for each volume.
        stride, padding: (2,) in the plane.

    Returns:
        `(B, O, n', H', W')` and the (D',) index.
    """
    patterns = refine(patterns)

    def plane(x: Tensor, kernel: Tensor, slices: int) -> Tensor:
        return F.conv2d(x, kernel, None if bias is None else bias.repeat(slices), tuple(stride), tuple(padding))

    weights = weight.split([x.shape[1] for x in volumes], 1)
    return _blockwise(volumes, weights, patterns, weight.shape[0], plane), patterns[0].index


def transpose_convolve(
    volumes: Sequence[Tensor], weight: Tensor, bias: Tensor | None, patterns: tuple[Pattern, ...],
    stride: Sequence[int], padding: Sequence[int], output_padding: Sequence[int],
) -> tuple[Tensor, tuple[int, ...]]:  # fmt: skip
    """Convolve with the transposed kernel; as `convolve`, with weight `(sum I_i, O, k, kh, kw)`."""
    patterns = refine(patterns)
    transposed = partial(
        F.conv_transpose2d, stride=tuple(stride), padding=tuple(padding), output_padding=tuple(output_padding)
    )

    def plane(x: Tensor, kernel: Tensor, slices: int) -> Tensor:
        return transposed(x, kernel.transpose(0, 1), None if bias is None else bias.repeat(slices))

    weights = [w.transpose(0, 1) for w in weight.split([x.shape[1] for x in volumes], 0)]
    return _blockwise(volumes, weights, patterns, weight.shape[1], plane), patterns[0].index
