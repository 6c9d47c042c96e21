"""What a score is where it has no value: one policy for all metrics.

    0 / 0                                      NaN: the class is absent from both, there is nothing to score
    one of reference and prediction is empty   0 for overlaps, infinity for distances
    a mean                                     leaves NaN out and says how many there were; infinity stays

It is nnU-Net's policy for Dice and IoU, kept for everything else. Nothing here warns or raises: what a NaN means is
told by `Mean`, which carries the counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Score = Any  # a float, or a float64 array where the counts were arrays
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]


class Mean(NamedTuple):
    """A mean over the values that are defined: the mean (NaN without any), and how many were and were not defined."""

    value: float
    n_defined: int
    n_undefined: int


def mean_of_defined(values: npt.ArrayLike) -> Mean:
    """Average over all values but NaN; infinite values are defined."""
    array = np.asarray(values, np.float64).ravel()
    defined = array[~np.isnan(array)]
    value = float(defined.mean()) if defined.size else float("nan")
    return Mean(value, defined.size, array.size - defined.size)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Score:
    """Divide element by element: NaN for 0 / 0, infinity for another numerator over 0; a float for two numbers."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
    return quotient if np.ndim(quotient) else float(quotient)


def checked_masks(reference: npt.NDArray[Any], *others: npt.NDArray[Any] | None) -> None:
    """Raise `ValueError` unless all masks are boolean arrays of one shape; None passes."""
    for mask in (reference, *others):
        if mask is None:
            continue
        if mask.dtype != np.bool_:
            raise ValueError(f"masks must be boolean; got {mask.dtype}. Compare first, e.g. `labels == 1`")
        if mask.shape != reference.shape:
            raise ValueError(f"masks differ in shape: {reference.shape} and {mask.shape}")
