"""Bootstrap intervals of means over cases that come in groups: whole groups are drawn, with all their cases.

Percentiles of 2000 resamples, as for the correlations in `evaluation.quality`. Percentile intervals of few groups are
too narrow: see docs/benchmarks/statistics.md for how much.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnunet_ext.evaluation.quality import RESAMPLES, Estimate

LEAST_GROUPS = 3
AT_ONCE = 2**22  # entries of the draws that are in memory at a time


def group_sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sum `(..., n)` over cases of the same group, `(n,)` codes 0 to G - 1; `(..., G)`."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0])
    return np.add.reduceat(values[..., order], starts, axis=-1)


def mean_interval(
    values: np.ndarray, groups: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Bound the mean over cases by the 2.5 % and 97.5 % quantiles of its bootstrap over groups.

    Args:
        values: `(..., n)`; a batch is resampled with the same draws.
        groups: `(n,)`, codes from 0.
        seed: of the draws.
        resamples: how many.

    Returns:
        Low and high, `(...)` each; NaN for fewer than 3 groups.
    """
    sums, sizes = group_sums(values, groups), np.bincount(groups)
    if len(sizes) < LEAST_GROUPS:
        nothing = np.full(values.shape[:-1], np.nan)
        return nothing, nothing
    means = [sums @ drawn.T / (drawn @ sizes) for drawn in _draws(len(sizes), seed, resamples)]
    low, high = np.quantile(np.concatenate(means, axis=-1), [0.025, 0.975], axis=-1)
    return low, high


def mean_estimate(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Estimate:
    """Return the mean over cases `(n,)` with its interval, as `mean_interval`."""
    low, high = mean_interval(values, groups, seed)
    return Estimate(float(values.mean()), float(low), float(high))


def _draws(groups: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each group is drawn, `(some resamples, groups)`."""
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // groups)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        chosen = rng.integers(0, groups, (count, groups)) + groups * np.arange(count)[:, None]
        yield np.bincount(chosen.ravel(), minlength=count * groups).reshape(count, groups).astype(float)
