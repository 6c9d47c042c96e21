"""Scores of cases from nnU-Net's counts, as tables: every metric that needs no image, and one number a case.

A case's score is the mean over its classes. A class without a score (absent from reference and prediction, see
`metrics.undefined`) is left out of it; a case without any has none, and is counted.
"""

from __future__ import annotations

import pandas as pd

from nnunet_ext.evaluation.collect import ALL, CollectError
from nnunet_ext.evaluation.metrics.counts import Counts
from nnunet_ext.evaluation.metrics.registry import METRICS as REGISTRY
from nnunet_ext.evaluation.metrics.registry import Metric

FOLD_ALL = -1  # of the fold "all", where folds are numbers
METRICS: dict[str, Metric] = {  # by the names of columns; all are from 0 to 1
    "Dice": REGISTRY["dice"],
    "IoU": REGISTRY["jaccard"],
    "precision": REGISTRY["precision"],
    "recall": REGISTRY["recall"],
    "specificity": REGISTRY["specificity"],
    "F0.3": REGISTRY["f_beta03"],
    "E-measure": REGISTRY["e_measure"],
    "accuracy": REGISTRY["pixel_accuracy"],
    "MAE": REGISTRY["mae"],
}
MORE = {"conformity": REGISTRY["conformity"], "volume difference (%)": REGISTRY["rvd"]}  # without limits: files only


def higher_is_better(metric: str) -> bool:
    """Whether more of one of `METRICS` is better."""
    return METRICS[metric].better == "higher"


def metric_named(name: str) -> str:
    """Return the name of a metric as in `METRICS`; small letters, and names of the registry, are understood.

    Raises:
        CollectError: if there is none of that name.
    """
    known = {key: shown for shown, metric in METRICS.items() for key in (shown.lower(), metric.name)}
    found = known.get(name.lower())
    if found is None:
        raise CollectError(f"--metric {name}: not known. Those that follow from nnU-Net's counts: {', '.join(METRICS)}")
    return found


def with_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Add a column for each of `METRICS` and `MORE` to a table with TP, FP, FN and TN; Dice and IoU stay nnU-Net's."""
    of = Counts(*(table[name].to_numpy() for name in ("TP", "FP", "FN", "TN")))
    wanted = {name: metric for name, metric in (METRICS | MORE).items() if name not in table.columns}
    return table.assign(**{name: metric.compute(of) for name, metric in wanted.items()})


def case_scores(table: pd.DataFrame, metric: str = "Dice") -> pd.DataFrame:
    """Average the classes of each case.

    Args:
        table: as from `long_table.long_table`, with the column of the metric (`with_metrics`).
        metric: one of `METRICS`.

    Returns:
        Columns `trainer`, `fold` (int), `repeat`, `case`, `group`, `score` (NaN where no class has one): what
        `statistics` compares.
    """
    keys = ["trainer", "fold", "repeat", "case", "group"]
    scores = table.groupby(keys, sort=False)[metric].mean().rename("score").reset_index()
    scores["fold"] = scores["fold"].map(lambda fold: FOLD_ALL if fold == ALL else int(fold))
    return scores
