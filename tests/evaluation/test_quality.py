"""Correlation of quality with true Dice, by hand-made data."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnunet_ext.evaluation.quality import QualityTableError, correlate, join_scores, read_quality


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
    with pytest.raises(QualityTableError, match=r"no case of class 'all'.*\(007, b, NA, \.\.\.\), 1 a Dice \(x\)"):
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


def test_few_cases_have_an_interval_though_some_samples_have_none():
    found = correlate(joined([0.1, 0.5, 0.9], [0.2, 0.4, 0.9]))
    assert found.spearman.value == pytest.approx(1)
    assert np.isfinite([found.spearman.low, found.pearson.low, found.pearson.high]).all()


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
