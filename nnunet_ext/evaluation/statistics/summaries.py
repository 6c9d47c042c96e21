"""Mean and spread of each trainer's scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.statistics.bootstrap import mean_estimate
from nnunet_ext.evaluation.statistics.scores import check_scores


def summarise(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Summarise each trainer by itself; nothing is compared, so trainers may have different cases.

    A case's score is its mean over repeats. A case with an undefined score in any training is left out of everything
    but `undefined`.

    Args:
        table: scores, as `statistics.scores` says.
        seed: of the bootstrap.

    Returns:
        A row a trainer, in the order of `table`: `trainer`; `n` and `undefined` (cases), `groups`; `mean`, `sd` over
        cases; `low`, `high`, the mean's 95 % bootstrap interval over groups; `folds`; `mean_folds` and `sd_folds` of
        the folds' means; `repeats`, the trainings that every fold has at least; `sd_repeats`, of the mean of a fold
        from one training to another, pooled over folds. Standard deviations divide by one less than the count. NaN
        where there is too little for a number.

    Raises:
        ComparisonError: as `check_scores`.
    """
    checked = check_scores(table)
    order = dict.fromkeys(table["trainer"].astype(str))
    return pd.DataFrame([_row(name, checked[checked["trainer"] == name], seed) for name in order])


def _row(trainer: str, rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    undefined = set(rows.loc[rows["score"].isna(), "case"])
    kept = rows[~rows["case"].isin(undefined)]
    cases = kept.groupby("case").agg(score=("score", "mean"), fold=("fold", "first"), group=("group", "first"))
    counted = {"trainer": trainer, "n": len(cases), "undefined": len(undefined), "groups": cases["group"].nunique()}
    if cases.empty:
        names = ("mean", "sd", "low", "high", "mean_folds", "sd_folds", "sd_repeats")
        return counted | dict.fromkeys(names, np.nan) | {"folds": 0, "repeats": 0}
    mean = mean_estimate(cases["score"].to_numpy(), pd.factorize(cases["group"])[0], seed)
    folds = cases.groupby("fold")["score"].mean()
    runs = kept.groupby(["fold", "repeat"])["score"].mean().groupby("fold").agg(["var", "count"])
    return counted | {
        "mean": mean.value,
        "sd": cases["score"].std(),
        "low": mean.low,
        "high": mean.high,
        "folds": len(folds),
        "mean_folds": folds.mean(),
        "sd_folds": folds.std(),
        "repeats": int(runs["count"].min()),
        "sd_repeats": _pooled(runs["var"].to_numpy(), runs["count"].to_numpy() - 1),
    }


def _pooled(variances: np.ndarray, degrees: np.ndarray) -> float:
    several = degrees > 0
    if not several.any():
        return np.nan
    return float(np.sqrt((variances[several] * degrees[several]).sum() / degrees.sum()))
