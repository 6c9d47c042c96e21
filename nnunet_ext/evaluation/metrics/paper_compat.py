"""What published code computes under well-known names: for comparing with its tables, and for nothing else.

IFE: eval_metrics.py of yezi-66/IFE with the NumPy it pins. M2SNet: utils/metric.py of MSNet-M2SNet. Each function says
what the code does and why the number should not be reported. The real metrics are in the other modules.
"""

from __future__ import annotations

import math

import numpy as np

from nnunet_ext.evaluation.metrics.correction_effort import human_correction_effort, resized_mask
from nnunet_ext.evaluation.metrics.counts import Counts, dice, precision, recall
from nnunet_ext.evaluation.metrics.probability import checked_probabilities
from nnunet_ext.evaluation.metrics.surface import SurfaceDistances, assd_mean_of_means, hausdorff
from nnunet_ext.evaluation.metrics.undefined import Floats, Mask, Score, ratio

SMOOTH = 1e-5  # M2SNet
OFFSET = 1e-4  # IFE


def mae_uint8_wrap(c: Counts) -> Score:
    """Return IFE's "MAE", (FP + FN / 255) / N.

    The code subtracts 8-bit masks of 0 and 255, and 0 - 255 wraps to 1: a missed pixel costs a 255th of a false one. It
    is no mean absolute error; a network that finds less gets better. Use `mean_absolute_error`.
    """
    return ratio(255 * np.asarray(c.fp, np.float64) + c.fn, 255 * np.asarray(c.n, np.float64) + OFFSET)


def f_beta_1e4(c: Counts) -> Score:
    """Return IFE's "F1": 1.3 P R / (0.3 P + R + 0.0001), with 0 for an undefined P or R.

    Beta squared is 0.3, so that it is no F1, and a perfect mask gets 0.999923. Use `f_beta`.
    """
    p, r = (np.nan_to_num(score(c)) for score in (precision, recall))
    return ratio(1.3 * p * r, 0.3 * p + r + OFFSET)


def conformity_floor0(c: Counts) -> Score:
    """Return IFE's conformity: (3 D - 2) / D where Dice D is above 0.01, else 0.

    Without any overlap it is 0, which beats every mask with D below 2/3: at D = 0.5 it is -1. Use `conformity`.
    """
    d = np.nan_to_num(dice(c))
    score = np.where(d > 0.01, ratio(3 * d - 2, d), 0.0)
    return score if score.ndim else float(score)


def dice_empty0(c: Counts) -> Score:
    """Return Dice with 0 for two empty masks, as IFE does: a correctly empty prediction is scored as a miss."""
    d = np.nan_to_num(dice(c))
    return d if np.ndim(d) else float(d)


def hd_empty0(d: SurfaceDistances) -> float:
    """Return the Hausdorff distance, and IFE's 0 where a mask is empty: to predict nothing is best. Use `hausdorff`."""
    value = hausdorff(d)
    return value if math.isfinite(value) else 0.0


def asd_empty0(d: SurfaceDistances) -> float:
    """Return `assd_mean_of_means`, and IFE's 0 where a mask is empty: to predict nothing is best."""
    value = assd_mean_of_means(d)
    return value if math.isfinite(value) else 0.0


def hce64(reference: Mask, prediction: Mask) -> int:
    """Return IFE's HCE: both masks resized to 64 x 64, every pixel that is not 0 is foreground, which widens them.

    At that size it compares with no other HCE. The code thins the reference above 128 instead of above 0, which moves
    single images (up to 9 in 14 test cases, 11 of them equal). Use `human_correction_effort` and say the size.
    """
    small = (resized_mask(mask, 64) > 0 for mask in (reference, prediction))
    return human_correction_effort(*small)


def m2snet_soft_dice(reference: Mask, probabilities: Floats, normalise: bool = True) -> float:
    """Return M2SNet's "mDice" of an image: soft Dice with 0.00001 above and below, of a map scaled to its own 0 .. 1.

    Scaling makes an object of the noise of an empty image, and soft Dice is far below Dice at a threshold where the
    background is noisy. Two empty maps score 1. Use `dice`, or `soft_dice`.

    Arguments as for `probability.soft_dice`; `normalise` False leaves the scaling out.
    """
    checked_probabilities(reference, probabilities)
    values = probabilities.astype(np.float64)
    if normalise and np.ptp(values) > 0:
        values = (values - values.min()) / np.ptp(values)
    overlap = values.sum(where=reference)
    return float((2 * overlap + SMOOTH) / (values.sum() + np.count_nonzero(reference) + SMOOTH))


def m2snet_iou(c: Counts) -> Score:
    """Return M2SNet's IoU: 0.00001 above and below, hence 1 for two empty masks. Use `jaccard`."""
    return ratio(np.asarray(c.tp, np.float64) + SMOOTH, np.asarray(c.tp + c.fp + c.fn, np.float64) + SMOOTH)
