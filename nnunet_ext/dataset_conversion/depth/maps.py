"""A depth map with its unit, and the checks that every reader applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from nnunet_ext.dataset_conversion.problems import RefusedFile

UNITS = ("metre", "disparity", "relative")
T = TypeVar("T")


@dataclass(frozen=True)
class DepthMap:
    """What was measured for each pixel.

    Attributes:
        values: (H, W) float32, NaN where nothing was measured. H and W may be smaller than the image's; the map then
            covers the same field of view.
        unit: "metre": distance in metres. "disparity": inverse of the distance up to a factor, larger is nearer; for
            stereo images in pixels of the full-size image. "relative": distance up to a factor, larger is farther.
    """

    values: np.ndarray
    unit: str

    @property
    def measured(self) -> np.ndarray:
        """(H, W) bool: where there is a measurement."""
        return ~np.isnan(self.values)


class DepthSource(Protocol):
    """Where a depth map comes from. Implementations are frozen dataclasses, so that workers get them."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read; the first one is named in messages."""

    def read(self) -> DepthMap:
        """Decode.

        Raises:
            RefusedFile: if a file cannot be used.
        """


def checked_map(values: np.ndarray, measured: np.ndarray, unit: str, path: Path, most: float) -> DepthMap:
    """Make a depth map, unless its numbers cannot be right.

    Args:
        values: (H, W) numbers.
        measured: (H, W) bool; the other pixels become NaN, as do numbers that are not finite.
        unit: see :class:`DepthMap`.
        path: file to name in messages.
        most: largest value that can be right in this unit.

    Raises:
        RefusedFile: values that are no 2D map, nothing measured, negative values, or a value above ``most``, which
            most likely has another unit.
    """
    if values.ndim != 2 or values.shape != measured.shape:
        where = f"{path} has the shape {values.shape}, its mask {measured.shape}; allowed is the same (H, W)"
        raise RefusedFile("depth-shape", "depth maps of an unexpected shape", where, "get the file again")
    measured = measured & np.isfinite(values)
    if not measured.any():
        where = f"{path}: none of {values.size} pixels has a measurement; at least one is needed"
        raise RefusedFile("depth-empty", "depth maps without a measurement", where, "leave this case out")
    low, high = float(values[measured].min()), float(values[measured].max())
    if low < 0 or high > most:
        where = f"{path} goes from {low:g} to {high:g}; allowed is 0 to {most:g} ({unit})"
        remedy = "get the published file: this one may be in another unit, such as millimetres, or converted"
        raise RefusedFile("depth-unit", "depth maps in an unexpected unit", where, remedy)
    return DepthMap(np.where(measured, values, np.nan).astype(np.float32), unit)


def loaded(load: Callable[[], T], path: Path, errors: tuple[type[Exception], ...]) -> T:
    """Return what ``load`` returns; ``errors`` become "unreadable".

    Raises:
        RefusedFile: if the file cannot be read.
    """
    try:
        return load()
    except errors as error:
        remedy = "copy or download this file again"
        raise RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", remedy) from error
