"""What tables of scores are refused, by which words, and how undefined scores are kept out."""

import numpy as np
import pandas as pd
import pytest

from nnunet_ext.evaluation.statistics import (
    COLUMNS,
    ComparisonError,
    check_comparable,
    check_scores,
    compare,
    compare_all,
    summarise,
)


def scores(trainers="AB", folds=3, repeats=1, per_fold=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (t, f, r, f"c{f}{i}", f"g{f}{i // 2}", rng.normal(0.8, 0.1))
        for t in trainers
        for f in range(folds)
        for r in range(repeats)
        for i in range(per_fold)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def where(table, **values):
    return np.logical_and.reduce([table[name] == value for name, value in values.items()])


def moved(table):
    table.loc[where(table, trainer="B", case="c00"), "fold"] = 1
    return table


def regrouped(table):
    table.loc[where(table, trainer="B", case="c00"), "group"] = "other"
    return table


def infinite(table):
    table.loc[where(table, trainer="B", case="c12"), "score"] = np.inf
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["group", "repeat"]), r"lacks the columns repeat, group"),
        (lambda t: t.head(0), r"no row"),
        (lambda t: t.assign(group=None), r"24 rows have no group; where groups are unknown, put the case itself"),
        (lambda t: t.assign(fold="all"), r"must be integers"),
        (lambda t: t.assign(fold=0.5), r"fold must be an integer"),
        (infinite, r"Trainer B, fold 1: 1 case \(c12\) with an infinite score.*NaN"),
        (
            lambda t: pd.concat([t, t.tail(4)]),
            r"Trainer B, fold 2, repeat 0: 4 cases \(c20, c21, c22, \.\.\.\) more than",
        ),
        (moved, r"Trainer B, fold 1: 1 case \(c00\) which trainer A has in fold 0\. .*splits_final"),
        (regrouped, r"1 case \(c00\) with more than one group"),
        (lambda t: t[~where(t, trainer="B", fold=1)], r"Trainer B lacks fold 1 \(4 cases .*\)\. Train it.*have: 0, 2"),
        (lambda t: t[~where(t, trainer="A", case="c21")], r"Trainer A, fold 2, repeat 0 lacks 1 case \(c21\).*--val"),
    ],
)
def test_unequal_tables_are_refused_and_say_what_to_do(change, message):
    with pytest.raises(ComparisonError, match=message):
        compare(change(scores()), "A", "B")
    with pytest.raises(ComparisonError, match=message):
        compare_all(change(scores()))


def test_a_repeat_that_lacks_cases_is_named():
    table = scores(repeats=2)
    with pytest.raises(ComparisonError, match=r"Trainer B, fold 0, repeat 1 lacks 1 case \(c03\)"):
        compare(table[~where(table, trainer="B", case="c03", repeat=1)], "A", "B")


def test_trainers_are_named():
    with pytest.raises(ComparisonError, match=r"No scores of C, D\. There are scores of: A, B"):
        check_comparable(scores(), ["A", "C", "D"])
    with pytest.raises(ComparisonError, match="compared with itself"):
        compare(scores(), "A", "A")
    with pytest.raises(ComparisonError, match="scores of A only"):
        compare_all(scores("A"))
    with pytest.raises(ComparisonError, match="No scores of Z"):
        compare_all(scores(), baseline="Z")


def test_other_trainers_do_not_disturb():
    table = scores("ABC")
    partial = table[~where(table, trainer="C", fold=0)]
    assert compare(partial, "A", "B") == compare(table, "A", "B")
    with pytest.raises(ComparisonError, match="Trainer C lacks fold 0"):
        compare_all(partial)


def test_a_checked_table_has_its_types_and_order():
    table = scores(repeats=2)
    shuffled = table.sample(frac=1, random_state=1).assign(fold=lambda t: t["fold"].astype(float), more=1)
    checked = check_scores(shuffled)
    assert list(checked) == list(COLUMNS)
    pd.testing.assert_frame_equal(checked, check_scores(table))
    assert compare(shuffled, "A", "B") == compare(table, "A", "B")


def test_undefined_scores_are_left_out_of_both_and_named():
    table = scores(repeats=2)
    table.loc[where(table, trainer="A", case="c01", repeat=1), "score"] = np.nan
    table.loc[where(table, trainer="B", case="c22"), "score"] = np.nan
    found = compare(table, "A", "B")
    without = compare(table[~table["case"].isin(["c01", "c22"])], "A", "B")
    assert found.left_out == ("c01", "c22")
    assert found.n == 10
    assert without.left_out == ()
    assert (found.difference, found.repeated, found.wilcoxon) == (
        without.difference,
        without.repeated,
        without.wilcoxon,
    )
    assert compare_all(table)["left_out"].tolist() == [2]
    assert summarise(table)[["trainer", "n", "undefined"]].to_numpy().tolist() == [["A", 11, 1], ["B", 11, 1]]


def test_a_fold_without_defined_scores_is_no_fold():
    table = scores(folds=3)
    table.loc[where(table, trainer="B", fold=1), "score"] = np.nan
    assert [fold.fold for fold in compare(table, "A", "B").folds] == [0, 2]


def test_nothing_defined_is_an_error_for_two_and_a_count_for_one():
    table = scores()
    table.loc[where(table, trainer="B"), "score"] = np.nan
    with pytest.raises(ComparisonError, match=r"A and B: no case has a defined score of both \(12 cases \(c00, "):
        compare(table, "A", "B")
    row = summarise(table).iloc[1]
    assert (row["n"], row["undefined"]) == (0, 12)
    assert np.isnan(row["mean"])
