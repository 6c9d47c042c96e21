"""Predictions in one folder against references in another: `evaluate_folders`, what `nnunet_ext evaluate` does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.case import CaseScores, Rules, labels_in, score_case
from nnunet_ext.evaluation.choosing import DEFAULT, chosen_metrics
from nnunet_ext.evaluation.classes import Classes, classes_found, classes_from_flags, classes_of
from nnunet_ext.evaluation.evaluation_files import Evaluation
from nnunet_ext.evaluation.label_maps import reader_for, unit_of
from nnunet_ext.evaluation.metrics.registry import METRICS
from nnunet_ext.evaluation.pairs import Pair, file_ending, find_dataset_json, pair_files
from nnunet_ext.evaluation.problems import EvaluationError, Problem, grouped
from nnunet_ext.evaluation.summarising import summarised
from nnunet_ext.parallel import Progress, in_order

StrPath = str | os.PathLike[str]


def evaluate_folders(
    references: StrPath,
    predictions: StrPath,
    *,
    dataset_json: StrPath | None = None,
    metrics: Sequence[str] = DEFAULT,
    labels: Sequence[str] = (),
    ignore: int | None = None,
    spacing: Sequence[float] | None = None,
    probabilities: bool = False,
    cases: StrPath | None = None,
    by: Sequence[str] = (),
    chill: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """Score all predictions that have a reference of the same file name.

    Args:
        references, predictions: folders of label maps in a format that nnU-Net reads.
        dataset_json: what the labels are; None for the file beside the predictions, or beside or above the references.
            Without any, every label of the references is a class.
        metrics: names of `metrics.registry.METRICS`, or "counts", "distances", "probabilities", "all".
        labels: classes in the place of dataset.json's, as "polyp=1", "whole=1,2".
        ignore: label of the references that is left out; None for that of dataset.json.
        spacing: size of a pixel along each axis in mm; None for the files' own (pictures: 1 pixel).
        probabilities: read `CASE.npz` beside each prediction, for metrics that need it.
        cases: table with a row a case, such as cases.csv of `nnunet_ext convert`.
        by: its columns for whose values there are averages; without `cases`, cases.csv above the references is read.
        chill: leave references without a prediction out.
        workers: number of processes.
        progress: called with (verb, cases done, cases in all).

    Returns:
        Scores of the cases that could be read, and what was wrong with the others in `problems`.

    Raises `EvaluationError` if nothing can be scored, `FileNotFoundError` for a missing dataset.json or table.
    """
    references, predictions = Path(references), Path(predictions)
    names = chosen_metrics(metrics, probabilities)
    dataset = find_dataset_json(dataset_json, predictions, references, references.parent)
    ending = file_ending(dataset, references)
    pairs, problems = pair_files(references, predictions, ending, chill)
    if not pairs:
        raise _nothing(problems)
    reader = reader_for(ending, dataset, pairs[0].reference)
    run = partial(_run, workers=workers, progress=progress, volumes=unit_of(reader) == "mm")
    classes = _classes(dataset, labels, ignore, partial(run, partial(labels_in, reader), pairs, verb="looked at"))
    more = tuple(name for name in names if METRICS[name].needs != "counts")
    rules = Rules(classes, reader, more, None if spacing is None else tuple(spacing), probabilities)
    per_case, confusion, refused = _gathered(classes, run(partial(score_case, rules), pairs, verb="evaluated"))
    problems += refused
    if per_case.empty:
        raise _nothing(problems)
    table = cases if cases is not None or not by else references.parent / "cases.csv"
    about = {
        "references": str(references), "predictions": str(predictions), "n_cases": len(pairs) + len(problems) - len(refused),
    }  # fmt: skip
    length = "mm" if spacing is not None else unit_of(reader)
    return summarised(per_case, names, classes, confusion, problems, table, by, length, about)
