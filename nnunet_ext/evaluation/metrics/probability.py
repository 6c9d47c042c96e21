"""Scores of probability maps before any threshold: soft Dice and mean absolute error.

Probabilities are taken as they are, in float. Other tools scale each map to its own minimum and maximum first, which
makes noise on an image without the object as strong as an object; give what the network predicts.
"""

from __future__ import annotations

import numpy as np

from nnunet_ext.evaluation.metrics.undefined import Floats, Mask, checked_masks, ratio

ROUNDING = 1e-3  # a probability may be that far outside of 0 .. 1


def soft_dice(reference: Mask, probabilities: Floats) -> float:
    """Return 2 sum(p g) / (sum(p) + sum(g)), 0 to 1; NaN if the reference is empty and p is 0 everywhere.

    Of a noisy background it is much lower than Dice at a threshold.

    Args:
        reference: boolean, any shape.
        probabilities: the same shape, values in 0 .. 1.

    Raises `ValueError` as `checked_probabilities` does.
    """
    checked_probabilities(reference, probabilities)
    overlap = probabilities.sum(where=reference, dtype=np.float64)
    return float(ratio(2 * overlap, probabilities.sum(dtype=np.float64) + np.count_nonzero(reference)))


def soft_mean_absolute_error(reference: Mask, probabilities: Floats) -> float:
    """Return the mean of abs(p - g), 0 to 1; NaN without pixels. Arguments as for `soft_dice`."""
    checked_probabilities(reference, probabilities)
    inside = probabilities.sum(where=reference, dtype=np.float64)
    errors = np.count_nonzero(reference) - inside + probabilities.sum(where=~reference, dtype=np.float64)
    return float(ratio(errors, reference.size))


def checked_probabilities(reference: Mask, probabilities: Floats, axes: int | None = None) -> None:
    """Raise `ValueError` unless the reference is boolean and the probabilities are a float array that fits it.

    Fits: the same shape, all values in 0 .. 1 up to what half precision rounds (no NaN) and, where given, as many axes.
    """
    checked_masks(reference)
    if probabilities.shape != reference.shape:
        raise ValueError(f"reference {reference.shape} and probabilities {probabilities.shape} differ in shape")
    if probabilities.dtype.kind != "f":
        raise ValueError(f"probabilities must be floating; got {probabilities.dtype}. Divide 8-bit maps by 255")
    if axes is not None and reference.ndim != axes:
        raise ValueError(f"this measure is defined for {axes}D images; got {reference.ndim}D {reference.shape}")
    if reference.size and not (probabilities.min() >= -ROUNDING and probabilities.max() <= 1 + ROUNDING):
        raise ValueError(f"probabilities must be in 0 .. 1; got {probabilities.min()} .. {probabilities.max()}")
