"""Axial slices of NIfTI volumes as images and annotations, with a window of intensities for 8 bits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.pixels import DecodedImage, Reading
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.legend import Legend

LUNG_WINDOW = (-1250.0, 250.0)  # Hounsfield units
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


@dataclass(frozen=True)
class SliceImage:
    """One axial slice in 8-bit grey: the lower end of the window is 0, the upper 255.

    Attributes:
        path: ``.nii`` or ``.nii.gz``.
        index: slice, counted from the feet.
        grid: of the volume.
        window: lowest and highest intensity that is told apart, in the volume's unit.
    """

    path: Path
    index: int
    grid: Grid
    window: tuple[float, float]

    @property
    def files(self) -> tuple[Path, ...]:
        """The volume."""
        return (self.path,)

    def read(self, rules: Reading) -> DecodedImage:
        """Decode the slice.

        Raises:
            RefusedFile: "unreadable", or "volume-shape" if the file has changed since its grid was read.
        """
        values = _slice(self.path, self.index, self.grid)
        low, high = self.window
        grey = np.rint((np.clip(values, low, high) - low) * (255 / (high - low))).astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=2) if rules.color == "rgb" else grey
        return DecodedImage("L" if pixels.ndim == 2 else "RGB", pixels, (), "NIfTI")


@dataclass(frozen=True)
class SliceMask:
    """Labels of one axial slice of a volume of labels.

    Attributes:
        path: ``.nii`` or ``.nii.gz``.
        index: slice, counted from the feet.
        grid: of the image's volume: voxels belong together, whatever the mask's own header says.
    """

    path: Path
    index: int
    grid: Grid

    @property
    def files(self) -> tuple[Path, ...]:
        """The volume."""
        return (self.path,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Decode the slice.

        Raises:
            RefusedFile: "unreadable", "volume-shape" if the volume is not as large as the image's, "mask-not-whole"
                for values that are no whole numbers from 0 to 65535, "unnamed-values" for those without a class.
        """
        values = _slice(self.path, self.index, self.grid)
        whole = np.rint(values)
        if not np.array_equal(values, whole) or whole.min() < 0 or whole.max() > np.iinfo(np.uint16).max:
            where = f"{self.path}, slice {self.index}: from {values.min():g} to {values.max():g}"
            what, remedy = "masks whose values are no labels", "export labels as whole numbers from 0 to 65535"
            raise RefusedFile("mask-not-whole", what, where, remedy)
        return legend.of_values(np.ascontiguousarray(whole).astype(np.uint16), self.path)


def slices(image: Path, mask: Path | None, window: tuple[float, float], problems: list[Problem]) -> Iterator[
    tuple[int, SliceImage, SliceMask | None]
]:  # fmt: skip
    """Yield ``(index, image, mask)`` for each axial slice; only the header of the image is read."""
    try:
        grid = _grid(image)
    except RefusedFile as refused:
        problems.append(refused.problem)
        return
    for index in range(grid.n_slices):
        yield (
            index,
            SliceImage(image, index, grid, window),
            None if mask is None else SliceMask(mask, index, grid),
        )


def _grid(path: Path) -> Grid:
    """Read the header.

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


def _slice(path: Path, index: int, grid: Grid) -> np.ndarray:
    """(H, W) float64 values."""
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
