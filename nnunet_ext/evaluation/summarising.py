"""From scores of cases to an evaluation: metrics of counts, the table of cases, averages, groups, the confusion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nnunet_ext import __version__
from nnunet_ext.evaluation.averages import (
    POLICY,
    add_count_metrics,
    class_averages,
    group_table,
    is_length,
    mean_over_classes,
)
from nnunet_ext.evaluation.case_table import join_case_table, read_case_table
from nnunet_ext.evaluation.classes import Classes
from nnunet_ext.evaluation.evaluation_files import WRITER, Evaluation
from nnunet_ext.evaluation.metrics import confusion as of_confusion
from nnunet_ext.evaluation.metrics.registry import METRICS
from nnunet_ext.evaluation.problems import Problem


@dataclass(frozen=True, eq=False)
class About:
    """What is known beside the rows of cases.

    Attributes:
        sources: what was compared, for summary.json.
        n_cases: how many cases there should be.
        length: unit of distances, "px" or "mm".
        confusion: `(labels, labels)` over all cases, None if it is not known.
        problems: what was wrong so far.
    """

    sources: Mapping[str, str]
    n_cases: int
    length: str
    confusion: npt.NDArray[np.int64] | None
    problems: tuple[Problem, ...]


def summarised(
    per_case: pd.DataFrame,
    metrics: Sequence[str],
    classes: Classes | None,
    about: About,
    table: str | os.PathLike[str] | None,
    by: Sequence[str],
) -> Evaluation:
    """Put an evaluation together.

    Args:
        per_case: a row a case and class with `case`, `label`, `class`, TP, FP, FN, TN, and metrics that need more.
        metrics: all names, in the order of the columns.
        classes: what was scored, None if only the rows know.
        about: the rest.
        table: file to join by case, or None.
        by: its columns for groups.
    """
    problems = list(about.problems)
    per_case = _ordered(add_count_metrics(per_case, metrics), metrics)
    if table is not None:
        per_case, missing = join_case_table(per_case, read_case_table(table, by), table)
        problems += missing
    matrix = about.confusion if classes is not None and len(classes.known) > 2 else None
    averages = class_averages(per_case, metrics)
    cases = {"evaluated": int(per_case["case"].nunique()), "of": about.n_cases, "problems": len(problems)}
    summary: dict[str, Any] = {
        "written_by": WRITER,
        "version": __version__,
        **about.sources,
        "cases": cases,
        "policy": POLICY,
        "metrics": {name: _described(name, about.length) for name in metrics},
        "mean_over_classes": mean_over_classes(averages, metrics),
        "classes": averages,
        "problems": [vars(problem) for problem in problems],
    }
    if matrix is not None:
        summary["dataset"] = dataset_scores(matrix)
    groups = group_table(per_case, by, metrics) if by else None
    return Evaluation(per_case, summary, groups, _named(matrix, classes), tuple(problems))


def dataset_scores(matrix: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Score the confusion of all labels over all cases, background among them; `n_labels` occur somewhere."""
    iou, accuracy = of_confusion.mean_iou(matrix), of_confusion.mean_accuracy(matrix)
    return {
        "mean_iou": iou.value,
        "mean_accuracy": accuracy.value,
        "pixel_accuracy": of_confusion.pixel_accuracy_of_classes(matrix),
        "n_labels": iou.n_defined,
        "n_labels_undefined": iou.n_undefined,
    }


def _ordered(per_case: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    last = ["diagonal"] if any(is_length(name) for name in metrics) else []
    return per_case[["case", "label", "class", "TP", "FP", "FN", "TN", *metrics, *last]]


def _described(name: str, length: str) -> dict[str, str]:
    metric = METRICS[name]
    return {"title": metric.title, "unit": metric.unit_with(length), "better": metric.better}


def _named(matrix: npt.NDArray[np.int64] | None, classes: Classes | None) -> pd.DataFrame | None:
    if matrix is None or classes is None:
        return None
    names = [classes.names[label] for label in classes.known]
    return pd.DataFrame(matrix, index=pd.Index(names, name="reference"), columns=names)
