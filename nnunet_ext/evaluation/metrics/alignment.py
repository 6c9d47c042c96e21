"""E-measure: how well a binary prediction is aligned with a mask (Fan et al., IJCAI 2018).

With both maps freed of their means, a = g - mean(g) and b = p - mean(p),

    phi = (1 + 2ab / (a^2 + b^2))^2 / 4      E = sum(phi) / (N - 1)

and 1 - mean(p) without an object, mean(p) where all is object, with the same N - 1. As published it is divided by one
less than the number of pixels, so that a perfect map has slightly more than 1.

a and b have two values each, hence phi has four: E follows from the counts of true and false positives and negatives,
for any number of axes, and for all 256 thresholds from two histograms.

Three figures are in use under this name; say which: at the adaptive threshold min(2 mean(p), 1), the mean over
thresholds, and the maximum over thresholds. The adaptive one calls an empty prediction (threshold 0) all object.
"""

from __future__ import annotations

import numpy as np

from nnunet_ext.evaluation.metrics.counts import Counts
from nnunet_ext.evaluation.metrics.probability import checked_probabilities
from nnunet_ext.evaluation.metrics.undefined import Floats, Mask, Score, ratio

TINY = np.spacing(1)
LEVELS = 256


def e_measure(c: Counts) -> Score:
    """Return the E-measure of binary predictions from their counts; a float or an array, as the counts are."""
    n = np.asarray(c.n, np.float64)
    area, found = ratio(c.tp + c.fn, n), ratio(c.tp + c.fp, n)
    total = sum(
        np.asarray(pixels) * _alignment(truth - area, predicted - found)
        for pixels, truth, predicted in ((c.tp, 1, 1), (c.fp, 0, 1), (c.fn, 1, 0), (c.tn, 0, 0))
    )
    total = np.where(area == 0, c.tn, np.where(area == 1, c.tp, total))
    return ratio(total, n - 1 + TINY)


def e_measure_adaptive(reference: Mask, probabilities: Floats) -> float:
    """Return the E-measure at the threshold min(2 mean(p), 1), which a pixel may equal.

    Args:
        reference: boolean, any shape.
        probabilities: the same shape, values in 0 .. 1.

    Raises `ValueError` as `probability.checked_probabilities` does.
    """
    checked_probabilities(reference, probabilities)
    threshold = min(2 * probabilities.mean(dtype=np.float64), 1.0)
    return float(e_measure(Counts.of(reference, probabilities >= threshold)))


def e_measure_curve(reference: Mask, probabilities: Floats) -> Floats:
    """Return the E-measure at 256 thresholds, (256,): element n takes pixels with trunc(255 p) of at least 255 - n.

    Arguments as for `e_measure_adaptive`.
    """
    checked_probabilities(reference, probabilities)
    levels = (probabilities * 255).astype(np.uint8)
    inside, outside = (np.bincount(levels[mask], minlength=LEVELS)[::-1].cumsum() for mask in (reference, ~reference))
    return np.asarray(e_measure(Counts(inside, outside, inside[-1] - inside, outside[-1] - outside)))


def e_measure_mean(reference: Mask, probabilities: Floats) -> float:
    """Return the mean over the 256 thresholds. Arguments as for `e_measure_adaptive`."""
    return float(e_measure_curve(reference, probabilities).mean())


def e_measure_max(reference: Mask, probabilities: Floats) -> float:
    """Return the maximum over the 256 thresholds of this image; the best threshold is chosen with the reference.

    The maximum of a dataset's mean curve is another, smaller figure. Arguments as for `e_measure_adaptive`.
    """
    return float(e_measure_curve(reference, probabilities).max())


def _alignment(a: Score, b: Score) -> Score:
    return (1 + 2 * a * b / (a**2 + b**2 + TINY)) ** 2 / 4
