"""Correlation of quality with true Dice, by hand-made data."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnunet_ext.evaluation.quality import (
    QualityTableError,
    class_labels,
    correlate,
    join_class,
    join_scores,
    read_quality,
)


def joined(quality, dice):
    return pd.DataFrame({"case": [str(i) for i in range(len(quality))], "quality": quality, "Dice": dice})


def test_tables_are_joined_by_case(tmp_path):
    path = tmp_path / "quality.csv"
    path.write_text(
        "case,class,quality,voxels,review\n007,all,0.9,5,\n007,cell,0.8,5,\nb,all,,0,\nNA,all,0.4,1,true\nlost,all,1,1,\n"
    )
    dice = pd.DataFrame({"case": ["NA", "007", "b", "other"], "Dice": [0.5, 0.7, 0.1, 0.2]})
    found = join_scores(read_quality(path), dice)
    assert found.to_dict("list") == {"case": ["007", "NA"], "quality": [0.9, 0.4], "Dice": [0.7, 0.5]}
    assert join_scores(read_quality(path), dice, "cell")["quality"].tolist() == [0.8]
    with pytest.raises(
        QualityTableError, match=r"no case has a quality over all classes.*\(007, b, NA, \.\.\.\), 1 a Dice \(x\)"
    ):
        join_scores(read_quality(path), dice.assign(case="x").head(1))


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nnunet_ext predict"):
        read_quality(tmp_path / "quality.csv")
    (tmp_path / "a.csv").write_text("case,score\nx,1\n")
    with pytest.raises(QualityTableError, match=r"a\.csv is not a quality\.csv"):
        read_quality(tmp_path / "a.csv")


def test_correlations_are_scipys_and_lie_in_their_intervals():
    rng = np.random.default_rng(0)
    dice = rng.uniform(size=40)
    quality = 0.5 * dice + rng.normal(0, 0.1, 40)
    found = correlate(joined(quality, dice))
    assert found.n == 40
    assert found.undefined == ""
    assert found.pearson.value == pytest.approx(stats.pearsonr(quality, dice)[0])
    assert found.spearman.value == pytest.approx(stats.spearmanr(quality, dice)[0])
    assert found.mean_absolute_difference == pytest.approx(np.mean(np.abs(quality - dice)))
    for estimate in (found.pearson, found.spearman):
        assert estimate.low < estimate.value < estimate.high
        assert 0.05 < estimate.high - estimate.low < 0.5
    assert correlate(joined(quality, dice)) == found
    assert correlate(joined(quality, dice), seed=1).pearson.low != found.pearson.low


def test_a_few_samples_without_correlation_are_left_out_and_stated():
    found = correlate(joined([0.1, 0.5, 0.7, 0.9], [0.2, 0.4, 0.6, 0.9]))
    assert found.spearman.value == pytest.approx(1)
    assert 0 < found.constant < 0.05  # 4 / 4^4
    assert np.isfinite([found.spearman.low, found.pearson.low, found.pearson.high]).all()


@pytest.mark.parametrize("value", [1.0, 0.1])  # the mean of equal numbers 0.1 is not 0.1 to the bit
def test_many_samples_without_correlation_leave_no_interval(value):
    rng = np.random.default_rng(0)
    quality = np.r_[np.full(28, value), value - 0.3, value - 0.05]
    dice = np.r_[rng.uniform(0.7, 0.9, 28), 0.2, 0.75]
    found = correlate(joined(quality, dice))
    assert found.constant == pytest.approx((28 / 30) ** 30, abs=0.03)
    assert f"{found.constant:.1%} of the bootstrap's samples" in found.no_interval
    assert found.undefined == ""
    assert found.pearson.value == pytest.approx(stats.pearsonr(quality, dice)[0])
    for estimate in (found.pearson, found.spearman):
        assert math.isfinite(estimate.value)
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)


def test_a_case_that_stands_twice_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("case,class,quality,voxels,review\nx,all,0.9,5,\ny,all,0.9,5,\n")
    (tmp_path / "b.csv").write_text("case,class,quality,voxels,review\ny,all,0.8,5,\n")
    (tmp_path / "c.csv").write_text("case,class,quality,voxels,review\nz,all,0.8,5,\nz,cell,0.8,5,\n")
    quality = read_quality(tmp_path / "a.csv", tmp_path / "c.csv")
    assert quality["case"].tolist() == ["x", "y", "z", "z"]
    dice = pd.DataFrame({"case": ["x", "x"], "Dice": [0.5, 0.7]})
    with pytest.raises(QualityTableError, match=r"1 cases \(x, \.\.\.\) have a Dice more than once"):
        join_scores(quality, dice)
    with pytest.raises(QualityTableError, match=r"b\.csv: 1 cases \(y, \.\.\.\) stand in another file"):
        read_quality(tmp_path / "a.csv", tmp_path / "b.csv")


def test_a_class_that_is_called_all_is_not_the_total(tmp_path):
    path = tmp_path / "quality.csv"
    path.write_text("case,class,quality,voxels,review\nx,all,0.9,5,\nx,all,0.1,2,\nx,cell,0.2,3,\n")
    dice = pd.DataFrame({"case": ["x"], "Dice": [0.5]})
    assert join_scores(read_quality(path), dice)["quality"].tolist() == [0.9]
    assert join_scores(read_quality(path), dice, "all")["quality"].tolist() == [0.1]
    path.write_text("case,class,quality,voxels,review\nx,cell,0.9,5,\n")
    with pytest.raises(QualityTableError, match="first row"):
        read_quality(path)


LABELS = [
    ({"background": 0, "a": 1, "c": 2, "b": [3], "ignore": 4}, None),
    ({"background": 0, "whole": [1, 2], "core": [2], "rest": 3, "ignore": 4}, [1, 2, 3]),
    ({"background": 0, "whole": (1, 2), "core": 2}, [1, 2]),
]


@pytest.mark.parametrize(("labels", "order"), LABELS)
def test_classes_are_called_as_nnunet_calls_them(labels, order):
    from nnunetv2.evaluation.evaluate_predictions import label_or_region_to_key
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(labels, order)
    theirs = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    assert sorted(class_labels(labels).values()) == sorted(label_or_region_to_key(t) for t in theirs)


def test_a_class_is_compared_with_its_own_dice(tmp_path):
    (tmp_path / "quality.csv").write_text(
        "case,class,quality,voxels,review\nx,all,0.9,5,\nx,whole,0.8,5,\nx,core,0.7,2,\n"
    )
    per_case = pd.DataFrame({"case": ["x", "x"], "label": ["(1, 2)", "(2,)"], "Dice": [0.6, 0.5]})
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    found = join_class(read_quality(tmp_path / "quality.csv"), per_case, labels, "core")
    assert found.to_dict("list") == {"case": ["x"], "quality": [0.7], "Dice": [0.5]}
    with pytest.raises(QualityTableError, match=r"no class 'all'\. The classes are: whole, core"):
        join_class(read_quality(tmp_path / "quality.csv"), per_case, labels, "all")


@pytest.mark.parametrize(
    ("quality", "dice", "why"),
    [
        ([], [], "0 cases"),
        ([0.5, 0.6], [0.5, 0.7], "2 cases; a correlation needs at least 3"),
        ([1, 1, 1], [0.5, 0.6, 0.7], "every case has the same quality, 1"),
        ([0.5, 0.6, 0.7], [0, 0, 0], "every case has the same Dice, 0"),
    ],
)
def test_where_there_is_no_correlation_the_reason_is_given(quality, dice, why):
    found = correlate(joined(quality, dice))
    assert why in found.undefined
    assert math.isnan(found.pearson.value)
    assert math.isnan(found.spearman.low)
    assert math.isnan(found.mean_absolute_difference) == (not quality)
