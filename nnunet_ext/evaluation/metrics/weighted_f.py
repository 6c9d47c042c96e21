"""Weighted F-measure: precision and recall of a probability map with errors weighted by place (Margolin, CVPR 2014).

Errors of the object's pixels count less where their neighbourhood (7 x 7 Gaussian, sigma 5) is right; errors of the
background take over the error of the nearest object pixel where that is smaller, and count up to twice as much the
further they are from the object: 2 - exp(ln(0.5) / 5 * distance).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

from nnunet_ext.evaluation.metrics.probability import checked_probabilities
from nnunet_ext.evaluation.metrics.undefined import Floats, Mask

TINY = np.spacing(1)
SIGMA, RADIUS = 5.0, 3  # of the Gaussian, pixels
HALF_WAY = 5.0  # pixels from the object to a background error of weight 1.5


def weighted_f_measure(reference: Mask, probabilities: Floats, beta2: float = 1.0) -> float:
    """Return the weighted F-measure, 0 to 1, of a (H, W) boolean mask and (H, W) probabilities.

    0 for an empty reference; NaN if the probabilities are 0 everywhere as well. Where two object pixels are equally
    near, SciPy's choice decides; other tools differ by up to 1e-3.

    Raises `ValueError` as `probability.checked_probabilities` does, and for other axes.
    """
    checked_probabilities(reference, probabilities, axes=2)
    if not reference.any():
        return 0.0 if probabilities.any() else math.nan
    errors = _weighted_errors(reference, probabilities.astype(np.float64))
    inside, outside = errors[reference], errors[~reference].sum()
    hits = inside.size - inside.sum()
    recall, precision = 1 - inside.mean(), hits / (hits + outside + TINY)
    return float((1 + beta2) * recall * precision / (recall + beta2 * precision + TINY))


def _weighted_errors(reference: Mask, probabilities: Floats) -> Floats:
    errors = np.abs(probabilities - reference)
    distance, nearest = ndimage.distance_transform_edt(~reference, return_indices=True)
    spread = errors[tuple(nearest)]  # background pixels have the error of the nearest object pixel
    for axis in (0, 1):
        spread = ndimage.correlate1d(spread, _gaussian(), axis=axis, mode="constant")
    eased = np.where(reference, np.minimum(errors, spread), errors)
    return eased * np.where(reference, 1.0, 2 - np.exp(math.log(0.5) / HALF_WAY * distance))


def _gaussian() -> Floats:
    weights = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * SIGMA**2))
    return weights / weights.sum()
