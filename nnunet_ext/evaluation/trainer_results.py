"""What a report on trainers computes from its material: tables, comparisons, quality scores, things to know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.evaluation import quality
from nnunet_ext.evaluation.case_scores import case_scores, higher_is_better
from nnunet_ext.evaluation.collect import Run
from nnunet_ext.evaluation.html_parts import Picture
from nnunet_ext.evaluation.statistics import check_comparable, compare_all
from nnunet_ext.evaluation.statistics.scores import some_cases
from nnunet_ext.evaluation.summary import foreground_scores
from nnunet_ext.evaluation.trainer_tables import Size, class_table, cost_table, group_table, score_table

QUALITY = "quality.csv"
SPREAD = ("nnunetv2", "nnunet-ext", "torch")  # versions whose difference between trainers is worth a word


@dataclass(frozen=True)
class Material:
    """What a report is made of.

    Attributes:
        dataset: its name.
        runs: finished folds that may be compared (`collected.collect`, `collected.common`).
        table: as from `long_table.long_table` of these runs, with `case_scores.with_metrics`.
        baseline: name of the trainer that the others are compared with.
        metric: the headline, one of `case_scores.METRICS`.
        classes: names by label as in summary.json; labels without a name are shown as they are.
        by: column of cases.csv to tell cases apart by, and its values by case; None without.
        sizes: of networks, by trainer.
        overlays: pictures of cases with captions, worst first.
        warnings: what was left out, or is not as it should be.
        notes: what else the reader must know before the numbers.
        about: heading -> text or list of texts: how the report was made.
    """

    dataset: str
    runs: Sequence[Run]
    table: pd.DataFrame
    baseline: str
    metric: str = "Dice"
    classes: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, Mapping[str, str]] | None = None
    sizes: Mapping[str, Size] = field(default_factory=dict)
    overlays: Sequence[Picture] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


class Results:
    """Everything that a report says in numbers; each is computed once, when it is asked for.

    Raises:
        ComparisonError: at construction, if the material's scores cannot be compared.
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        self.cases = case_scores(material.table, material.metric)
        check_comparable(self.cases)

    @property
    def trainers(self) -> list[str]:
        """The trainers' names, in order."""
        return list(dict.fromkeys(self.cases["trainer"]))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`trainer_tables.score_table`."""
        return score_table(self.material.table, self.material.metric)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """`trainer_tables.cost_table`."""
        return cost_table(self.material.runs, self.material.sizes)

    @cached_property
    def compared(self) -> pd.DataFrame | None:
        """`statistics.compare_all` with the baseline; None for a single trainer."""
        if len(self.trainers) < 2:
            return None
        better = higher_is_better(self.material.metric)
        return compare_all(self.cases, self.material.baseline, higher_is_better=better)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """`trainer_tables.class_table`."""
        return class_table(self.material.table, self.material.metric, self.material.classes)

    @cached_property
    def groups(self) -> pd.DataFrame | None:
        """`trainer_tables.group_table`; None without a column."""
        if self.material.by is None:
            return None
        name, values = self.material.by
        return group_table(self.material.table, self.material.metric, values, name)

    @cached_property
    def quality(self) -> pd.DataFrame:
        """Quality scores beside true Dice: `trainer`, `case`, `quality`, `Dice`; empty where no run has scores."""
        parts = [_quality(run) for run in self.material.runs]
        known = [part for part in parts if part is not None]
        return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=["trainer", "quality", "Dice"])

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """Whether quality scores tell the true Dice, a row a trainer that has some."""
        rows = [_correlation(str(name), part) for name, part in self.quality.groupby("trainer", sort=False)]
        return pd.DataFrame(rows)

    @cached_property
    def curves(self) -> tuple[dict[str, list[float]], dict[str, tuple[list[float], list[float]]]]:
        """Pseudo Dice of each epoch by trainer: the mean over folds, and the lowest and highest of them."""
        means, bands = {}, {}
        for name in self.trainers:
            found = [run.log.curve() for run in self.material.runs if run.name == name]
            length = max(map(len, found), default=0)
            if length:
                padded = np.array([[*curve, *[math.nan] * (length - len(curve))] for curve in found])
                low, mean, high = _of_columns(padded)
                means[name] = mean
                if len(found) > 1:
                    bands[name] = (low, high)
        return means, bands

    @cached_property
    def notes(self) -> list[str]:
        """What makes numbers less comparable than they look, a sentence each."""
        metric = self.material.metric
        undefined = [*_undefined(self.cases, metric), *_uneven(self.material.table, metric)]
        return [*self.material.notes, *undefined, *_budgets(self.material.runs, self.trainers)]


def _quality(run: Run) -> pd.DataFrame | None:
    path = run.validation / QUALITY
    if not Path(path).is_file():
        return None
    try:
        joined = quality.join_scores(quality.read_quality(path), foreground_scores(run.per_case))
    except quality.QualityTableError:
        return None
    return joined.assign(trainer=run.name)


def _correlation(name: str, joined: pd.DataFrame) -> dict[str, Any]:
    found = quality.correlate(joined)
    return {
        "trainer": name,
        "cases": found.n,
        **{
            title: _estimate(getattr(found, kind))
            for title, kind in (("Pearson (95 % interval)", "pearson"), ("Spearman (95 % interval)", "spearman"))
        },
        "mean |quality - Dice|": found.mean_absolute_difference,
        "remark": found.undefined or found.no_interval,
    }


def _estimate(estimate: quality.Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    bounds = "" if math.isnan(estimate.low) else f" ({estimate.low:.2f} to {estimate.high:.2f})"
    return f"{estimate.value:.2f}{bounds}"


def _of_columns(values: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    """Return lowest, mean and highest of each column, NaN where all are."""
    known = np.ma.masked_invalid(values)
    low, mean, high = (np.ma.filled(f(axis=0), np.nan).tolist() for f in (known.min, known.mean, known.max))
    return low, mean, high


def _undefined(cases: pd.DataFrame, metric: str) -> list[str]:
    """Name cases without a score: the class is in neither mask, or what the metric divides by is empty."""
    notes = []
    for name, rows in cases[cases["score"].isna()].groupby("trainer", sort=False):
        notes.append(f"{metric} is undefined (0 / 0) in {some_cases(rows['case'])} of {name}; its mean leaves them out")
    if notes:
        notes.append("A comparison leaves a case out of both trainers if it is undefined for one of them.")
    return notes


def _uneven(table: pd.DataFrame, metric: str) -> list[str]:
    """Name classes of cases that are scored for some trainers only, so that means are over different classes."""
    wide = table.pivot_table(index=["case", "label"], columns="trainer", values=metric, aggfunc="mean", dropna=False)
    some = wide[wide.isna().any(axis=1) & wide.notna().any(axis=1)]
    if some.empty:
        return []
    left_out = "; ".join(f"{name}: {int(some[name].isna().sum())}" for name in dict.fromkeys(table["trainer"]))
    return [
        f"{len(some)} of {len(wide)} classes of cases have a {metric} for some trainers only: where a class is absent, "
        f"one that predicts it all the same scores 0, one that does not is not scored. Not scored are {left_out}."
    ]


def _budgets(runs: Sequence[Run], trainers: Sequence[str]) -> list[str]:
    """Name what differs between trainings: epochs, iterations, devices, versions."""
    found = [(run.name, _facts(run)) for run in runs]
    notes = []
    for what in found[0][1]:
        by_value: dict[Any, list[str]] = {}
        for name in trainers:
            for value in dict.fromkeys(facts[what] for owner, facts in found if owner == name):
                if value is not None:
                    by_value.setdefault(value, []).append(name)
        if len(by_value) > 1:
            listed = ", ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
            notes.append(f"Trainings differ in {what}: {listed}.")
    return notes


def _facts(run: Run) -> dict[str, Any]:
    """Return what should be the same in all trainings; None where nothing tells."""
    versions = run.manifest.get("versions", {})
    return {
        "epochs": len(run.log.seconds) or None,
        "iterations an epoch": run.manifest.get("iterations_per_epoch"),
        "devices, so that times cannot be compared": run.manifest.get("device_name"),
        "threads, so that times cannot be compared": run.manifest.get("threads"),
        **{f"versions of {package}": versions.get(package) for package in SPREAD},
    }
