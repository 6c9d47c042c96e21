"""Finished folds of several models, read and checked, and those that all models have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_ext.evaluation.collect import ALL, CollectError, Model, Run, read_run
from nnunet_ext.evaluation.comparability import LISTED, Problem, name_of, problems_of
from nnunet_ext.evaluation.summary import SummaryError


@dataclass(frozen=True)
class Collected:
    """Finished folds, and what is wrong with them.

    Attributes:
        runs: all that could be read.
        names: what each model is called.
        folds: that were asked for, or that any model has.
        problems: why they cannot be compared as they are; empty if they can.
    """

    runs: tuple[Run, ...]
    names: Mapping[Model, str]
    folds: tuple[str, ...]
    problems: tuple[Problem, ...] = field(default=())


def collect(
    models: Sequence[Sequence[Model]],
    names: Mapping[Model, str],
    dataset: str,
    folds: Sequence[str] = (),
    splits: Sequence[Mapping[str, Any]] | None = None,
) -> Collected:
    """Read finished folds, and check that they can be compared.

    Args:
        models: of each results folder; a second folder holds a second training of the same models, and so on.
        names: what each model of the first folder is called.
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
    same = {(m.trainer, m.plans, m.configuration): m for m in first}
    for repeat, place in enumerate(models):
        for model in place:
            found, wrong = _read_model(model, wanted, dataset, repeat)
            own = same.get((model.trainer, model.plans, model.configuration))
            if own is not None:
                runs += found
                problems += wrong
    if runs:
        problems += problems_of(runs, names, splits)
    return Collected(tuple(runs), names, wanted, tuple(problems))


def common(collected: Collected) -> Collected:
    """Return the folds that every model has without a problem; models that have none of them are left out.

    Raises:
        CollectError: if no fold is left.
    """
    bad = {run for problem in collected.problems for run in problem.runs}
    good = [r for r in collected.runs if (r.model, r.fold, r.repeat) not in bad]
    by_name: dict[str, dict[str, set[int]]] = {}
    for run in good:
        by_name.setdefault(name_of(run.model, collected.names), {}).setdefault(run.fold, set()).add(run.repeat)
    folds = [f for f in collected.folds if all(f in found for found in by_name.values())]
    if not folds:
        listed = "; ".join(f"{name}: {', '.join(found)}" for name, found in by_name.items()) or "none"
        raise CollectError(
            f"no fold is there for every trainer; usable folds are {listed}. Choose trainers with -tr, or folds with -f."
            + "".join(f"\n  {problem}" for problem in collected.problems)
        )
    kept = [r for r in good if r.fold in folds]
    used = {r.model for r in kept}
    names = {m: n for m, n in collected.names.items() if m in used or n in by_name}
    return Collected(tuple(kept), names, tuple(folds), collected.problems)


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


def _read_model(model: Model, folds: Sequence[str], dataset: str, repeat: int) -> tuple[list[Run], list[Problem]]:
    runs, problems, missing = [], [], []
    for fold in folds:
        if not model.summary(fold).is_file():
            missing.append(fold)
            continue
        try:
            runs.append(read_run(model, fold, repeat))
        except SummaryError as error:
            again = f"{model.command(dataset, fold)}"
            problems.append(Problem(str(error).rstrip("."), f"Type: {again}", ((model, fold, repeat),)))
    if missing and not (repeat and len(missing) == len(folds)):
        commands = "".join(f"\n    {model.command(dataset, fold)}" for fold in missing)
        text = f"{model.folder.name} lacks fold{'s' * (len(missing) > 1)} {', '.join(missing)}, which others have"
        lost = tuple((model, fold, repeat) for fold in missing)
        problems.insert(0, Problem(text, f"Type:{commands}", lost))
    return runs, problems
