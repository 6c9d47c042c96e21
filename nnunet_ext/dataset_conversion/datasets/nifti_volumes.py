"""NIfTI volumes: how they lie in their files, and one axial slice of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.dataset_conversion.problems import RefusedFile

REMEDY = "copy these files again, or remove the volume"
VOLUMES_KEPT = 2  # in each process: slices come one after the other, from an image and its mask


@dataclass(frozen=True)
class Grid:
    """How a volume lies in its file.

    Attributes:
        shape: voxels along the three axes of the file.
        axes: the file's axes that run to the patient's left, to the back and to the head.
        flips: for each of them, whether the file counts the other way round.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def n_slices(self) -> int:
        """Number of axial slices."""
        return self.shape[self.axes[2]]

    def axial(self, voxels: np.ndarray, index: int) -> np.ndarray:
        """(H, W) slice, counted from the feet: front above, the patient's right on the left, as radiologists see it."""
        volume = voxels.transpose(self.axes)
        position = volume.shape[2] - 1 - index if self.flips[2] else index
        rows = volume[:, :, position].T
        return rows[:: -1 if self.flips[1] else 1, :: -1 if self.flips[0] else 1]


def read_grid(path: Path) -> Grid:
    """Read a volume's header.

    Raises:
        RefusedFile: "unreadable", "volume-shape" for other than three dimensions, "volume-orientation".
    """
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    volume = _opened(path)
    if len(volume.shape) != 3:
        where = f"{path} has the shape {volume.shape}; allowed are three dimensions"
        raise RefusedFile("volume-shape", "volumes of an unexpected shape", where, REMEDY)
    try:
        transform = ornt_transform(axcodes2ornt("LPS"), io_orientation(volume.affine))  # from the body to the file
    except ValueError as error:
        where = f"{path}: {error}"
        raise RefusedFile("volume-orientation", "volumes that do not say how they lie", where, REMEDY) from error
    axes = tuple(int(axis) for axis in transform[:, 0])
    return Grid(tuple(volume.shape), axes, tuple(bool(direction < 0) for direction in transform[:, 1]))


def read_slice(path: Path, index: int, grid: Grid) -> np.ndarray:
    """Return (H, W) float64 values of one axial slice.

    Raises:
        RefusedFile: "unreadable", or "volume-shape" if the volume does not have the grid's shape.
    """
    voxels, slope, offset = _voxels(path)
    if voxels.shape != grid.shape:
        where = f"{path} has the shape {voxels.shape}; its image has {grid.shape}"
        raise RefusedFile("volume-shape", "volumes of an unexpected shape", where, REMEDY)
    return grid.axial(voxels, index).astype(np.float64) * slope + offset


@lru_cache(maxsize=VOLUMES_KEPT)
def _voxels(path: Path) -> tuple[np.ndarray, float, float]:
    """Return the numbers as stored, with the slope and the offset that make intensities of them."""
    stored: Any = _opened(path).dataobj
    try:
        return stored.get_unscaled(), float(stored.slope), float(stored.inter)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", REMEDY) from error


def _opened(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return nibabel.load(path)
    except (OSError, EOFError, ValueError, ImageFileError, zlib.error) as error:
        raise RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", REMEDY) from error
