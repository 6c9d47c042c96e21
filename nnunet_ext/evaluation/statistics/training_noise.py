"""Tests that take into account that another training of the same network would score differently.

A training shifts the scores of all its cases together. Tests over cases take these shifts for a difference of methods:
with 400 cases they see 400 differences where there are five trainings of each. The two tests here do not.
docs/benchmarks/statistics.md has the share of false alarms of each.

`corrected_t`: C. Nadeau, Y. Bengio, Inference for the Generalization Error, Machine Learning 52, 2003. Folds are
counted; training sets overlap, for which the variance is enlarged. Needs no repeats, and finds large differences only.

`repeated_t`: ours, for several trainings of each trainer and fold. The difference of the two means has two sources of
chance, and the variance is the sum of what each gives:

    cases       the usual cluster-robust variance of the mean over cases, as if the trainings were given.
                Jackknife over groups (CR3): sum_g (u_g / (1 - n_g / n))^2 (G - 1) / G / n^2,
                u_g = sum of (d_c - mean d) over group g. G - 1 degrees of freedom
    trainings   of each trainer, as if the cases were given: sum_f (n_f / n)^2 s_f^2 / R_f,
                s_f^2 = variance of a fold's mean score over its R_f trainings. sum_f (R_f - 1) degrees of freedom

and Welch-Satterthwaite's degrees of freedom. Each part holds some of the other's (noise of a single case in a single
training is in both), so the sum is too large rather than too small. A Welch test over the means of repeats alone, the
other choice, has the second part only: it says nothing of other cases. Bootstrapping trainings and groups together has
both parts, but with three trainings it gives two thirds of their variance. What no repeats tell: how methods would do
with other training sets. For that, more datasets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunet_ext.evaluation.statistics.bootstrap import group_sums
from nnunet_ext.evaluation.statistics.paired import Number, Outcome, t_outcome


def corrected_t(differences: np.ndarray, sizes: np.ndarray) -> Outcome:
    """Corrected resampled t test over folds: variance (1 / k + n_test / n_train) s^2, k - 1 degrees of freedom.

    Args:
        differences: `(..., k)`, of each fold the mean difference over its cases.
        sizes: `(k,)`, cases of each fold. A fold's training cases are taken to be those of the other folds; n_test /
            n_train is the mean over folds.

    Returns:
        NaN for one fold. The difference is the mean over folds.
    """
    k = len(sizes)
    mean = differences.mean(-1)
    if k < 2:
        return t_outcome(mean, np.full(mean.shape, np.nan), 0)
    factor = 1 / k + np.mean(sizes / (sizes.sum() - sizes))
    return t_outcome(mean, factor * differences.var(-1, ddof=1), k - 1)


def repeated_t(
    difference: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    runs: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
) -> Outcome:
    """Test the mean difference against the chance of cases and of trainings; see the module.

    Args:
        difference: `(..., n)`, of each case, between the two trainers' means over trainings.
        groups: `(n,)`, codes from 0.
        sizes: `(k,)`, cases of each fold.
        runs: for each of the two trainers, for each fold, the mean score of each training, `(..., R)`, R >= 2.

    Returns:
        NaN for one group.
    """
    cases = group_variance(difference, groups)
    parts = [cases] + [training_variance(side, sizes) for side in runs]
    degrees = [len(np.bincount(groups)) - 1] + [sum(fold.shape[-1] - 1 for fold in side) for side in runs]
    total = np.sum(parts, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = sum(part**2 / max(df, 1) for part, df in zip(parts, degrees, strict=True))
        df = np.where(total > 0, total**2 / squares, sum(degrees))
    return t_outcome(difference.mean(-1), total, df)


def group_variance(values: np.ndarray, groups: np.ndarray) -> Number:
    """Variance of the mean of `(..., n)` over cases in groups: jackknife over groups; NaN for one group."""
    share = np.bincount(groups) / len(groups)
    if len(share) < 2:
        return np.full(values.shape[:-1], np.nan)[()]
    residuals = group_sums(values - values.mean(-1, keepdims=True), groups) / (1 - share)
    return (residuals**2).sum(-1) * (len(share) - 1) / len(share) / len(groups) ** 2


def training_variance(runs: Sequence[np.ndarray], sizes: np.ndarray) -> Number:
    """Variance of a trainer's mean score from its trainings, of each fold `(..., R)` means; R >= 2."""
    weights = sizes / sizes.sum()
    return sum(w**2 * fold.var(-1, ddof=1) / fold.shape[-1] for w, fold in zip(weights, runs, strict=True))
