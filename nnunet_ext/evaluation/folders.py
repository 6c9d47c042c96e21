"""Predictions in one folder against references in another: `evaluate_folders`, what `nnunet_ext evaluate` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from nnunet_ext.evaluation.averages import COUNTS
from nnunet_ext.evaluation.case import CaseScores, Rules, labels_in, score_case
from nnunet_ext.evaluation.choosing import DEFAULT, chosen_metrics
from nnunet_ext.evaluation.classes import Classes, classes_found, classes_from_flags, classes_of
from nnunet_ext.evaluation.evaluation_files import Evaluation
from nnunet_ext.evaluation.label_maps import reader_for, unit_of
from nnunet_ext.evaluation.metrics.registry import METRICS
from nnunet_ext.evaluation.pairs import Pair, file_ending, find_dataset_json, pair_files
from nnunet_ext.evaluation.problems import EvaluationError, Problem, grouped
from nnunet_ext.evaluation.summarising import About, summarised
from nnunet_ext.parallel import Progress, WorkerError, in_order

StrPath = str | os.PathLike[str]
Result = TypeVar("Result")


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

    Raises `EvaluationError` if nothing can be scored, or what the arguments name does not exist.
    """
    names = chosen_metrics(metrics, probabilities)
    found = _find(Path(references), Path(predictions), dataset_json, chill)
    run = partial(_run, found, workers=workers, progress=progress)
    classes = _classes(found.dataset, labels, ignore, partial(run, partial(labels_in, found.reader), verb="looked at"))
    more = tuple(name for name in names if METRICS[name].needs != "counts")
    rules = Rules(classes, found.reader, more, None if spacing is None else tuple(spacing), probabilities)
    per_case, confusion, refused = _gathered(classes, more, run(partial(score_case, rules), verb="evaluated"))
    problems = (*found.problems, *refused)
    if per_case.empty:
        raise _nothing(problems)
    table = Path(references).parent / "cases.csv" if by and cases is None else cases
    sources = {"references": str(references), "predictions": str(predictions)}
    length = unit_of(found.reader) if spacing is None else "mm"
    about = About(sources, len(found.pairs) + len(found.problems), length, confusion, problems)
    return summarised(per_case, names, classes, about, table, by)


class _Files(NamedTuple):
    pairs: list[Pair]
    problems: list[Problem]
    dataset: dict[str, Any]
    reader: type


def _find(references: Path, predictions: Path, dataset_json: StrPath | None, chill: bool) -> _Files:
    dataset = find_dataset_json(dataset_json, predictions, references, references.parent)
    ending = file_ending(dataset, references)
    pairs, problems = pair_files(references, predictions, ending, chill)
    if not pairs:
        raise _nothing(problems)
    return _Files(pairs, problems, dataset, reader_for(ending, dataset, pairs[0].reference))


def _run(
    files: _Files, function: Callable[[Pair], Result], verb: str, *, workers: int, progress: Progress | None
) -> Iterator[Result]:
    """Yield the function of each pair in order; volumes are worth a process each."""
    amounts = {} if unit_of(files.reader) == "px" else {"fewest": 2, "at_a_time": 1}
    try:
        yield from in_order(function, files.pairs, workers, verb, progress, **amounts)
    except WorkerError as error:
        raise EvaluationError("a process was killed, probably because memory ran out: try fewer with -np") from error


def _classes(
    dataset: dict[str, Any], labels: Sequence[str], ignore: int | None, found: Callable[[], Iterator[tuple[int, ...]]]
) -> Classes:
    if labels:
        return classes_from_flags(labels, ignore, dataset.get("labels"))
    if dataset:
        return classes_of(dataset["labels"] if ignore is None else {**dataset["labels"], "ignore": ignore})
    return classes_found(set().union(*found()), ignore)


def _gathered(
    classes: Classes, metrics: Sequence[str], results: Iterable[CaseScores]
) -> tuple[pd.DataFrame, npt.NDArray[np.int64], list[Problem]]:
    """Return a row a case and class, the confusion of all cases, and what was wrong."""
    good: list[CaseScores] = []
    problems = []
    confusion = np.zeros((len(classes.known),) * 2, np.int64)
    for result in results:
        if result.problem is not None:
            problems.append(result.problem)
            continue
        confusion += result.confusion
        good.append(replace(result, confusion=confusion))  # one matrix, however many cases there are
    k = len(classes.members)
    columns: dict[str, Any] = {
        "case": [result.case for result in good for _ in range(k)],
        "label": [*classes.keys.values()] * len(good),
        "class": [*classes.keys] * len(good),
        "diagonal": np.repeat([result.diagonal for result in good], k),
    }
    for names, tables in ((COUNTS, [r.counts for r in good]), (metrics, [r.scores for r in good])):
        values = np.concatenate(tables) if tables else np.zeros((0, len(names)))
        columns |= {name: values[:, index] for index, name in enumerate(names)}
    return pd.DataFrame(columns), confusion, problems


def _nothing(problems: Sequence[Problem]) -> EvaluationError:
    return EvaluationError("\n".join(["no case can be evaluated:", *grouped(problems)]))
