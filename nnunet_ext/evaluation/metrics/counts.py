"""Scores of a binary mask that follow from four numbers: true and false positives and negatives.

nnU-Net's summary.json has these numbers for every case and class, so that none of these scores needs an image. All take
counts that are numbers (of a case) or arrays (a table's columns), and return a float or a float64 array to match.

With P and G for the areas of prediction and reference, and N for all pixels:

    Dice 2TP / (P + G)      Jaccard TP / (TP + FP + FN)      precision TP / P      recall TP / G
    F_beta (1 + b) TP / ((1 + b) TP + b FN + FP), b = beta squared
    conformity 1 - (FP + FN) / TP = (3 Dice - 2) / Dice      relative volume difference 100 (P - G) / G

Undefined values: see `undefined`. A score is 0 where one mask is empty, unless its own quotient is 0 / 0: precision
without prediction, recall without reference, specificity without background are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_ext.evaluation.metrics.undefined import Mask, Score, checked_masks, ratio


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels (or voxels) that are true positive, false positive, false negative and true negative.

    Numbers, or arrays of one shape; integers are kept as int64, all else as float64 (nnU-Net's means of counts).
    """

    tp: Any
    fp: Any
    fn: Any
    tn: Any

    def __post_init__(self) -> None:
        for name in ("tp", "fp", "fn", "tn"):
            value = np.asarray(getattr(self, name))
            value = value.astype(np.int64 if value.dtype.kind in "iub" else np.float64)
            object.__setattr__(self, name, value if value.ndim else value.item())

    @classmethod
    def of(cls, reference: Mask, prediction: Mask, ignore: Mask | None = None) -> Counts:
        """Count the pixels of two boolean masks of one shape, any number of axes.

        Pixels where `ignore` is true are left out. Raises `ValueError` for masks that are not boolean or differ in
        shape.
        """
        checked_masks(reference, prediction, ignore)
        n = reference.size
        if ignore is not None:
            n -= np.count_nonzero(ignore)
            reference, prediction = reference & ~ignore, prediction & ~ignore
        tp = np.count_nonzero(reference & prediction)
        fp = np.count_nonzero(prediction) - tp
        fn = np.count_nonzero(reference) - tp
        return cls(tp, fp, fn, n - tp - fp - fn)

    @classmethod
    def from_summary(cls, table: Mapping[str, Any]) -> Counts:
        """Take the counts of nnU-Net: a case's `metrics`, or a DataFrame with the columns TP, FP, FN and TN.

        Raises `KeyError` where one is missing.
        """
        return cls(table["TP"], table["FP"], table["FN"], table["TN"])

    @property
    def n(self) -> Any:
        """All pixels."""
        return self.tp + self.fp + self.fn + self.tn

    def total(self) -> Counts:
        """Return the sums over all cases, whose scores are the pooled ones."""
        return Counts(*(np.sum(value) for value in (self.tp, self.fp, self.fn, self.tn)))


def dice(c: Counts) -> Score:
    """Return Dice's coefficient, 0 to 1; NaN if both masks are empty."""
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def jaccard(c: Counts) -> Score:
    """Return Jaccard's index, which is IoU, 0 to 1; NaN if both masks are empty."""
    return ratio(c.tp, c.tp + c.fp + c.fn)


def precision(c: Counts) -> Score:
    """Return the share of the prediction that is right; NaN for an empty prediction."""
    return ratio(c.tp, c.tp + c.fp)


def recall(c: Counts) -> Score:
    """Return the share of the reference that is found, also called sensitivity; NaN for an empty reference."""
    return ratio(c.tp, c.tp + c.fn)


def specificity(c: Counts) -> Score:
    """Return the share of the background that is left alone; NaN without background."""
    return ratio(c.tn, c.tn + c.fp)


def f_beta(c: Counts, beta2: float = 1.0) -> Score:
    """Return F_beta for beta squared `beta2`: 1 is Dice, 0.3 weighs precision more (salient object detection).

    NaN if both masks are empty. Raises `ValueError` for a `beta2` that is not positive.
    """
    if beta2 <= 0:
        raise ValueError(f"beta2 must be positive; got {beta2}")
    return ratio((1 + beta2) * c.tp, (1 + beta2) * c.tp + beta2 * c.fn + c.fp)


def conformity(c: Counts) -> Score:
    """Return 1 - errors / true positives, 1 or less.

    Unbounded below: minus infinity without any overlap, NaN if both masks are empty. A mean of it is ruled by the worst
    cases; look at the median as well.
    """
    return 1 - ratio(c.fp + c.fn, c.tp)


def relative_volume_difference(c: Counts) -> Score:
    """Return by how much the prediction is larger than the reference, in % of it; negative if smaller.

    NaN for an empty reference, whatever the prediction.
    """
    area = np.asarray(c.tp + c.fn, np.float64)
    return ratio(100.0 * (np.asarray(c.fp) - c.fn), np.where(area > 0, area, np.nan))


def absolute_volume_difference(c: Counts) -> Score:
    """Return the relative volume difference without its sign, in %."""
    return abs(relative_volume_difference(c))


def mean_absolute_error(c: Counts) -> Score:
    """Return the share of pixels that are wrong, 0 to 1; `soft_mean_absolute_error` is that of probabilities."""
    return ratio(c.fp + c.fn, c.n)


def pixel_accuracy(c: Counts) -> Score:
    """Return the share of pixels that are right, 0 to 1."""
    return ratio(c.tp + c.tn, c.n)
