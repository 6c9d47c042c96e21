"""S-measure: how alike a probability map and a mask are in structure (Fan et al., ICCV 2017).

    S = 0.5 S_object + 0.5 S_region, at least 0

S_object compares the mean and the spread of the probabilities inside and outside of the object with 1 and 0. S_region
cuts the image into four at the object's centroid and adds the four parts' similarity (a form of SSIM), weighted by
area. Without an object it is 1 - mean(p), in an image full of it mean(p). 2D only. The centroid is moved by a pixel in
the published code, so that the score of a mirrored image differs a little; so does ours.
"""

from __future__ import annotations

import numpy as np

from nnunet_ext.evaluation.metrics.probability import checked_probabilities
from nnunet_ext.evaluation.metrics.undefined import Floats, Mask

TINY = np.spacing(1)


def s_measure(reference: Mask, probabilities: Floats, alpha: float = 0.5) -> float:
    """Return the S-measure, 0 to 1, of a (H, W) boolean mask and (H, W) probabilities.

    `alpha` weighs the object's part. Raises `ValueError` as `checked_probabilities` does, and for other axes.
    """
    checked_probabilities(reference, probabilities, axes=2)
    values = probabilities.astype(np.float64)
    area = reference.mean()
    if area in (0, 1):
        return float(values.mean() if area else 1 - values.mean())
    inside, outside = _object(values[reference]), _object(1 - values[~reference])
    score = alpha * (area * inside + (1 - area) * outside) + (1 - alpha) * _region(reference, values)
    return float(max(0.0, score))


def _object(values: Floats) -> float:
    """Return the similarity of values that should all be 1; the spread of a single value is 0."""
    mean, spread = values.mean(), values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + TINY)


def _region(reference: Mask, values: Floats) -> float:
    row, column = (round(float(axis.mean())) + 1 for axis in np.nonzero(reference))
    score = 0.0
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            part = reference[rows, columns]
            if part.size:
                score += part.size / reference.size * _similarity(values[rows, columns], part.astype(np.float64))
    return score


def _similarity(x: Floats, y: Floats) -> float:
    mean_x, mean_y = x.mean(), y.mean()
    n = max(x.size - 1, 1)
    variances = (((x - mean_x) ** 2).sum() + ((y - mean_y) ** 2).sum()) / n
    covariance = ((x - mean_x) * (y - mean_y)).sum() / n
    above, below = 4 * mean_x * mean_y * covariance, (mean_x**2 + mean_y**2) * variances
    if above == 0:
        return float(below == 0)
    return above / (below + TINY)
