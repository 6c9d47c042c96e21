"""Images and depth maps in NumPy files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.depth.maps import DepthMap, checked_map, loaded
from nnunet_ext.dataset_conversion.pixels import DecodedImage, Reading
from nnunet_ext.dataset_conversion.problems import RefusedFile


def array_of(path: Path) -> np.ndarray:
    """Read an ``.npy`` file.

    Raises:
        RefusedFile: if it cannot be read.
    """
    return loaded(lambda: np.load(path, allow_pickle=False), path, (OSError, ValueError, EOFError))


def rgb_image(pixels: np.ndarray, path: Path, source_mode: str) -> DecodedImage:
    """Make an image of an array.

    Args:
        pixels: (H, W, 3) uint8.
        path: file to name in messages.
        source_mode: what the file is.

    Raises:
        RefusedFile: another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        where = f"{path} has the shape {pixels.shape} and type {pixels.dtype}; allowed is (H, W, 3) uint8"
        raise RefusedFile("image-array", "images in arrays of an unexpected form", where, "get the published file")
    return DecodedImage("RGB", pixels, (), source_mode)


@dataclass(frozen=True)
class NpyImage:
    """An RGB image in an ``.npy`` file: (H, W, 3), numbers from 0 to 1, written with 8 bits."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, rules: Reading) -> DecodedImage:
        """Decode; ``rules`` do not apply to arrays.

        Raises:
            RefusedFile: not readable, another shape, or numbers that are not from 0 to 1.
        """
        numbers = array_of(self.path)
        if not np.issubdtype(numbers.dtype, np.floating) or not ((numbers >= 0) & (numbers <= 1)).all():
            where = f"{self.path} has the type {numbers.dtype}, values {numbers.min()} to {numbers.max()}"
            remedy = "get the published file; allowed are floating point numbers from 0 to 1"
            raise RefusedFile("image-array", "images in arrays of an unexpected form", where, remedy)
        return rgb_image(np.rint(numbers * 255).astype(np.uint8), self.path, "NPY")


@dataclass(frozen=True)
class NpyDepth:
    """A depth map in an ``.npy`` file, (H, W) or (H, W, 1).

    Attributes:
        path: the map.
        mask: ``.npy`` file with 1 where there is a measurement; None if the value 0 marks where there is none.
        unit: see :class:`nnunet_ext.dataset_conversion.depth.maps.DepthMap`.
        most: largest value that can be right.
    """

    path: Path
    mask: Path | None = None
    unit: str = "metre"
    most: float = np.inf

    @property
    def files(self) -> tuple[Path, ...]:
        """The map, and its mask if it has one."""
        return (self.path,) if self.mask is None else (self.path, self.mask)

    def read(self) -> DepthMap:
        """Decode, see :func:`array_of` and :func:`nnunet_ext.dataset_conversion.depth.maps.checked_map`."""
        values = _flat(array_of(self.path))
        measured = values != 0 if self.mask is None else _flat(array_of(self.mask)) == 1
        return checked_map(values, measured, self.unit, self.path, self.most)


def _flat(array: np.ndarray) -> np.ndarray:
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
