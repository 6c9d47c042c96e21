"""The tables of a comparison of trainers: scores, costs, differences from a baseline, classes and groups of cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.case_scores import case_scores
from nnunet_ext.evaluation.collect import Run
from nnunet_ext.evaluation.statistics import summarise

NOTHING = "-"
SHOWN = ("Dice", "IoU", "precision", "recall", "specificity", "F0.3", "E-measure", "MAE")


@dataclass(frozen=True)
class Size:
    """What a network is, at its plan's patch size: parameters, multiply-accumulates of one patch; NaN if not known."""

    parameters: float = math.nan
    macs: float = math.nan
    patch: str = ""


def score_table(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a row a trainer: the headline metric with its spread, and the means of the others over the same cases.

    Args:
        table: as from `long_table.long_table`, `with_metrics`.
        metric: the headline, one of `case_scores.METRICS`.
    """
    found = summarise(case_scores(table, metric)).set_index("trainer", drop=False)
    shown = pd.DataFrame(
        {
            "trainer": found["trainer"],
            f"{metric}, mean": found["mean"],
            "95 % interval": [interval(*pair) for pair in zip(found["low"], found["high"], strict=True)],
            "sd over cases": found["sd"],
            "sd over folds": found["sd_folds"],
            "sd over repeats": found["sd_repeats"],
            "cases": found["n"],
            "undefined": found["undefined"],
        }
    )
    for name, column in (("sd over folds", "sd_folds"), ("sd over repeats", "sd_repeats")):
        if found[column].isna().all():
            shown = shown.drop(columns=name)
    for other in (name for name in SHOWN if name != metric):
        shown[other] = summary_means(table, other)
    return shown.reset_index(drop=True)


def summary_means(table: pd.DataFrame, metric: str) -> pd.Series:
    """Return each trainer's mean of a metric over its cases, by trainer; undefined cases are left out."""
    scores = case_scores(table, metric).groupby(["trainer", "case"], sort=False)["score"].mean()
    return scores.groupby("trainer", sort=False).mean()


def cost_table(runs: Sequence[Run], sizes: Mapping[str, Size]) -> pd.DataFrame:
    """Return a row a trainer: what its network and its training cost; "-" where nothing tells.

    Args:
        runs: of all trainers.
        sizes: of the networks, by trainer.
    """
    names = list(dict.fromkeys(run.name for run in runs))
    return pd.DataFrame([_costs(name, [r for r in runs if r.name == name], sizes.get(name, Size())) for name in names])


def difference_table(compared: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of `statistics.compare_all` as a reader wants them; p-values are adjusted with Holm's method."""
    rows = compared
    return pd.DataFrame(
        {
            "trainer": rows["a"],
            f"difference in {metric}": [signed(v) for v in rows["difference"]],
            "95 % interval over cases": [interval(*p, sign=True) for p in zip(rows["low"], rows["high"], strict=True)],
            "better / equal / worse cases": [
                f"{b} / {e} / {w}" for b, e, w in zip(rows["better"], rows["equal"], rows["worse"], strict=True)
            ],
            "left out": rows["left_out"],
            "effect size dz": [signed(v, 2) for v in rows["dz"]],
            "p of methods": [p_value(p) for p in rows["p_holm"]],
            "p of these networks, Wilcoxon": [p_value(p) for p in rows["p_wilcoxon_holm"]],
            "paired t": [p_value(p) for p in rows["p_paired_t_holm"]],
        }
    )


def class_table(table: pd.DataFrame, metric: str, classes: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each class and trainer: mean and sd over cases, and in how many it is undefined.

    Args:
        table: as for `score_table`.
        metric: one of `case_scores.METRICS`.
        classes: names by label as in summary.json.
    """
    rows = []
    for (label, trainer), part in table.groupby(["label", "trainer"], sort=False):
        scores = part.groupby("case")[metric].mean()
        rows.append(
            {
                "class": classes.get(str(label), str(label)),
                "trainer": trainer,
                f"{metric}, mean": scores.mean(),
                "sd over cases": scores.std(),
                "IoU, mean" if metric != "IoU" else "Dice, mean": part["IoU" if metric != "IoU" else "Dice"].mean(),
                "cases": int(scores.notna().sum()),
                "undefined": int(scores.isna().sum()),
            }
        )
    return pd.DataFrame(rows).sort_values("class", kind="stable", ignore_index=True)


def group_table(table: pd.DataFrame, metric: str, values: Mapping[str, str], by: str) -> pd.DataFrame:
    """Return a row for each value of a column of cases.csv and each trainer, with the mean's interval over groups.

    Args:
        table: as for `score_table`.
        metric: one of `case_scores.METRICS`.
        values: of the column, by case.
        by: the column's name.
    """
    scores = case_scores(table, metric)
    scores["value"] = scores["case"].map(values).fillna("").replace("", "(none)")
    parts = [summarise(part.drop(columns="value")).assign(value=value) for value, part in scores.groupby("value")]
    found = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(
        {
            by: found["value"],
            "trainer": found["trainer"],
            f"{metric}, mean": found["mean"],
            "low": found["low"],
            "high": found["high"],
            "sd over cases": found["sd"],
            "cases": found["n"],
            "undefined": found["undefined"],
        }
    )


def interval(low: float, high: float, sign: bool = False) -> str:
    """Return two numbers as text, "-" if they are not known."""
    form = signed if sign else "{:.3f}".format
    return NOTHING if math.isnan(low) or math.isnan(high) else f"{form(low)} to {form(high)}"


def signed(value: float, decimals: int = 3) -> str:
    """Return a number with its sign, "-" if it is not known."""
    return NOTHING if math.isnan(value) else f"{value:+.{decimals}f}"


def p_value(p: float) -> str:
    """Return a p-value as text: two digits, "< 0.001", or "-" where there was no test."""
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if math.isnan(seconds):
        return NOTHING
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _costs(name: str, runs: Sequence[Run], size: Size) -> dict[str, Any]:
    parameters = size.parameters
    if math.isnan(parameters):
        parameters = _largest(run.manifest.get("parameters") for run in runs)
    training = [_training_seconds(run) for run in runs]
    epochs = sorted({len(run.log.seconds) for run in runs if run.log.seconds})
    iterations = sorted({int(n) for run in runs if (n := run.manifest.get("iterations_per_epoch"))})
    return {
        "trainer": name,
        "parameters": NOTHING if math.isnan(parameters) else f"{int(parameters):,}",
        "GMACs a patch": NOTHING if math.isnan(size.macs) else f"{size.macs / 1e9:,.2f}",
        "patch": size.patch or NOTHING,
        "epochs": _listed(epochs),
        "iterations an epoch": _listed(iterations),
        "training a fold": duration(_mean(training)),
        "validation, s/case": _seconds(_seconds_a_case(runs)),
        "peak memory, training": _memory(runs, "training"),
        "peak memory, validation": _memory(runs, "validation"),
    }


def _training_seconds(run: Run) -> float:
    """Prefer the log, which all trainers write alike, to the manifest of ours."""
    found = run.log.training_seconds
    return found if not math.isnan(found) else float(run.manifest.get("training", {}).get("seconds", math.nan))


def _seconds_a_case(runs: Sequence[Run]) -> float:
    seconds = [run.log.validation_seconds / len(run.cases) for run in runs]
    told = [float(run.manifest.get("validation", {}).get("seconds_per_case", math.nan)) for run in runs]
    return _mean([b if math.isnan(a) else a for a, b in zip(seconds, told, strict=True)])


def _memory(runs: Sequence[Run], part: str) -> str:
    found = [run.manifest.get(part, {}) for run in runs]
    largest = _largest(f.get("peak_memory_bytes") for f in found)
    kinds = ", ".join(dict.fromkeys(str(f["peak_memory_of"]) for f in found if f.get("peak_memory_of")))
    return NOTHING if math.isnan(largest) else f"{largest / 2**20:,.0f} MiB ({kinds})"


def _largest(values: Any) -> float:
    return max((float(v) for v in values if v is not None), default=math.nan)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def _seconds(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) or NOTHING
