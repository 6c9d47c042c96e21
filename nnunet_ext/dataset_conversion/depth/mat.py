"""MATLAB files of the older kind, which SciPy reads; the newer ones are HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy.io import loadmat  # type: ignore[import-untyped]
from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

from nnunet_ext.dataset_conversion.depth.maps import loaded
from nnunet_ext.dataset_conversion.pixels import DECODER_ERRORS

ERRORS = (*DECODER_ERRORS, MatReadError, NotImplementedError, IndexError, KeyError)


def arrays_of(path: Path) -> dict[str, Any]:
    """``{name: array}`` of a file.

    Raises:
        RefusedFile: if it cannot be read.
    """
    return loaded(lambda: dict(loadmat(path)), path, ERRORS)
