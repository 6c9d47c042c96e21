"""Whether quality scores tell the true Dice: correlation of a `quality.csv` with nnU-Net's `summary.json`.

Spatial Lifting for Dense Prediction, Section III-B and Table IV, reports Pearson's and Spearman's correlation over
test images. The intervals are ours: percentiles of 2000 bootstrap samples of cases. A sample in which quality or Dice
does not vary has no correlation. Leaving such samples out shifts the interval, so there is none if they are many.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from nnunet_ext.evaluation.classes import class_labels

LEAST_CASES = 3
RESAMPLES = 2000
MOST_CONSTANT = 0.05  # share of samples without correlation up to which there is an interval
TOTAL = "all"  # class of the first row of each case


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
    undefined: why the correlations are NaN; empty if they are not. no_interval: why their intervals are; the same.
    constant: share of the bootstrap's samples without correlation, which the intervals leave out.
    """

    n: int
    pearson: Estimate
    spearman: Estimate
    mean_absolute_difference: float
    undefined: str = ""
    no_interval: str = ""
    constant: float = 0.0


def read_quality(*paths: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a `quality.csv`, or all parts of one that `-num_parts` divided.

    Returns:
        Columns `case`, `class` (str), `quality` (float, NaN where there is none), `voxels` (int) and `total` (bool: the
        row over all classes, whose name a class of the dataset may have, too).

    Raises:
        FileNotFoundError: if there is no such file.
        QualityTableError: if it is something else, or a case stands in several files.
    """
    tables = [_read(path) for path in paths]
    seen: set[str] = set()
    for path, table in zip(paths, tables, strict=True):
        if twice := sorted(seen & set(table["case"])):
            raise QualityTableError(f"{path}: {len(twice)} cases ({twice[0]}, ...) stand in another file, too")
        seen |= set(table["case"])
    if not tables:
        raise QualityTableError("read_quality needs at least one file")
    return pd.concat(tables, ignore_index=True)


def join_class(quality: pd.DataFrame, per_case: pd.DataFrame, labels: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Put each case's quality of one class beside the true Dice of this class; as `join_scores`.

    Args:
        quality: as from `read_quality`.
        per_case: as from `summary.read_summary`.
        labels: dataset.json's `labels`.
        name: of a class or region.

    Raises:
        QualityTableError: if there is no such class, or no case has both.
    """
    known = class_labels(labels)
    if name not in known:
        raise QualityTableError(f"no class {name!r}. The classes are: {', '.join(known)}")
    return join_scores(quality, per_case[per_case["label"] == known[name]], name)


def _read(path: str | os.PathLike[str]) -> pd.DataFrame:
    if not Path(path).is_file():
        raise FileNotFoundError(f"No quality.csv at {path}. Write it with: nnunet_ext predict, and a lifted network")
    try:
        table = pd.read_csv(path, dtype={"case": str, "class": str}, keep_default_na=False, na_values={"quality": [""]})
        table = table.astype({"quality": float, "voxels": int})[["case", "class", "quality", "voxels"]]
    except (KeyError, ValueError, pd.errors.ParserError) as error:
        raise QualityTableError(f"{path} is not a quality.csv of nnunet_ext predict ({error}).") from error
    table["total"] = ~table["case"].duplicated()
    if not (table.loc[table["total"], "class"] == TOTAL).all():
        raise QualityTableError(
            f"{path} is not a quality.csv: a case's first row is not of {TOTAL!r}, over all classes"
        )
    return table


def join_scores(quality: pd.DataFrame, dice: pd.DataFrame, class_name: str | None = None) -> pd.DataFrame:
    """Put each case's quality beside its true Dice.

    Args:
        quality: as from `read_quality`.
        dice: columns `case` and `Dice`, a row a case: `summary.foreground_scores` for all classes, or the rows of one
            label of `summary.read_summary`.
        class_name: whose qualities to take; None: those over all classes.

    Returns:
        Columns `case`, `quality`, `Dice`, in the order of `quality`; cases with both only.

    Raises:
        QualityTableError: if no case has both, or one stands twice.
    """
    wanted = quality["total"] if class_name is None else (quality["class"] == class_name) & ~quality["total"]
    first, what = quality[wanted], "over all classes" if class_name is None else f"of class {class_name!r}"
    for table, name in ((first, f"a quality {what}"), (dice, "a Dice")):
        twice = table["case"][table["case"].duplicated()]
        if len(twice):
            raise QualityTableError(f"{len(twice)} cases ({twice.iloc[0]}, ...) have {name} more than once")
    joined = first.merge(dice[["case", "Dice"]], on="case", validate="one_to_one").dropna(subset=["quality", "Dice"])
    if joined.empty:
        raise QualityTableError(
            f"no case has a quality {what} and a true Dice: {len(first)} cases have a quality "
            f"({_some(first)}), {len(dice)} a Dice ({_some(dice)}). Are both of the same predictions?"
        )
    return joined[["case", "quality", "Dice"]].reset_index(drop=True)


def correlate(joined: pd.DataFrame, seed: int = 0) -> Correlation:
    """Correlate the columns `quality` and `Dice` over cases.

    Args:
        joined: as from `join_scores`.
        seed: of the bootstrap.

    Returns:
        Correlations are NaN for fewer than 3 cases, or if one of the two does not vary; intervals also, if more than
        5 % of the bootstrap's samples have no correlation.
    """
    quality, dice = joined["quality"].to_numpy(float), joined["Dice"].to_numpy(float)
    difference = float(np.abs(quality - dice).mean()) if len(joined) else math.nan
    why = _why_undefined(quality, dice)
    if why:
        nothing = Estimate(math.nan, math.nan, math.nan)
        return Correlation(len(joined), nothing, nothing, difference, why)
    chosen = np.random.default_rng(seed).integers(0, len(joined), (RESAMPLES, len(joined)))
    varies = (np.ptp(quality[chosen], axis=1) > 0) & (np.ptp(dice[chosen], axis=1) > 0)  # exact, unlike a variance
    constant = 1 - float(varies.mean())
    no_interval = ""
    if constant > MOST_CONSTANT:
        no_interval = f"in {constant:.1%} of the bootstrap's samples all cases have the same quality or Dice"
    used = chosen[varies] if not no_interval else chosen[:0]
    pearson, spearman = (_estimate(f, quality, dice, quality[used], dice[used]) for f in (_pearson, _spearman))
    return Correlation(len(joined), pearson, spearman, difference, no_interval=no_interval, constant=constant)


def _why_undefined(quality: np.ndarray, dice: np.ndarray) -> str:
    if len(quality) < LEAST_CASES:
        return f"{len(quality)} cases; a correlation needs at least {LEAST_CASES}"
    for name, values in (("quality", quality), ("Dice", dice)):
        if np.ptp(values) == 0:
            return f"every case has the same {name}, {values[0]:g}"
    return ""


def _estimate(
    statistic: Callable[..., np.ndarray],
    quality: np.ndarray,
    dice: np.ndarray,
    qualities: np.ndarray,
    dices: np.ndarray,
) -> Estimate:
    """Return a statistic of `(N,)`, and its interval of samples `(R, N)`, NaN without samples."""
    value = float(statistic(quality, dice))
    if not len(qualities):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(statistic(qualities, dices), [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _pearson(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    x, y = (v - v.mean(axis=axis, keepdims=True) for v in (x, y))
    return np.clip((x * y).sum(axis) / np.sqrt((x**2).sum(axis) * (y**2).sum(axis)), -1, 1)


def _spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    return _pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def _some(table: pd.DataFrame) -> str:
    names = list(table["case"][:3])
    return ", ".join(names + ["..."] * (len(table) > 3)) or "none"
