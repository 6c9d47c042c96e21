"""Convolutions of distinct slices: every sum of a `Pattern` once, written back as a volume of distinct slices.

Tensors here are `(B, C, n, H, W)` with n distinct slices. In `channels_last_3d` memory such a volume is, without a
copy, also the batch `(B n, C, H, W)` in `channels_last`, so that slices with a kernel of their own are an ordinary
2D batch, and runs of neighbouring slices that share a kernel are one 3D convolution without padding along the depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.architectures.lifting.tap_patterns import Group, Pattern, Taps


def as_batch(x: Tensor) -> Tensor:
    """`(B, C, n, H, W) -> (B n, C, H, W)`."""
    return x.transpose(1, 2).flatten(0, 1)


def as_volume(x: Tensor, batch: int) -> Tensor:
    """`(B n, C, H, W) -> (B, C, n, H, W)`."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


def add_taps(weight: Tensor, taps: Taps) -> Tensor:
    """Add kernel slices: `(O, I, k, kh, kw) -> (O, I, kh, kw)`."""
    if len(taps) == 1:
        return weight[:, :, taps[0]]
    return weight[:, :, taps[0] : taps[-1] + 1].sum(2) if _is_run(taps) else weight[:, :, list(taps)].sum(2)


def kernel_of(weight: Tensor, sets: Sequence[Taps]) -> Tensor:
    """Return the kernel of a group: one slice for each tap set, `(O, I, q, kh, kw)`."""
    flat = [t for taps in sets for t in taps]
    if len(flat) == len(sets) and _is_run(flat):
        return weight[:, :, flat[0] : flat[-1] + 1]
    return torch.stack([add_taps(weight, taps) for taps in sets], 2)


def _is_run(numbers: Sequence[int]) -> bool:
    return all(b - a == 1 for a, b in pairwise(numbers))


def take(x: Tensor, slices: Sequence[int]) -> Tensor:
    """Return slices of the depth axis; a view where they are neighbours."""
    if _is_run(slices):
        return x[:, :, slices[0] : slices[-1] + 1]
    return torch.stack([x[:, :, i] for i in slices], 2)


def gather(x: Tensor, group: Group) -> tuple[Tensor, int]:
    """Return the slices that a group reads and the step from one member's to the next one's.

    A view where members follow each other at equal steps; otherwise each member's slices one after the other.
    """
    first, q = group.members[0], len(group.taps)
    step = group.members[1][0] - first[0] if len(group.members) > 1 else 1
    if step > 0 and all(m == tuple(range(first[0] + j * step, first[0] + j * step + q))
                        for j, m in enumerate(group.members)):  # fmt: skip
        return x[:, :, first[0] : first[0] + (len(group.members) - 1) * step + q], step
    return take(x, [i for m in group.members for i in m]), q


def assemble(parts: list[Tensor], numbers: list[tuple[int, ...]]) -> Tensor:
    """Put the groups' results in the order of the distinct output slices.

    Args:
        parts: `(B, O, m_i, H, W)` of each group.
        numbers: (m_i,) distinct output slices of each group.
    """
    if len(parts) == 1:
        return parts[0]
    runs = sorted(zip(numbers, parts, strict=True), key=lambda pair: pair[0][0])
    order = [n for number, _ in runs for n in number]
    x = torch.cat([part for _, part in runs], 2)
    if _is_run(order):
        return x
    return x.index_select(2, torch.tensor([order.index(i) for i in range(len(order))], device=x.device))


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Convolve.

    Args:
        x: `(B, I, n, H, W)` distinct slices.
        weight: `(O, I, k, kh, kw)`.
        bias: `(O,)` or None.
        pattern: of this convolution along the depth.
        stride: (2,) in the plane.
        padding: (2,) in the plane.

    Returns:
        `(B, O, n', H', W')`.
    """
    plane = partial(F.conv2d, stride=tuple(stride), padding=tuple(padding))
    results = []
    for group in pattern.groups:
        slices, step = gather(x, group)
        kernel = kernel_of(weight, group.taps)
        if kernel.shape[2] == 1:
            y = as_volume(plane(as_batch(slices[:, :, ::step]), kernel[:, :, 0], bias), len(x))
        else:
            y = F.conv3d(slices, kernel, bias, (step, *stride), (0, *padding))
        results.append(y)
    return assemble(results, [g.outputs for g in pattern.groups])


def transpose_convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern,
    stride: Sequence[int], padding: Sequence[int], output_padding: Sequence[int],
) -> Tensor:  # fmt: skip
    """Convolve with the transposed kernel; arguments as for `convolve`, weight `(I, O, k, kh, kw)`."""
    options = tuple(stride), tuple(padding), tuple(output_padding)

    def plane(slices: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv_transpose2d(slices, kernel, bias, *options)

    if pattern.by_tap:
        return _by_tap(x, weight, bias, pattern, plane)
    results = []
    for group in pattern.groups:
        slices, step = gather(x, group)
        kernel = kernel_of(weight, group.taps)
        products = []
        for k in range(kernel.shape[2]):
            taken = slices[:, :, k : k + (len(group.members) - 1) * step + 1 : step]
            products.append(as_volume(plane(as_batch(taken), kernel[:, :, k], bias if k == 0 else None), len(x)))
        results.append(sum(products[1:], products[0]))
    return assemble(results, [g.outputs for g in pattern.groups])


def _by_tap(
    x: Tensor, weight: Tensor, bias: Tensor | None, pattern: Pattern,
    plane: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> Tensor:  # fmt: skip
    """Compute each tap of each slice once, and add."""
    needed: dict[int, list[int]] = {}
    for i, t in sorted({(i, t) for terms in pattern.terms for i, taps in terms for t in taps}):
        needed.setdefault(t, []).append(i)
    products = {}
    for t, slices in needed.items():
        y = as_volume(plane(as_batch(take(x, slices)), weight[:, :, t], None), len(x))
        products.update({(i, t): y[:, :, k] for k, i in enumerate(slices)})
    sums = []
    for terms in pattern.terms:
        first, *rest = [products[i, t] for i, taps in terms for t in taps]
        sums.append(sum(rest, first))
    y = torch.stack(sums, 2)
    return y if bias is None else y + bias.view(1, -1, 1, 1, 1)
