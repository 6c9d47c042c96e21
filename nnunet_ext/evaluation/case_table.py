"""What `nnunet_ext convert` wrote about each case in cases.csv, joined to the scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nnunet_ext.evaluation.problems import EvaluationError, Problem

USUAL = ("split", "group", "structure", "modality")
TAKEN = {"case", "label", "class", "TP", "FP", "FN", "TN", "diagonal"}


def read_case_table(path: str | os.PathLike[str], by: Sequence[str]) -> pd.DataFrame:
    """Read a table with a row a case, such as cases.csv.

    Args:
        path: CSV with the column `case`.
        by: columns that must be there.

    Returns:
        The columns `case`, those of `USUAL` that are not empty, and `by`; all text, "" where nothing is known.

    Raises `EvaluationError` if it is missing or of another kind, for a column that is not there, and for a case that
    stands twice.
    """
    path = Path(path)
    if not path.is_file():
        raise EvaluationError(f"there is no table of cases at {path}; `nnunet_ext convert` writes cases.csv")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise EvaluationError(f"{path} is no CSV with a row a case ({error})") from error
    for column in ("case", *by):
        if column not in table or (column in TAKEN and column != "case"):
            free = [name for name in table.columns if name not in TAKEN]
            raise EvaluationError(f"{path} has no column {column!r} to use; it has {', '.join(free)}")
    if "case" in by:
        raise EvaluationError("--by case: per_case.csv has each case already")
    twice = table["case"][table["case"].duplicated()]
    if len(twice):
        raise EvaluationError(f"{path}: the case {twice.iloc[0]} stands twice ({len(twice)} such rows)")
    usual = [name for name in USUAL if name in table and (table[name] != "").any()]
    return table[["case", *dict.fromkeys([*usual, *by])]]


def join_case_table(per_case: pd.DataFrame, table: pd.DataFrame, path: object) -> tuple[pd.DataFrame, list[Problem]]:
    """Put the table's columns behind `case`, `label` and `class`; return it, and the cases without a row."""
    names = list(table.columns[1:])
    joined = per_case.merge(table, on="case", how="left", validate="many_to_one")
    joined[names] = joined[names].fillna("")
    known = set(table["case"])
    missing = [case for case in dict.fromkeys(per_case["case"]) if case not in known]
    remedy = f"add a row for each to {path}; they are scored, but in no group"
    problems = [Problem("row-missing", "a case has no row in the table of cases", case, remedy) for case in missing]
    rest = [column for column in per_case.columns if column not in ("case", "label", "class")]
    return joined[["case", "label", "class", *names, *rest]], problems
