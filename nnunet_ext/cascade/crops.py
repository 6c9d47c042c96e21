"""Boxes of images: averaged to fewer pixels, cut out anywhere, cut into a grid of cells and put together again.

Pure functions of batches `(B, C, H, W)`. Where a box is may be a tensor, so that nothing depends on its value: a GPU is
not waited for, and the compiled graph has no break.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def shrink(x: Tensor, size: Sequence[int]) -> Tensor:
    """Average over the boxes that become one pixel each: `(B, C, H, W)` floating -> `(B, C, *size)`.

    The boxes are equal where `size` divides H and W, else they overlap by a pixel here and there.
    """
    sides = [(s, t) for s, t in zip(x.shape[2:], size, strict=True)]
    if all(s % t == 0 for s, t in sides):
        return F.avg_pool2d(x, [s // t for s, t in sides])
    return F.adaptive_avg_pool2d(x, (size[0], size[1]))


def random_corners(x: Tensor, size: Sequence[int]) -> Tensor:
    """Draw where a box of `size` begins in each image, evenly from all places.

    Args:
        x: `(B, C, H, W)`.
        size: (2,) of the box, at most (H, W).

    Returns:
        `(B, 2)` rows and columns, whole numbers as float32.
    """
    room = [s - t for s, t in zip(x.shape[2:], size, strict=True)]
    drawn = torch.rand(x.shape[0], 2, device=x.device)
    axes = [(drawn[:, a] * (r + 1)).floor().clamp(max=r) for a, r in enumerate(room)]  # rounded up, it may be r + 1
    return torch.stack(axes, 1)


def crop(x: Tensor, corners: Tensor, size: Sequence[int]) -> Tensor:
    """Cut a box out of each image, each at its own place.

    Args:
        x: `(B, C, H, W)` of any type.
        corners: `(B, 2)` as `random_corners` returns them.
        size: (2,) of the box.

    Returns:
        `(B, C, *size)`.
    """
    begin = corners.long()
    rows, columns = (begin[:, a, None] + torch.arange(size[a], device=x.device) for a in (0, 1))
    image = torch.arange(x.shape[0], device=x.device)[:, None, None]
    return x[image, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def cells_of(x: Tensor, grid: int) -> Tensor:
    """Cut images into grid x grid cells, row by row: `(B, C, H, W)` -> `(B grid^2, C, H / grid, W / grid)`."""
    b, c, height, width = x.shape
    cells = x.reshape(b, c, grid, height // grid, grid, width // grid).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(b * grid * grid, c, height // grid, width // grid)


def image_of(cells: Tensor, grid: int) -> Tensor:
    """Put cells together as `cells_of` cut them."""
    n, c, height, width = cells.shape
    images = cells.reshape(n // (grid * grid), grid, grid, c, height, width).permute(0, 3, 1, 4, 2, 5)
    return images.reshape(n // (grid * grid), c, grid * height, grid * width)
