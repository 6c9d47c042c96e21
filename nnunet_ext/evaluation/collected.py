"""Finished folds of several models, read and checked, and those that all models have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_ext.evaluation.collect import ALL, CollectError, Model, Run, model_names, read_run
from nnunet_ext.evaluation.comparability import Problem, problems_of
from nnunet_ext.evaluation.summary import SummaryError

LISTED = 5  # commands


@dataclass(frozen=True)
class Collected:
    """Finished folds, and what is wrong with them.

    Attributes:
        runs: all that could be read.
        names: what the models are called, in order.
        folds: that were asked for, or that any model has.
        problems: why they cannot be compared as they are; empty if they can.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    folds: tuple[str, ...]
    problems: tuple[Problem, ...] = field(default=())


def collect(
    models: Sequence[Sequence[Model]],
    dataset: str,
    folds: Sequence[str] = (),
    splits: Sequence[Mapping[str, Any]] | None = None,
) -> Collected:
    """Read finished folds, and check that they can be compared.

    Args:
        models: of each results folder; a second folder holds a second training of the same models, and so on.
        dataset: as typed for nnU-Net's `-d`, for the commands in problems.
        folds: to read; none takes those with a number that any model has.
        splits: splits_final.json; None where it is not known.

    Raises:
        CollectError: if no fold is finished at all.
    """
    first = models[0]
    wanted = tuple(folds) or tuple(sorted({f for m in first for f in m.finished() if f != ALL}, key=int))
    if not any(fold in m.finished() for m in first for fold in wanted):
        raise CollectError(_nothing(first, wanted, dataset))
    runs: list[Run] = []
    problems: list[Problem] = []
    names = {m.folder.name: name for m, name in model_names(first).items()}
    for repeat, place in enumerate(models):
        for model in place:
            if model.folder.name in names:
                found, wrong = _read_model(names[model.folder.name], model, wanted, dataset, repeat)
                runs += found
                problems += wrong
    if runs:
        problems += problems_of(runs, splits)
    return Collected(tuple(runs), tuple(names.values()), wanted, tuple(problems))


def common(collected: Collected) -> Collected:
    """Return the folds that every model has without a problem; models that have none of them are left out.

    Raises:
        CollectError: if no fold is left.
    """
    bad = {run for problem in collected.problems for run in problem.runs}
    good = [run for run in collected.runs if run.key not in bad]
    by_name = {n: {run.fold for run in good if run.name == n} for n in collected.names}
    by_name = {name: found for name, found in by_name.items() if found}
    folds = [f for f in collected.folds if by_name and all(f in found for found in by_name.values())]
    if not folds:
        listed = "; ".join(f"{name}: {', '.join(sorted(found))}" for name, found in by_name.items()) or "none"
        raise CollectError(
            f"no fold is there for every trainer; usable are {listed}. Choose trainers with -tr, or folds with -f."
            + "".join(f"\n  {problem}" for problem in collected.problems)
        )
    kept = [run for run in good if run.fold in folds]
    return Collected(tuple(kept), tuple(by_name), tuple(folds), collected.problems)


def read_splits(path: Path) -> list[dict[str, Any]] | None:
    """Read splits_final.json; None if it is not there.

    Raises:
        CollectError: if it holds no folds.
    """
    if not path.is_file():
        return None
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        return [{"train": list(s["train"]), "val": list(map(str, s["val"]))} for s in splits]
    except (ValueError, KeyError, TypeError) as error:
        raise CollectError(f'{path} holds no folds of nnU-Net: [{{"train": [...], "val": [...]}}, ...]') from error


def _nothing(models: Sequence[Model], folds: Sequence[str], dataset: str) -> str:
    wanted = [(m, f) for m in models for f in (folds or [f for f in m.folds() if f != ALL] or ["0"])]
    lines = "".join(f"\n  {m.command(dataset, f)}" for m, f in wanted[:LISTED])
    which = f" of folds {', '.join(folds)}" if folds else ""
    return (
        f"no fold{which} is finished: there is no fold_N/validation/summary.json in {models[0].folder.parent}. "
        f"Type, for example:{lines}"
    )


def _read_model(
    name: str, model: Model, folds: Sequence[str], dataset: str, repeat: int
) -> tuple[list[Run], list[Problem]]:
    runs, problems, missing = [], [], []
    for fold in folds:
        if not model.summary(fold).is_file():
            missing.append(fold)
            continue
        try:
            runs.append(read_run(name, model, fold, repeat))
        except SummaryError as error:
            again = f"{model.command(dataset, fold)}"
            problems.append(Problem(str(error).rstrip("."), f"Type: {again}", ((name, fold, repeat),)))
    if missing and not (repeat and len(missing) == len(folds)):
        commands = "".join(f"\n    {model.command(dataset, fold)}" for fold in missing)
        text = f"{model.folder.name} lacks fold{'s' * (len(missing) > 1)} {', '.join(missing)}, which others have"
        lost = tuple((name, fold, repeat) for fold in missing)
        problems.insert(0, Problem(text, f"Type:{commands}", lost))
    return runs, problems
