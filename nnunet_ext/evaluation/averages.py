"""Means over cases, classes and groups, each with how many values it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.metrics.counts import Counts
from nnunet_ext.evaluation.metrics.registry import METRICS

COUNTS = ["TP", "FP", "FN", "TN"]
POLICY = {
    "undefined": "A score that is 0/0 has no value (nan): for Dice and most others, the class is absent from reference "
    "and prediction; for precision, recall and specificity, from the one that it divides by. As in nnU-Net, mean, sd "
    "and median leave these cases out; n_undefined counts them.",
    "infinite": "A distance is infinite if the class is absent from either reference or prediction; conformity is if "
    "nothing is hit. mean, sd and median leave these cases out; n_infinite counts them. mean_penalised takes the "
    "image's diagonal for an infinite distance: compare methods by it where their n_infinite differ.",
    "mean": "Over cases, of each class; sd with n - 1. The mean over classes is that of the classes' means.",
    "pooled": "From TP, FP, FN and TN summed over all cases: every pixel weighs the same.",
    "ignore": "Pixels that the reference ignores are not counted. For distances and probabilities they are background "
    "in both.",
}


def add_count_metrics(per_case: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the table with a column for each metric that follows from the columns TP, FP, FN and TN."""
    counts = counts_of(per_case)
    return per_case.assign(**{name: METRICS[name].compute(counts) for name in metrics if of_counts(name)})


def counts_of(rows: pd.DataFrame) -> Counts:
    """Return the columns TP, FP, FN and TN as arrays."""
    return Counts(*(rows[column].to_numpy() for column in COUNTS))


def of_counts(name: str) -> bool:
    """Return whether a metric follows from counts alone."""
    return METRICS[name].needs == "counts"


def is_length(name: str) -> bool:
    """Return whether a metric is a distance in pixels or mm, for which an image's diagonal can stand."""
    return METRICS[name].unit == "px" and not METRICS[name].paper


def statistics(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """Average one metric over cases: mean, sd, median of finite values, n of these, n_undefined, n_infinite.

    Distances have `mean_penalised`, too, with the column `diagonal` for infinite ones; metrics of counts `pooled`.
    """
    values = rows[name].to_numpy(float)
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {
        "mean": float(finite.mean()) if len(finite) else np.nan,
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else np.nan,
        "median": float(np.median(finite)) if len(finite) else np.nan,
        "n": len(finite),
        "n_undefined": int(np.isnan(values).sum()),
        "n_infinite": int(np.isinf(values).sum()),
    }
    if is_length(name):
        penalised = np.where(np.isinf(values), rows["diagonal"], values)
        defined = penalised[~np.isnan(penalised)]
        found["mean_penalised"] = float(defined.mean()) if len(defined) else np.nan
    if of_counts(name):
        found["pooled"] = float(METRICS[name].compute(counts_of(rows).total()))
    return found


def class_averages(per_case: pd.DataFrame, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Average each class over its cases: class -> label, n_cases, TP, FP, FN, TN and `metrics`, as `statistics`."""
    found = {}
    for name, rows in per_case.groupby("class", sort=False):
        counts = {column: int(rows[column].sum()) for column in COUNTS}
        averages = {metric: statistics(rows, metric) for metric in metrics}
        found[str(name)] = {"label": rows["label"].iloc[0], "n_cases": len(rows), **counts, "metrics": averages}
    return found


def mean_over_classes(classes: dict[str, dict[str, Any]], metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Average the classes' means, pooled and penalised values: metric -> these, and how many classes had a mean."""
    found: dict[str, dict[str, Any]] = {}
    for name in metrics:
        of = [entry["metrics"][name] for entry in classes.values()]
        found[name] = {"mean": _mean([e["mean"] for e in of]), "n_classes": sum(e["n"] > 0 for e in of)}
        found[name] |= {key: sum(e[key] for e in of) for key in ("n_undefined", "n_infinite")}
        for key in ("mean_penalised", "pooled"):
            if of and key in of[0]:
                found[name][key] = _mean([e[key] for e in of])
    return found


def group_table(per_case: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Average each class over the cases of each group.

    Returns:
        Columns `by` (which column of cases.csv), `group` (its value, "" if not known), `label`, `class`, `n_cases`,
        and for each metric `NAME_mean` (over cases: macro), `NAME_sd`, `NAME_n`, `NAME_undefined`, `NAME_infinite`,
        and where there are such `NAME_penalised` and `NAME_pooled` (micro).
    """
    names = {"n_undefined": "undefined", "n_infinite": "infinite", "mean_penalised": "penalised"}
    rows = []
    for column in by:
        for (value, name), part in per_case.groupby([column, "class"], sort=False):
            row = {"by": column, "group": value, "label": part["label"].iloc[0], "class": name, "n_cases": len(part)}
            for metric in metrics:
                found = statistics(part, metric)
                row |= {f"{metric}_{names.get(key, key)}": found[key] for key in found if key != "median"}
            rows.append(row)
    return pd.DataFrame(rows).sort_values(["by", "group"], kind="stable", ignore_index=True)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
