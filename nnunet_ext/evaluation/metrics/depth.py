"""Scores of depth maps, over the pixels whose true depth is known.

A pixel is valid if its reference is finite and above 0 (and the mask has it). A prediction that is NaN there makes the
score NaN: nothing is averaged over in silence. Without valid pixels all scores are NaN.
"""

from __future__ import annotations

import numpy as np

from nnunet_ext.evaluation.metrics.undefined import Floats, Mask, checked_masks, mean_of_defined

DELTA = 1.25


def rmse(reference: Floats, prediction: Floats, mask: Mask | None = None) -> float:
    """Return the root of the mean squared error, in the unit of the depth.

    Args:
        reference: true depth, any shape; NaN, infinite or not above 0 where it is unknown.
        prediction: predicted depth, the same shape.
        mask: boolean, the same shape, pixels that count.

    Raises `ValueError` where shapes differ or the mask is not boolean.
    """
    truth, predicted = _valid(reference, prediction, mask)
    return float(np.sqrt(_mean((predicted - truth) ** 2)))


def abs_rel(reference: Floats, prediction: Floats, mask: Mask | None = None) -> float:
    """Return the mean of abs(prediction - reference) / reference. Arguments as for `rmse`."""
    truth, predicted = _valid(reference, prediction, mask)
    return _mean(np.abs(predicted - truth) / truth)


def delta_accuracy(reference: Floats, prediction: Floats, mask: Mask | None = None, power: int = 1) -> float:
    """Return the share of pixels with max(p / g, g / p) < 1.25 ** power, 0 to 1; powers 1, 2 and 3 are reported.

    A prediction of 0 or less is wrong. Arguments as for `rmse`.
    """
    truth, predicted = _valid(reference, prediction, mask)
    limit = DELTA**power
    close = (predicted > 0) & (predicted < limit * truth) & (truth < limit * predicted)
    return _mean(np.where(np.isnan(predicted), np.nan, close))


def _valid(reference: Floats, prediction: Floats, mask: Mask | None) -> tuple[Floats, Floats]:
    if reference.shape != prediction.shape:
        raise ValueError(f"depth maps differ in shape: {reference.shape} and {prediction.shape}")
    valid = np.isfinite(reference) & (reference > 0)
    if mask is not None:
        checked_masks(valid, mask)
        valid &= mask
    return reference[valid].astype(np.float64), prediction[valid].astype(np.float64)


def _mean(values: Floats) -> float:
    mean = mean_of_defined(values)
    return float("nan") if mean.n_undefined else mean.value
