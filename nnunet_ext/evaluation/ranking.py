"""Which cases to look at: spread evenly from the worst to the best."""

from __future__ import annotations

import numpy as np
import pandas as pd


def ranked_cases(
    scores: pd.DataFrame, count: int, score: str = "Dice", ascending: bool = True
) -> list[tuple[str, str]]:
    """Return up to `count` cases spread evenly from worst to best, each with its rank in words.

    The rank is by the mean of a case's rows. Cases whose score is undefined are only shown if there are no others.

    Args:
        scores: columns `case` and the score, a row for each case and method.
        count: of cases.
        score: the column.
        ascending: whether the lowest score is the worst.
    """
    means = scores.groupby("case", sort=False)[score].mean()
    if means.isna().all():
        return [(str(case), f"{score} undefined") for case in means.index[:count]]
    cases = list(means.dropna().sort_values(ascending=ascending, kind="stable").index)
    chosen = sorted({round(place) for place in np.linspace(0, len(cases) - 1, min(count, len(cases)))})
    return [(str(cases[place]), _in_words(place, len(cases), score)) for place in chosen]


def _in_words(place: int, total: int, score: str) -> str:
    if total == 1:
        return "the only one"
    names = {(total - 1) // 2: "median", total // 2: "median", 0: "worst", total - 1: "best"}
    return f"{names.get(place, f'rank {total - place}')} of {total} by mean {score}"
