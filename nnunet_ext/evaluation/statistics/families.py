"""Several comparisons at once, with p-values adjusted for their number."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.statistics.comparison import Comparison, compare_pair
from nnunet_ext.evaluation.statistics.pairs import pair_up
from nnunet_ext.evaluation.statistics.scores import ComparisonError, check_comparable

TESTS = ("p", "p_corrected", "p_repeated", "p_wilcoxon", "p_paired_t")


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values `(m,)` as S. Holm has it (1979): the i-th smallest times m - i + 1, made monotone, at most 1.

    NaN stays NaN and does not count in m: a test that was not possible.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    adjusted = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1) if len(order) else []
    return adjusted


def compare_all(
    table: pd.DataFrame, baseline: str | None = None, higher_is_better: bool = True, seed: int = 0
) -> pd.DataFrame:
    """Compare all pairs of trainers, or all others with one.

    Args:
        table: scores, as `statistics.scores` says.
        baseline: b of each comparison; None: all pairs, each once, in the order of `table`.
        higher_is_better: as for `compare`.
        seed: of the bootstrap.

    Returns:
        A row a comparison: `a`, `b`, `n`, `groups`, `left_out` (a number), `mean_a`, `mean_b`, `difference`, `low`,
        `high`, `median`, `better`, `equal`, `worse`, `dz`, `rank_biserial`, `repeats`; `headline`, the test that `p`
        and `t_low` to `t_high`, its 95 % interval of the difference, are from; `p_corrected`, `p_repeated`,
        `p_wilcoxon`, `p_paired_t` of all tests; each p-value again with `_holm`, adjusted over the rows; `note`.

    Raises:
        ComparisonError: as `check_comparable`, or for fewer than two trainers.
    """
    names = list(dict.fromkeys(table["trainer"].astype(str))) if "trainer" in table else []
    checked = check_comparable(table, None if baseline is None else [*names, baseline])
    if len(names) < 2:
        raise ComparisonError(f"There are scores of {names[0]} only; a comparison needs two trainers")
    pairs = list(combinations(names, 2)) if baseline is None else [(a, baseline) for a in names if a != baseline]
    compared = [compare_pair(pair_up(checked, a, b), a, b, higher_is_better, seed) for a, b in pairs]
    rows = pd.DataFrame([_row(comparison) for comparison in compared])
    for name in TESTS:
        rows.insert(list(rows).index(name) + 1, f"{name}_holm", holm(rows[name].to_numpy()))
    return rows


def _row(c: Comparison) -> dict[str, Any]:
    same = ("mean_a", "mean_b"), ("median", "better", "equal", "worse", "dz", "rank_biserial", "repeats", "headline")
    before, after = ({name: getattr(c, name) for name in names} for names in same)
    counted = {"a": c.a, "b": c.b, "n": c.n, "groups": c.groups, "left_out": len(c.left_out)}
    interval = {"difference": c.difference.value, "low": c.difference.low, "high": c.difference.high}
    tests = {
        "p": c.test.p,
        "t_low": c.test.low,
        "t_high": c.test.high,
        "p_corrected": c.corrected.p,
        "p_repeated": np.nan if c.repeated is None else c.repeated.p,
        "p_wilcoxon": c.wilcoxon,
        "p_paired_t": c.paired_t.p,
        "note": c.note,
    }
    return {**counted, **before, **interval, **after, **tests}
