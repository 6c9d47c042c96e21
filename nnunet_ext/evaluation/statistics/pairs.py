"""Two trainers' scores side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.statistics.scores import ComparisonError, some_cases

DECIMALS = 12  # of a difference: means of equal scores that differ by rounding alone are equal


@dataclass(frozen=True)
class Pair:
    """Two trainers on the cases that both have.

    cases: `(n,)` names. scores: `(2, n)` of trainer a and b, each the mean over repeats. folds, groups: `(n,)` codes
    from 0. fold_names: of the k codes. runs: for a and b, for each fold the mean score of each training, `(R,)`.
    left_out: cases with an undefined score in any training of either.
    """

    cases: tuple[str, ...]
    scores: np.ndarray
    folds: np.ndarray
    groups: np.ndarray
    fold_names: tuple[int, ...]
    runs: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
    left_out: tuple[str, ...]

    @property
    def difference(self) -> np.ndarray:
        """Scores of a minus those of b, `(n,)`."""
        return np.round(self.scores[0] - self.scores[1], DECIMALS)

    @property
    def repeats(self) -> int:
        """Trainings that every fold of both trainers has at least."""
        return min(len(fold) for side in self.runs for fold in side)


def pair_up(checked: pd.DataFrame, a: str, b: str) -> Pair:
    """Put the scores of two trainers side by side.

    A case counts if every training of both has a defined score of it; the others are left out of both, by name.

    Args:
        checked: as from `check_comparable`.
        a: a trainer.
        b: another.

    Raises:
        ComparisonError: if no case is left.
    """
    rows = checked[checked["trainer"].isin([a, b])]
    left_out = sorted(set(rows.loc[rows["score"].isna(), "case"]))
    rows = rows[~rows["case"].isin(left_out)]
    if rows.empty:
        raise ComparisonError(f"{a} and {b}: no case has a defined score of both ({some_cases(left_out)} without)")
    means = rows.groupby(["trainer", "case"])["score"].mean()
    cases = rows.drop_duplicates("case").set_index("case").sort_index()
    fold_names, folds = np.unique(cases["fold"].to_numpy(), return_inverse=True)
    runs = rows.groupby(["trainer", "fold", "repeat"])["score"].mean()
    return Pair(
        tuple(cases.index),
        np.stack([means[name].loc[cases.index].to_numpy() for name in (a, b)]),
        folds,
        pd.factorize(cases["group"])[0],
        tuple(int(fold) for fold in fold_names),
        (_runs(runs, a, fold_names), _runs(runs, b, fold_names)),
        tuple(left_out),
    )


def _runs(runs: pd.Series, trainer: str, folds: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(runs.loc[trainer, int(fold)].to_numpy() for fold in folds)
