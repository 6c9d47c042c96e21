"""Whether quality scores tell the true Dice: correlation of a `quality.csv` with nnU-Net's `summary.json`.

Spatial Lifting for Dense Prediction, Section III-B and Table IV, reports Pearson's and Spearman's correlation over
test images. The intervals are ours: percentiles of 2000 bootstrap samples of cases.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

LEAST_CASES = 3
RESAMPLES = 2000


class QualityTableError(ValueError):
    """A file is not a `quality.csv`, or has no case in common with the true scores."""


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval of 95 %; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """How quality scores go with true Dice.

    n: cases with both. pearson, spearman: correlations. mean_absolute_difference: of quality and Dice.
    undefined: why the correlations are NaN; empty if they are not.
    """

    n: int
    pearson: Estimate
    spearman: Estimate
    mean_absolute_difference: float
    undefined: str = ""


def read_quality(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a `quality.csv`: columns `case`, `class` (str), `quality` (float, NaN where there is none), `voxels`.

    Raises:
        FileNotFoundError: if there is no such file.
        QualityTableError: if it is something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No quality.csv at {path}. Write it with: nnunet_ext predict, and a lifted network")
    try:
        table = pd.read_csv(path, dtype={"case": str, "class": str}, keep_default_na=False, na_values={"quality": [""]})
        return table.astype({"quality": float, "voxels": int})[["case", "class", "quality", "voxels"]]
    except (KeyError, ValueError, pd.errors.ParserError) as error:
        raise QualityTableError(f"{path} is not a quality.csv of nnunet_ext predict ({error}).") from error


def join_scores(quality: pd.DataFrame, dice: pd.DataFrame, class_name: str = "all") -> pd.DataFrame:
    """Put each case's quality beside its true Dice.

    Args:
        quality: as from `read_quality`.
        dice: columns `case` and `Dice`, a row a case: `summary.foreground_scores` for the class `all`, or the rows of
            one label of `summary.read_summary`.
        class_name: whose qualities to take.

    Returns:
        Columns `case`, `quality`, `Dice`, in the order of `quality`; cases with both only.

    Raises:
        QualityTableError: if no case has both.
    """
    first = quality[quality["class"] == class_name].drop_duplicates("case")
    joined = first.merge(dice[["case", "Dice"]], on="case", validate="one_to_one").dropna(subset=["quality", "Dice"])
    if joined.empty:
        raise QualityTableError(
            f"no case of class {class_name!r} has a quality and a true Dice: {len(first)} cases have a quality "
            f"({_some(first)}), {len(dice)} a Dice ({_some(dice)}). Are both of the same predictions?"
        )
    return joined[["case", "quality", "Dice"]].reset_index(drop=True)


def correlate(joined: pd.DataFrame, seed: int = 0) -> Correlation:
    """Correlate the columns `quality` and `Dice` over cases.

    Args:
        joined: as from `join_scores`.
        seed: of the bootstrap.

    Returns:
        Correlations are NaN for fewer than 3 cases, or if one of the two does not vary.
    """
    quality, dice = joined["quality"].to_numpy(float), joined["Dice"].to_numpy(float)
    difference = float(np.abs(quality - dice).mean()) if len(joined) else math.nan
    why = _why_undefined(quality, dice)
    if why:
        nothing = Estimate(math.nan, math.nan, math.nan)
        return Correlation(len(joined), nothing, nothing, difference, why)
    pearson, spearman = (_estimate(f, quality, dice, seed) for f in (_pearson, _spearman))
    return Correlation(len(joined), pearson, spearman, difference)


def _why_undefined(quality: np.ndarray, dice: np.ndarray) -> str:
    if len(quality) < LEAST_CASES:
        return f"{len(quality)} cases; a correlation needs at least {LEAST_CASES}"
    for name, values in (("quality", quality), ("Dice", dice)):
        if np.ptp(values) == 0:
            return f"every case has the same {name}, {values[0]:g}"
    return ""


def _estimate(statistic: Callable[..., np.ndarray], quality: np.ndarray, dice: np.ndarray, seed: int) -> Estimate:
    with warnings.catch_warnings():
        # a sample of the same case again and again has no correlation: it is left out below
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (quality, dice), statistic, paired=True, vectorized=True, n_resamples=RESAMPLES, method="percentile",
            random_state=np.random.default_rng(seed),
        )  # fmt: skip
    low, high = np.nanquantile(result.bootstrap_distribution, [0.025, 0.975])
    return Estimate(float(statistic(quality, dice)), float(low), float(high))


def _pearson(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    x, y = (v - v.mean(axis=axis, keepdims=True) for v in (x, y))
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis) / np.sqrt((x**2).sum(axis) * (y**2).sum(axis))


def _spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    return _pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def _some(table: pd.DataFrame) -> str:
    names = list(table["case"][:3])
    return ", ".join(names + ["..."] * (len(table) > 3)) or "none"
