"""Feature maps of a window cut to what is shown: the image without padding, one plane of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from torch import Tensor

from nnunet_ext.architectures.encoders.channel_scores import curvature_scores
from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection

Array = npt.NDArray[Any]
Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shown:
    """What is shown of a window.

    Attributes:
        patch: (2 or 3,) size of the window in voxels.
        part: the part of it that is not padding.
        plane: of a 3D window, the index that is shown along its first axis; None in 2D.
    """

    patch: tuple[int, ...]
    part: tuple[slice, ...]
    plane: int | None = None

    @property
    def limits(self) -> Extent:
        """(left, right, bottom, top) of the part in pixels of the window, as matplotlib's `extent`."""
        rows, columns = self.part[-2:]
        return columns.start, columns.stop, rows.stop, rows.start


def cut(values: Tensor, shown: Shown, size: Sequence[int] | None = None) -> tuple[Array, Extent]:
    """Cut maps of a window to the cells that overlap what is shown of it.

    A map of s cells lies over the whole window; so one cell covers patch / s voxels. Of a network that pads its input
    to a multiple of its stride it is shown a little too small, where the patch is no such multiple.

    Args:
        values: `(*s')`, a map without s - s' cells of its border, evenly on both sides.
        size: s of the whole map; None: s'.

    Returns:
        `(h, w)` float32, and where it is in pixels of the window: (left, right, bottom, top). Cells at the border may
        reach beyond the part that is shown.
    """
    full = tuple(values.shape) if size is None else tuple(size)
    index: list[int | slice] = []
    edges: list[float] = []
    for axis, (patch, part, cells, have) in enumerate(zip(shown.patch, shown.part, full, values.shape, strict=True)):
        border = (cells - have) // 2
        if shown.plane is not None and axis == 0:
            index.append(_clamped(_cell(shown.plane, cells, patch) - border, have))
            continue
        low = _clamped(part.start * cells // patch - border, have)
        high = max(low + 1, min(have, -(-part.stop * cells // patch) - border))
        index.append(slice(low, high))
        edges += [(low + border) * patch / cells, (high + border) * patch / cells]
    top, bottom, left, right = edges
    return values[tuple(index)].float().numpy(), (left, right, bottom, top)


def curvature_map(values: Tensor, module: ChannelSelection, shown: Shown) -> tuple[Array, Extent]:
    """Return |K * x| of a channel, whose sum over the map is its score, cut as `cut` does.

    Args:
        values: `(*s)` of the window.
        module: what scores by curvature; its axes and weights are those of the stencil.
    """
    axes = range(values.ndim) if module.axes is None else module.axes
    used = [axis for axis in axes if values.shape[axis] >= 3]
    size = values.shape
    slab = values
    if shown.plane is not None and 0 in used:  # the three planes that the shown one needs
        centre = min(max(_cell(shown.plane, size[0], shown.patch[0]), 1), size[0] - 2)
        slab = values[centre - 1 : centre + 2]
    boxes = slab
    for axis in range(values.ndim):
        boxes = boxes.unfold(axis, 3 if axis in used else 1, 1)
    inside = boxes.shape[: values.ndim]
    response = curvature_scores(boxes.reshape(-1, 1, *boxes.shape[values.ndim :]), module.axes, module.weights)
    found = response.view(inside)
    if shown.plane is not None and 0 in used:
        found = found.expand(size[0] - 2, *found.shape[1:])  # whichever plane is cut out, it is this one
    return cut(found, shown, size)


def best_plane(foreground: Tensor) -> int:
    """Return the index along the first axis of `(D, H, W)` bool with most foreground; the middle one of none."""
    counts = foreground.flatten(1).sum(1)
    return int(counts.argmax()) if bool(counts.any()) else len(counts) // 2


def _cell(voxel: int, cells: int, patch: int) -> int:
    """Return the cell of a map over the middle of a voxel."""
    return (2 * voxel + 1) * cells // (2 * patch)


def _clamped(index: int, size: int) -> int:
    return min(max(index, 0), size - 1)
