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
from nnunet_ext.evaluation.statistics.scores import some_cases

TOLERANCE = 1e-6  # between a score in a file and the one that its counts give


@dataclass(frozen=True)
class Problem:
    """Something that keeps folds from being compared.

    Attributes:
        text: what was found, and where.
        remedy: what to type, or to do.
        runs: name, fold and repeat of those that cannot be used because of it.
    """

    text: str
    remedy: str
    runs: tuple[tuple[str, str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.text}. {self.remedy}"


def problems_of(runs: Sequence[Run], splits: Sequence[Mapping[str, Any]] | None) -> list[Problem]:
    """Return what keeps runs from being compared.

    Args:
        runs: at least one.
        splits: splits_final.json; None where it is not known.
    """
    checks = (old_scores, wrong_scores, other_classes, other_cases, cases_twice)
    return [p for check in checks for p in check(runs)] + changed_splits(runs, splits)


def old_scores(runs: Sequence[Run]) -> list[Problem]:
    """Name folds that were trained again, or on, since they were validated; the training's log tells."""
    return [
        Problem(
            f"{run.model.summary(run.fold)} is older than the training: its log has epochs after the last validation",
            f"Type: {run.model.command(_dataset(run.model), run.fold)}",
            (run.key,),
        )
        for run in runs
        if run.log.trained_since
    ]


def wrong_scores(runs: Sequence[Run]) -> list[Problem]:
    """Name NaN where there is something to score, and scores that are not those of their own counts."""
    problems = []
    for run in runs:
        table = run.per_case
        total = 2 * table["TP"] + table["FP"] + table["FN"]
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = 2 * table["TP"] / total.where(total > 0)
        nan = table["Dice"].isna() & (total > 0)
        other = ~nan & ~((table["Dice"] - expected).abs() <= TOLERANCE) & ~(table["Dice"].isna() & (total == 0))
        twice = table.duplicated(["case", "label"])
        kinds = (
            (nan, "is NaN, though the class is there"),
            (other, "is not that of its counts"),
            (twice, "stands there twice"),
        )
        for rows, what in kinds:
            if rows.any():
                cases = some_cases(table.loc[rows, "case"])
                problems.append(
                    Problem(
                        f"{run.model.summary(run.fold)}: the Dice of {cases} {what}",
                        f"Type: {run.model.command(_dataset(run.model), run.fold)}",
                        (run.key,),
                    )
                )
    return problems


def other_classes(runs: Sequence[Run]) -> list[Problem]:
    """Name models whose scores are of other classes than the first one's."""
    problems = []
    expected = set(runs[0].per_case["label"])
    for run in runs[1:]:
        found = set(run.per_case["label"])
        if found != expected:
            problems.append(
                Problem(
                    f"{run.name}, fold {run.fold}, was scored for classes {_list(found)}, "
                    f"{runs[0].name} for {_list(expected)}: dataset.json was another",
                    "Choose trainers of the same classes with -tr, or train again",
                    (run.key,),
                )
            )
    return problems


def other_cases(runs: Sequence[Run]) -> list[Problem]:
    """Name folds whose cases are not the same for all; such a fold can be compared for nobody."""
    problems = []
    for fold in dict.fromkeys(run.fold for run in runs):
        same = [run for run in runs if run.fold == fold]
        differ = [(a, b) for a, b in combinations(same, 2) if a.cases != b.cases]
        if not differ:
            continue
        a, b = differ[0]
        only = [_only(x, y) for x, y in ((a, b), (b, a)) if set(x.cases) - set(y.cases)]
        commands = "".join(f"\n    {r.model.command(_dataset(r.model), fold)}" for r in same)
        problems.append(
            Problem(
                f"fold {fold} has other cases in {a.name} ({len(a.cases)}) than in "
                f"{b.name} ({len(b.cases)}): {'; '.join(only)}",
                "If splits_final.json changed between the trainings, train those of the old splits again; if only the "
                f"validation is not whole:{commands}",
                tuple(r.key for r in same),
            )
        )
    return problems


def cases_twice(runs: Sequence[Run]) -> list[Problem]:
    """Name models that validate a case in two folds: their folds are not of one split."""
    problems = []
    seen: dict[tuple[str, int, str], str] = {}
    for run in runs:
        twice = [c for c in run.cases if (run.name, run.repeat, c) in seen]
        for case in run.cases:
            seen.setdefault((run.name, run.repeat, case), run.fold)
        if twice:
            problems.append(
                Problem(
                    f"{run.name} validates {some_cases(twice)} in fold {run.fold} and in fold "
                    f"{seen[run.name, run.repeat, twice[0]]}, too: its folds are of different splits",
                    f"Train again: nnUNetv2_train {_dataset(run.model)} {run.model.configuration} {run.fold} "
                    f"-tr {run.model.trainer} -p {run.model.plans}",
                    (run.key,),
                )
            )
    return problems


def changed_splits(runs: Sequence[Run], splits: Sequence[Mapping[str, Any]] | None) -> list[Problem]:
    """Name folds whose cases are not those of splits_final.json. They are still comparable with each other."""
    if splits is None:
        return []
    problems = []
    for fold in dict.fromkeys(run.fold for run in runs if run.fold != ALL):
        now = set(splits[int(fold)]["val"]) if int(fold) < len(splits) else set()
        changed = [run for run in runs if run.fold == fold and set(run.cases) != now]
        if changed:
            who = ", ".join(dict.fromkeys(run.name for run in changed))
            problems.append(_changed(changed[0], who, now))
    return problems


def _changed(run: Run, who: str, now: set[str]) -> Problem:
    more, fewer = set(run.cases) - now, now - set(run.cases)
    kinds = ((more, "validated, but not in the file"), (fewer, "in the file, but not validated"))
    found = "; ".join(f"{some_cases(cases)} {what}" for cases, what in kinds if cases)
    remedy = "Put the old splits_final.json back, or train again on the new one"
    if not more:
        remedy = f"If the validation is not whole, type: {run.model.command(_dataset(run.model), run.fold)}; else " + (
            f"{remedy[0].lower()}{remedy[1:]}"
        )
    return Problem(f"fold {run.fold} of {who} is not that of splits_final.json in nnUNet_preprocessed: {found}", remedy)


def _only(a: Run, b: Run) -> str:
    return f"only {a.name} has {some_cases(set(a.cases) - set(b.cases))}"


def _dataset(model: Model) -> str:
    return model.folder.parent.name


def _list(labels: set[str]) -> str:
    return ", ".join(sorted(labels))
