"""Padding inside a network, so that it takes any patch that nnU-Net plans."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def padded_size(size: Sequence[int], multiple: Sequence[int], minimum: Sequence[int]) -> tuple[int, ...]:
    """Return the smallest size that is a multiple and not below the minimum, per axis, in voxels."""
    return tuple(max(-(-s // m), -(-low // m)) * m for s, m, low in zip(size, multiple, minimum, strict=True))


def nearest_multiple(size: Sequence[float], multiple: Sequence[int], minimum: Sequence[int]) -> tuple[int, ...]:
    """Return the multiple nearest to a size and not below the minimum, per axis, in voxels."""
    return tuple(max(round(s / m), -(-low // m)) * m for s, m, low in zip(size, multiple, minimum, strict=True))


def pad_to_multiple(x: Tensor, multiple: Sequence[int], minimum: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad evenly on both sides by repeating the border.

    The border is repeated instead of filled with zeros because instance normalisation would otherwise see an
    artificial region; both sides are padded so that a mirrored image gives the mirrored result (up to a pixel, where
    the padding is odd).

    Args:
        x: `(B, C, *S)`.
        multiple: (dims,) of which the padded size is a multiple.
        minimum: (dims,) below which the padded size is not.

    Returns:
        The padded tensor, and the slices of the spatial axes that cut the original region out again (whole slices,
        `[:]`, if nothing was padded, so that no gradient of a crop is computed).
    """
    size = x.shape[2:]
    target = padded_size(size, multiple, minimum)
    before = [(t - s) // 2 for s, t in zip(size, target, strict=True)]
    if tuple(size) == target:
        return x, (slice(None),) * len(size)
    crop = tuple(slice(b, b + s) for b, s in zip(before, size, strict=True))
    pads = [p for b, s, t in zip(before, size, target, strict=True) for p in (t - s - b, b)][::-1]
    return F.pad(x, pads, mode="replicate"), crop
