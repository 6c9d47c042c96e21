import json
import math

import pytest

from nnunet_ext.evaluation.summary import SummaryError, aggregate, foreground_scores, read_summary


def metrics(tp, fp, fn, tn=100):
    errors = fp + fn
    undefined = tp + errors == 0
    return {
        "Dice": float("nan") if undefined else 2 * tp / (2 * tp + errors),
        "IoU": float("nan") if undefined else tp / (tp + errors),
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "TN": tn,
        "n_pred": tp + fp,
        "n_ref": tp + fn,
    }


@pytest.fixture
def summary_file(tmp_path):
    cases = {
        "a": {"1": metrics(10, 0, 0), "(1, 2)": metrics(5, 5, 0)},
        "b.c": {"1": metrics(10, 10, 20), "(1, 2)": metrics(0, 0, 0)},
        "d": {"1": metrics(0, 3, 0), "(1, 2)": metrics(0, 0, 0)},
    }
    per_case = [
        {"prediction_file": f"/p/{case}.png", "reference_file": f"/r/{case}.png", "metrics": values}
        for case, values in cases.items()
    ]
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"metric_per_case": per_case, "mean": {}, "foreground_mean": {}}))
    return path


def test_one_row_per_case_and_class(summary_file):
    table = read_summary(summary_file)
    assert list(table["case"]) == ["a", "a", "b.c", "b.c", "d", "d"]
    assert list(table["label"]) == ["1", "(1, 2)"] * 3
    assert table["Dice"].dtype == float
    assert table["TP"].dtype == int
    assert table.loc[2, "Dice"] == pytest.approx(0.4)


def test_aggregate_against_hand_computed_values(summary_file):
    rows = aggregate(read_summary(summary_file)).set_index("label")
    one, region = rows.loc["1"], rows.loc["(1, 2)"]
    assert one["Dice_mean"] == pytest.approx((1 + 0.4 + 0) / 3)
    assert one["Dice_sd"] == pytest.approx(math.sqrt(((1 - 7 / 15) ** 2 + (0.4 - 7 / 15) ** 2 + (7 / 15) ** 2) / 2))
    assert one["Dice_pooled"] == pytest.approx(2 * 20 / (2 * 20 + 13 + 20))
    assert one["IoU_pooled"] == pytest.approx(20 / (20 + 33))
    assert (one["n_cases"], one["n_undefined"]) == (3, 0)
    assert (region["n_cases"], region["n_undefined"]) == (3, 2)
    assert region["Dice_mean"] == pytest.approx(2 / 3)
    assert math.isnan(region["Dice_sd"])


def test_undefined_can_count_as_one(summary_file):
    rows = aggregate(read_summary(summary_file), undefined="one").set_index("label")
    assert rows.loc["(1, 2)", "Dice_mean"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert rows.loc["(1, 2)", "n_undefined"] == 2
    with pytest.raises(ValueError, match="'exclude'"):
        aggregate(read_summary(summary_file), undefined="zero")


def test_a_class_that_is_nowhere_has_no_pooled_score(summary_file):
    table = read_summary(summary_file)
    nowhere = aggregate(table[(table["label"] == "(1, 2)") & (table["case"] != "a")])
    assert nowhere["Dice_pooled"].isna().all()
    assert nowhere["Dice_mean"].isna().all()


def test_foreground_scores_leave_undefined_classes_out(summary_file):
    scores = foreground_scores(read_summary(summary_file)).set_index("case")["Dice"]
    assert list(scores.index) == ["a", "b.c", "d"]
    assert scores["a"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["b.c"] == pytest.approx(0.4)


@pytest.mark.parametrize("content", ["not json", "[]", "{}", '{"metric_per_case": [{"Dice": 1}]}'])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "summary.json"
    path.write_text(content)
    with pytest.raises(SummaryError, match=r"summary\.json.*nnUNetv2_evaluate_folder"):
        read_summary(path)


def test_no_file_and_no_case(tmp_path):
    with pytest.raises(FileNotFoundError, match="nnUNetv2_evaluate_folder"):
        read_summary(tmp_path / "summary.json")
    (tmp_path / "summary.json").write_text('{"metric_per_case": []}')
    with pytest.raises(SummaryError, match="no case"):
        read_summary(tmp_path / "summary.json")
