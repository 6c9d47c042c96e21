"""The table of scores that comparisons start from, and whether trainers in it may be compared.

A long table, a row a score: `trainer` (str), `fold` (int), `repeat` (int: which training of this trainer on this fold;
0 if there is one), `case` (str), `group` (str: what belongs together, as a patient; the case itself if unknown) and
`score` (float, NaN where undefined). In a cross-validation each case is tested in one fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ("trainer", "fold", "repeat", "case", "group", "score")


class ComparisonError(ValueError):
    """Scores are not what a comparison needs; says which trainer, fold and cases, and what to do."""


def check_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Check a table of scores by itself.

    Returns:
        The columns of the contract with their types, ordered by trainer, repeat and case.

    Raises:
        ComparisonError: for columns, entries or infinite scores that are not as agreed, a case that a training has
            twice, or one of several folds or groups.
    """
    if missing := [name for name in COLUMNS if name not in table]:
        raise ComparisonError(f"The table of scores lacks the columns {', '.join(missing)}. It needs: {COLUMNS}")
    if table.empty:
        raise ComparisonError("The table of scores has no row")
    table = _typed(table[list(COLUMNS)])
    infinite = table[np.isinf(table["score"])]
    if len(infinite):
        raise ComparisonError(
            f"{_where(infinite)}: {some_cases(infinite['case'])} with an infinite score. Give a distance that is not "
            "defined as NaN, which is counted, or as a stated largest value"
        )
    _check_once(table)
    _check_folds(table)
    _check_groups(table)
    return table.sort_values(["trainer", "repeat", "case"], ignore_index=True)


def check_comparable(table: pd.DataFrame, trainers: Sequence[str] | None = None) -> pd.DataFrame:
    """Check that trainers were tested on the same cases, in the same folds, each case once a training.

    Args:
        table: as the module says.
        trainers: to compare; None: all.

    Returns:
        Their rows, as `check_scores` returns them. Undefined scores stay in.

    Raises:
        ComparisonError: as `check_scores`; and if a trainer, one of its folds, or cases of a training are missing, or
            trainers have different folds.
    """
    if trainers is not None and "trainer" in table and len(table):
        known = sorted(set(table["trainer"].astype(str)))
        if unknown := [name for name in trainers if name not in known]:
            raise ComparisonError(f"No scores of {', '.join(unknown)}. There are scores of: {', '.join(known)}")
        table = table[table["trainer"].isin(list(trainers))]
    table = check_scores(table)
    _check_complete(table)
    return table


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    for name in COLUMNS[:-1]:
        if table[name].isna().any():
            advice = "; where groups are unknown, put the case itself there" if name == "group" else ""
            raise ComparisonError(f"{table[name].isna().sum()} rows have no {name}{advice}")
    types: Any = {"trainer": str, "fold": "int64", "repeat": "int64", "case": str, "group": str, "score": float}
    try:
        typed = table.astype(types)
    except (ValueError, TypeError) as error:
        raise ComparisonError(f"fold and repeat must be integers and score a number ({error})") from error
    for name in ("fold", "repeat"):
        if (typed[name] != table[name].astype(float)).any():
            raise ComparisonError(f"{name} must be an integer")
    return typed


def _check_once(table: pd.DataFrame) -> None:
    twice = table[table.duplicated(["trainer", "repeat", "case"])]
    if len(twice):
        raise ComparisonError(
            f"{_where(twice)}, repeat {twice['repeat'].iloc[0]}: {some_cases(twice['case'])} more than once. "
            "Give another training of a fold another repeat; average classes, or folds that predict one test set, first"
        )


def _check_folds(table: pd.DataFrame) -> None:
    """Refuse a case of several folds, whoever tests it."""
    first = table.groupby("case")["fold"].transform("first")
    moved = table[table["fold"] != first]
    if len(moved):
        other = table[table["case"] == moved["case"].iloc[0]].iloc[0]
        raise ComparisonError(
            f"{_where(moved)}: {some_cases(moved['case'])} which trainer {other['trainer']} has in fold "
            f"{other['fold']}. The splits differ: train both with the same splits_final.json"
        )


def _check_groups(table: pd.DataFrame) -> None:
    several = table.groupby("case")["group"].nunique()
    if len(names := list(several.index[several > 1])):
        raise ComparisonError(f"{some_cases(names)} with more than one group. Give each case one group in all rows")


def _check_complete(table: pd.DataFrame) -> None:
    of_fold: dict[Any, set[str]] = {fold: set(cases) for fold, cases in table.groupby("fold")["case"]}
    folds: dict[Any, set[int]] = {trainer: set(found) for trainer, found in table.groupby("trainer")["fold"]}
    for trainer, found in folds.items():
        for fold in sorted(set(of_fold) - found):
            shared = sorted(set.intersection(*folds.values()))
            raise ComparisonError(
                f"Trainer {trainer} lacks fold {fold} ({some_cases(of_fold[fold])}). Train it, or compare the folds "
                f"that all have: {', '.join(map(str, shared)) or 'none'}"
            )
    runs: dict[Any, pd.Series] = dict(iter(table.groupby(["trainer", "fold", "repeat"])["case"]))
    for (trainer, fold, repeat), cases in runs.items():
        if missing := sorted(of_fold[fold] - set(cases)):
            raise ComparisonError(
                f"Trainer {trainer}, fold {fold}, repeat {repeat} lacks {some_cases(missing)} that another training "
                "has. Validate it again (nnUNetv2_train ... --val), or take these cases out of all"
            )


def _where(rows: pd.DataFrame) -> str:
    return f"Trainer {rows['trainer'].iloc[0]}, fold {rows['fold'].iloc[0]}"


def some_cases(names: Iterable[str]) -> str:
    """Say how many cases these are, and the first three."""
    found = sorted(set(names))
    return f"{len(found)} case{'s' * (len(found) > 1)} ({', '.join(found[:3])}{', ...' * (len(found) > 3)})"
