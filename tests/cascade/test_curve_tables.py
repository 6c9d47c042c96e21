"""What a curve's tables say, of numbers that are counted by hand."""

import math

import pytest

from nnunet_ext.cascade.curve import Point
from nnunet_ext.cascade.curve_tables import cases_table, curve_table, lines_of, warnings_of

CLASSES = {1: "lung", 2: "heart"}


def entry(case, **dice):
    """An entry of nnU-Net's summary; a Dice of 0 is of a class that is never predicted."""
    metrics = {
        key: {"Dice": dice[name], "n_ref": 0 if math.isnan(dice[name]) else 9, "n_pred": 9 if dice[name] > 0 else 0}
        for key, name in CLASSES.items()
    }
    return {"prediction_file": f"/x/{case}.nii.gz", "metrics": metrics}


def tables(windows, selected, dice):
    """Tables of cases A and B; `selected` and `dice` by budget and case."""
    points = {
        b: {c: Point(c, b, windows[c], n[c], 4 * n[c], 2, 4 * windows[c], 1.0, 2.0 * n[c]) for c in "AB"}
        for b, n in selected.items()
    }
    summaries = {b: {"metric_per_case": [entry(c, **dice[b][c]) for c in "AB"]} for b in selected}
    cases = cases_table(points, {"A": "0", "B": "3"}, summaries, CLASSES, ".nii.gz")
    curve = curve_table(cases, 0.25)
    return cases, curve, list(warnings_of(cases, curve, summaries[0.0], CLASSES))


def test_means_shares_and_warnings():
    nan = float("nan")
    cases, curve, warnings = tables(
        {"A": 10, "B": 30},
        {0.0: {"A": 0, "B": 0}, 0.5: {"A": 5, "B": 15}, 1.0: {"A": 10, "B": 30}},
        {
            0.0: {"A": {"lung": 0.5, "heart": 0.0}, "B": {"lung": 0.7, "heart": nan}},
            0.5: {"A": {"lung": 0.8, "heart": 0.2}, "B": {"lung": 0.9, "heart": nan}},
            1.0: {"A": {"lung": 0.9, "heart": 0.5}, "B": {"lung": 0.8, "heart": nan}},
        },
    )
    assert cases[["case", "fold", "budget"]].to_numpy().tolist() == [
        ["A", "0", 1.0], ["A", "0", 0.5], ["A", "0", 0.0], ["B", "3", 1.0], ["B", "3", 0.5], ["B", "3", 0.0],
    ]  # fmt: skip
    assert cases["dice"].tolist() == pytest.approx([0.7, 0.5, 0.25, 0.8, 0.9, 0.7])
    assert curve["budget"].tolist() == [1, 0.5, 0]
    assert curve["dice"].tolist() == pytest.approx([0.75, 0.7, 0.475])
    assert curve["dice_sd"].tolist() == pytest.approx([0.1 / 2**0.5, 0.4 / 2**0.5, 0.45 / 2**0.5])
    assert curve["dice_lowest"].tolist() == pytest.approx([0.7, 0.5, 0.25])
    assert curve["dice_heart"].tolist() == pytest.approx([0.5, 0.2, 0.0])
    assert curve["selected"].tolist() == [1, 0.5, 0]
    assert curve["fine_forwards"].tolist() == [80, 40, 0]
    assert curve["share_of_stock"].tolist() == pytest.approx([164 / 160, 84 / 160, 4 / 160])
    assert curve["share_of_pixels"].tolist() == pytest.approx([161 / 160, 81 / 160, 1 / 160])
    assert curve["seconds"].tolist() == [41, 21, 1]  # medians of 21 and 61, 11 and 31, 1 and 1
    assert curve["times_faster"].iloc[1] == pytest.approx((20 / 11 + 60 / 31) / 2)
    (warning,) = warnings
    assert "heart occurs in 1 of 2 cases" in warning
    assert [line.split()[0] for line in lines_of(curve)] == ["budget", "1", "0.5", "0"]


def test_nothing_to_choose_and_nothing_gained():
    selected = {0.0: {"A": 0, "B": 0}, 0.1: {"A": 1, "B": 1}, 0.2: {"A": 1, "B": 1}}
    good, bad = {"lung": 0.9, "heart": 0.9}, {"lung": 0.4, "heart": 0.4}
    dice = {0.0: {"A": good, "B": good}, 0.1: {"A": bad, "B": good}, 0.2: {"A": bad, "B": good}}
    _, curve, warnings = tables({"A": 1, "B": 4}, selected, dice)
    assert curve["times_faster"].isna().all()
    assert len(warnings) == 3
    assert "1 of 2 images, e.g. A, fit into one window" in warnings[0]
    assert "budgets 0.1 and 0.2 choose the same windows; an image has at most 4" in warnings[1]
    assert "the coarse network alone has a higher Dice (0.9000) than the largest budget (0.6500)" in warnings[2]


def test_a_budget_without_windows():
    same = {"A": {"lung": 0.5, "heart": 0.5}, "B": {"lung": 0.5, "heart": 0.5}}
    _, _, warnings = tables(
        {"A": 4, "B": 4}, {0.0: {"A": 0, "B": 0}, 1e-10: {"A": 0, "B": 0}}, {0.0: same, 1e-10: same}
    )
    assert warnings == ["warning: budget 1e-10 gives the fine network no window of any image"]
