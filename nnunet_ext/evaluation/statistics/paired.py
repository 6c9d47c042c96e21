"""Tests and effect sizes of paired differences, a case a difference: of these trained networks, not of methods.

Differences are `(..., n)`, the score of one trainer minus that of another; leading axes are a batch. No spread, no
test: where all differences are the same number but 0, p is NaN; where all are 0, p is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

SMALLEST = 1e-12  # a difference; smaller ones are rounding
Number = Any  # a float, or an array of them for a batch


@dataclass(frozen=True)
class Outcome:
    """A t test: statistic, degrees of freedom, two-sided p, and the 95 % interval of the difference that it tests."""

    statistic: Number
    df: Number
    p: Number
    low: Number
    high: Number


def t_outcome(difference: Number, variance: Number, df: Number) -> Outcome:
    """Test a difference of the given variance and degrees of freedom against 0; NaN where df is below 1."""
    difference, variance, df = (np.asarray(v, float) for v in (difference, variance, df))
    same, steady = np.abs(difference) < SMALLEST, variance <= SMALLEST**2
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(df < 1, np.nan, np.sqrt(variance))
        t = np.where(steady, np.where(same & (df >= 1), 0.0, np.nan), difference / error)
        half = np.where(steady, np.where(same, 0.0, np.nan), stats.t.ppf(0.975, df)) * error
        p = 2 * stats.t.sf(np.abs(t), df)
    return Outcome(*(v[()] for v in (t, df, p, difference - half, difference + half)))


def paired_t(difference: np.ndarray) -> Outcome:
    """Paired t test over cases (the IFE paper's test)."""
    n = difference.shape[-1]
    variance = difference.var(-1, ddof=1) / n if n > 1 else np.full(difference.shape[:-1], np.nan)
    return t_outcome(difference.mean(-1), variance, n - 1)


def wilcoxon_p(difference: np.ndarray) -> Number:
    """Wilcoxon's signed rank test over cases, two-sided p.

    Zeros as Pratt has them: they are ranked with the others and then left out of both sums, so that many equal cases
    make the others' ranks count for less, instead of vanishing. Exact up to 50 cases without ties and zeros.
    """
    flat = difference.reshape(-1, difference.shape[-1])
    p, some = np.ones(len(flat)), (flat != 0).any(-1)
    if some.any() and flat.shape[-1] > 1:
        p[some] = stats.wilcoxon(flat[some], zero_method="pratt", axis=-1).pvalue
    elif flat.shape[-1] < 2:
        p[:] = np.nan
    return p.reshape(difference.shape[:-1])[()]


def cohens_dz(difference: np.ndarray) -> float:
    """Mean over standard deviation of the differences `(n,)`; 0 where all are 0, NaN for one, or without spread."""
    if len(difference) < 2 or (np.ptp(difference) < SMALLEST and difference.any()):
        return np.nan
    return float(difference.mean() / difference.std(ddof=1)) if difference.any() else 0.0


def rank_biserial(difference: np.ndarray) -> float:
    """Share of Wilcoxon's ranks with a positive difference minus that with a negative one, -1 to 1; Pratt's ranks."""
    ranks = stats.rankdata(np.abs(difference))
    total = ranks[difference != 0].sum()
    return float((np.sign(difference) * ranks).sum() / total) if total else 0.0
