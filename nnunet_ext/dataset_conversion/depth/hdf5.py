"""Images and depth maps in HDF5 files, which MATLAB's newer ``.mat`` files are too."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.dataset_conversion.depth.maps import DepthMap, checked_map, loaded
from nnunet_ext.dataset_conversion.depth.npy import rgb_image
from nnunet_ext.dataset_conversion.pixels import DecodedImage, Reading
from nnunet_ext.dataset_conversion.problems import RefusedFile


def array_of(path: Path, key: str, index: int | None = None) -> np.ndarray:
    """Read an array of an HDF5 file, or one entry of its first axis.

    Raises:
        RefusedFile: h5py is not installed, the file cannot be read, or has no such array or entry.
    """
    h5py = _h5py(path)

    def load() -> np.ndarray:
        with h5py.File(path, "r") as file:
            return np.asarray(file[key][() if index is None else index])

    return loaded(load, path, (OSError, KeyError, IndexError, ValueError, AttributeError))


def _h5py(path: Path) -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        where = f"{path}: the package h5py is not installed"
        raise RefusedFile("package-missing", "files that need another package", where, "pip install h5py") from error


@dataclass(frozen=True)
class Hdf5Image:
    """An RGB image in an HDF5 file.

    Attributes:
        path: the file.
        key: name of the array, uint8.
        axes: order of the array's axes that gives (H, W, 3).
        index: entry of the first axis, if the array holds many images.
    """

    path: Path
    key: str
    axes: tuple[int, int, int]
    index: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, rules: Reading) -> DecodedImage:
        """Decode; ``rules`` do not apply to arrays."""
        pixels = array_of(self.path, self.key, self.index)
        turned = pixels.transpose(self.axes) if pixels.ndim == 3 else pixels
        return rgb_image(np.ascontiguousarray(turned), self.path, "HDF5")


@dataclass(frozen=True)
class Hdf5Depth:
    """A depth map in metres in an HDF5 file; 0 is no measurement.

    Attributes:
        path: the file.
        key: name of the array.
        transposed: whether the array is (W, H), as MATLAB's are when read from HDF5.
        index: entry of the first axis, if the array holds many maps.
        most: largest distance that can be right.
    """

    path: Path
    key: str
    transposed: bool
    index: int | None = None
    most: float = np.inf

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self) -> DepthMap:
        """Decode, see :func:`array_of` and :func:`nnunet_ext.dataset_conversion.depth.maps.checked_map`."""
        values = array_of(self.path, self.key, self.index)
        values = values.T if self.transposed else values
        return checked_map(values, values != 0, "metre", self.path, self.most)
