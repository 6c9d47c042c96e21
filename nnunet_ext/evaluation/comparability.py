"""Whether finished folds may be compared: the same cases, the same splits, whole files, numbers that are numbers.

What is wrong is a `Problem`, with what to type next; nothing is left out without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from nnunet_ext.evaluation.collect import ALL, Model, Run

LISTED = 5  # cases in a line
TOLERANCE = 1e-6  # between a score in a file and the one that its counts give


@dataclass(frozen=True)
class Problem:
    """Something that keeps folds from being compared.

    Attributes:
        text: what was found, and where.
        remedy: what to type, or to do.
        runs: (model, fold, repeat) that cannot be used because of it.
    """

    text: str
    remedy: str
    runs: tuple[tuple[Model, str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.text}. {self.remedy}"


def problems_of(
    runs: Sequence[Run], names: Mapping[Model, str], splits: Sequence[Mapping[str, Any]] | None
) -> list[Problem]:
    """Return what keeps runs from being compared.

    Args:
        runs: at least one.
        names: what each model is called.
        splits: splits_final.json; None where it is not known.
    """
    checks = (wrong_scores, other_classes, other_cases, cases_twice)
    return [p for check in checks for p in check(runs, names)] + changed_splits(runs, names, splits)


def name_of(model: Model, names: Mapping[Model, str]) -> str:
    """Return what a model is called; one of another results folder is called as its namesake."""
    if model in names:
        return names[model]
    return next(n for m, n in names.items() if m.folder.name == model.folder.name)


def wrong_scores(runs: Sequence[Run], names: Mapping[Model, str]) -> list[Problem]:
    """Name NaN where there is something to score, and scores that are not those of their own counts."""
    problems = []
    for run in runs:
        table = run.per_case
        total = 2 * table["TP"] + table["FP"] + table["FN"]
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = 2 * table["TP"] / total.where(total > 0)
        nan = table["Dice"].isna() & (total > 0)
        other = ~nan & ~((table["Dice"] - expected).abs() <= TOLERANCE) & ~(table["Dice"].isna() & (total == 0))
        for rows, what in ((nan, "is NaN, though the class is there"), (other, "is not that of its counts")):
            if rows.any():
                cases = _some(table.loc[rows, "case"])
                problems.append(
                    Problem(
                        f"{run.model.summary(run.fold)}: the Dice of {cases} {what}",
                        f"Type: {run.model.command(_dataset(run.model), run.fold)}",
                        ((run.model, run.fold, run.repeat),),
                    )
                )
    return problems


def other_classes(runs: Sequence[Run], names: Mapping[Model, str]) -> list[Problem]:
    """Name models whose scores are of other classes than the first one's."""
    problems = []
    expected = set(runs[0].per_case["label"])
    for run in runs[1:]:
        found = set(run.per_case["label"])
        if found != expected:
            problems.append(
                Problem(
                    f"{name_of(run.model, names)}, fold {run.fold}, was scored for classes {_list(found)}, "
                    f"{name_of(runs[0].model, names)} for {_list(expected)}: dataset.json was another",
                    "Choose trainers of the same classes with -tr, or train again",
                    ((run.model, run.fold, run.repeat),),
                )
            )
    return problems


def other_cases(runs: Sequence[Run], names: Mapping[Model, str]) -> list[Problem]:
    """Name folds whose cases are not the same for all; such a fold can be compared for nobody."""
    problems = []
    for fold in dict.fromkeys(run.fold for run in runs):
        same = [run for run in runs if run.fold == fold]
        differ = [(a, b) for a, b in combinations(same, 2) if a.cases != b.cases]
        if not differ:
            continue
        a, b = differ[0]
        only = [_only(x, y, names) for x, y in ((a, b), (b, a)) if set(x.cases) - set(y.cases)]
        commands = "".join(f"\n    {r.model.command(_dataset(r.model), fold)}" for r in same)
        problems.append(
            Problem(
                f"fold {fold} has other cases in {name_of(a.model, names)} ({len(a.cases)}) than in "
                f"{name_of(b.model, names)} ({len(b.cases)}): {'; '.join(only)}",
                "If splits_final.json changed between the trainings, train those of the old splits again; if only the "
                f"validation is not whole:{commands}",
                tuple((r.model, r.fold, r.repeat) for r in same),
            )
        )
    return problems


def cases_twice(runs: Sequence[Run], names: Mapping[Model, str]) -> list[Problem]:
    """Name models that validate a case in two folds: their folds are not of one split."""
    problems = []
    seen: dict[tuple[Model, int, str], str] = {}
    for run in runs:
        twice = [c for c in run.cases if (run.model, run.repeat, c) in seen]
        for case in run.cases:
            seen.setdefault((run.model, run.repeat, case), run.fold)
        if twice:
            problems.append(
                Problem(
                    f"{name_of(run.model, names)} validates {_some(twice)} in fold {run.fold} and in fold "
                    f"{seen[run.model, run.repeat, twice[0]]}, too: its folds are of different splits",
                    f"Train again: nnUNetv2_train {_dataset(run.model)} {run.model.configuration} {run.fold} "
                    f"-tr {run.model.trainer} -p {run.model.plans}",
                    ((run.model, run.fold, run.repeat),),
                )
            )
    return problems


def changed_splits(
    runs: Sequence[Run], names: Mapping[Model, str], splits: Sequence[Mapping[str, Any]] | None
) -> list[Problem]:
    """Name folds whose cases are not those of splits_final.json. They are still comparable with each other."""
    if splits is None:
        return []
    problems = []
    for fold in dict.fromkeys(run.fold for run in runs if run.fold != ALL):
        now = set(splits[int(fold)]["val"]) if int(fold) < len(splits) else set()
        changed = [run for run in runs if run.fold == fold and set(run.cases) != now]
        if changed:
            run = changed[0]
            more, fewer = set(run.cases) - now, now - set(run.cases)
            found = [f"{_some(c)} {t}" for c, t in ((more, "validated, not in the file"), (fewer, "not validated")) if c]
            who = ", ".join(dict.fromkeys(name_of(r.model, names) for r in changed))
            problems.append(
                Problem(
                    f"fold {fold} of {who} is not that of splits_final.json in nnUNet_preprocessed: {'; '.join(found)}",
                    "Put the old splits_final.json back, or train again on the new one",
                )
            )
    return problems


def _only(a: Run, b: Run, names: Mapping[Model, str]) -> str:
    return f"only {name_of(a.model, names)} has {_some(set(a.cases) - set(b.cases))}"


def _dataset(model: Model) -> str:
    return model.folder.parent.name


def _some(cases: Any) -> str:
    names = sorted(set(cases))
    return f"{len(names)} case{'s' * (len(names) > 1)} ({', '.join(names[:LISTED])}{', ...' * (len(names) > LISTED)})"


def _list(labels: set[str]) -> str:
    return ", ".join(sorted(labels))
