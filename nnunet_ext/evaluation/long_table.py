"""Finished folds as one table, a row for each model, fold, case and class, with what cases.csv knows of the case."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pandas as pd

from nnunet_ext.evaluation.collect import CollectError, Run

KNOWN = ("group", "structure", "modality")  # columns of cases.csv that the table takes


def read_cases(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the `cases.csv` that `nnunet_ext convert` writes: a row a case, text, empty where nothing is known.

    Raises:
        CollectError: if it has no column `case`, or a case twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise CollectError(f"{path} cannot be read as a table ({error}).") from error
    if "case" not in table.columns:
        raise CollectError(f"{path} has no column case; its columns are {', '.join(table.columns)}")
    twice = table["case"][table["case"].duplicated()]
    if len(twice):
        raise CollectError(f"{path} has case {twice.iloc[0]} more than once")
    return table.set_index("case", drop=False)


def long_table(runs: Sequence[Run], cases: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a row for each model, fold, case and class.

    Args:
        runs: to put together.
        cases: as from `read_cases`.

    Returns:
        Columns `trainer` (the run's name), `plans`, `configuration`, `fold` (str), `repeat`, then what `cases` knows
        of `KNOWN` (`group` is the case itself where it knows none), and the columns of `summary.read_summary`.
    """
    tables = [
        run.per_case.assign(
            trainer=run.name,
            plans=run.model.plans,
            configuration=run.model.configuration,
            fold=run.fold,
            repeat=run.repeat,
        )
        for run in runs
    ]
    table = pd.concat(tables, ignore_index=True)
    first = ["trainer", "plans", "configuration", "fold", "repeat", "case"]
    for name in KNOWN:
        known = {} if cases is None or name not in cases.columns else cases[name].to_dict()
        table[name] = table["case"].map(known).fillna("")
    table["group"] = table["group"].where(table["group"] != "", table["case"])
    order = [*first, *KNOWN]
    return table[[*order, *(c for c in table.columns if c not in order)]]
