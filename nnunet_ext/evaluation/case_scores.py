"""Scores of cases from nnU-Net's counts, as tables: every metric that needs no image, and one number a case.

A case's score is the mean over its classes. A class without a score (absent from reference and prediction, see
`metrics.undefined`) is left out of it; a case without any has none, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.collect import ALL, CollectError
from nnunet_ext.evaluation.metrics import counts
from nnunet_ext.evaluation.metrics.counts import Counts

FOLD_ALL = -1  # of the fold "all", where folds are numbers


@dataclass(frozen=True)
class Metric:
    """A score that counts give.

    Attributes:
        of: the function of `metrics.counts`.
        higher_is_better: whether more is better.
        limits: smallest and largest value.
    """

    of: Callable[[Counts], Any]
    higher_is_better: bool = True
    limits: tuple[float, float] = (0.0, 1.0)


def f03(c: Counts) -> Any:
    """Return F_beta for beta squared 0.3."""
    return counts.f_beta(c, 0.3)


METRICS = {
    "Dice": Metric(counts.dice),
    "IoU": Metric(counts.jaccard),
    "precision": Metric(counts.precision),
    "recall": Metric(counts.recall),
    "specificity": Metric(counts.specificity),
    "F0.3": Metric(f03),
    "accuracy": Metric(counts.pixel_accuracy),
    "MAE": Metric(counts.mean_absolute_error, higher_is_better=False),
}


def metric_named(name: str) -> str:
    """Return the name of a metric as in `METRICS`, whatever its case.

    Raises:
        CollectError: if there is none of that name.
    """
    found = {known.lower(): known for known in METRICS}.get(name.lower())
    if found is None:
        raise CollectError(f"--metric {name}: not known. Those that follow from nnU-Net's counts: {', '.join(METRICS)}")
    return found


def with_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Add a column for each of `METRICS` to a table with the columns TP, FP, FN and TN; Dice and IoU stay nnU-Net's."""
    of = Counts(*(table[name].to_numpy() for name in ("TP", "FP", "FN", "TN")))
    added = {name: metric.of(of) for name, metric in METRICS.items() if name not in table.columns}
    return table.assign(**added)


def case_scores(table: pd.DataFrame, metric: str = "Dice") -> pd.DataFrame:
    """Average the classes of each case.

    Args:
        table: as from `collect.long_table`, with the column of the metric (`with_metrics`).
        metric: one of `METRICS`.

    Returns:
        Columns `trainer`, `fold` (int), `repeat`, `case`, `group`, `score` (NaN where no class has one): what
        `statistics` compares.
    """
    keys = ["trainer", "fold", "repeat", "case", "group"]
    scores = table.groupby(keys, sort=False)[metric].mean().rename("score").reset_index()
    scores["fold"] = scores["fold"].map(lambda fold: FOLD_ALL if fold == ALL else int(fold))
    return scores
