"""A 2D array of a MATLAB file whose values are labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io  # type: ignore[import-untyped,unused-ignore]

from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.problems import RefusedFile

LARGEST_VALUE = 65535


@dataclass(frozen=True)
class MatArray:
    """Labels in a ``.mat`` file, as a 2D array of whole numbers or of true and false.

    Attributes:
        path: MATLAB 4 to 7.2, and 7.3 if h5py is installed.
        key: name of the array; "" if the file holds one 2D array only.
    """

    path: Path
    key: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Decode; whether the size is ``shape`` is checked elsewhere.

        Raises:
            RefusedFile: "unreadable", "mat-needs-h5py", "mat-array" if the array is missing or is one of several,
                "mat-values" for fractions and for values below 0 or above 65535; those of
                :meth:`nnunet_ext.dataset_conversion.legend.Legend.of_values`.
        """
        found = arrays_of(self.path)
        values = self._whole(found[self._key_among(found)])
        return replace(legend.of_values(values, self.path), encoding="mat")

    def _key_among(self, found: dict[str, np.ndarray]) -> str:
        if self.key in found:
            return self.key
        if not self.key and len(found) == 1:
            return next(iter(found))
        held = ", ".join(f"{key} ({a.shape[0]} x {a.shape[1]})" for key, a in found.items()) or "none"
        what = "MATLAB files without the array" if self.key else "MATLAB files without one single 2D array"
        looked_for = f"no 2D array {self.key!r}" if self.key else f"{len(found)} 2D arrays"
        where = f"{self.path} has {looked_for}; it has {held}"
        raise RefusedFile("mat-array", what, where, "keep one array a file, or save the labels as PNG")

    def _whole(self, values: np.ndarray) -> np.ndarray:
        """(H, W) int64."""
        numbers = values.astype(np.float64)
        strange = ~((numbers >= 0) & (numbers <= LARGEST_VALUE) & (numbers == np.floor(numbers)))
        if strange.any():
            where = f"{self.path} holds {numbers[strange][0]:g}; allowed are whole numbers from 0 to {LARGEST_VALUE}"
            what, remedy = "MATLAB arrays that are no labels", "save labels as whole numbers, 0 for background"
            raise RefusedFile("mat-values", what, where, remedy)
        return numbers.astype(np.int64)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """``{name: (H, W) numbers}`` of a MATLAB file: its 2D arrays, but single numbers.

    Raises:
        RefusedFile: "unreadable", "mat-needs-h5py".
    """
    try:
        content: dict[str, Any] = scipy.io.loadmat(path)
    except NotImplementedError:  # version 7.3 is HDF5
        content = _hdf5(path)
    except Exception as error:  # damaged files raise nearly anything
        raise _unreadable(path, error) from error
    arrays = {k: v for k, v in content.items() if not k.startswith(("__", "#")) and isinstance(v, np.ndarray)}
    return {k: v for k, v in arrays.items() if v.ndim == 2 and v.size > 1 and v.dtype.kind in "biuf"}


def _hdf5(path: Path) -> dict[str, Any]:
    try:
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        where, remedy = f"{path} is of MATLAB 7.3", "pip install h5py; or save it in MATLAB with save(..., '-v7')"
        raise RefusedFile("mat-needs-h5py", "MATLAB files that need a further library", where, remedy) from error
    try:
        with h5py.File(path) as file:
            return {key: item[()].T for key, item in file.items() if isinstance(item, h5py.Dataset)}
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RefusedFile:
    remedy = "copy or export these files again, or remove the pair"
    return RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", remedy)
