"""Comparisons of two trainers against hand-computed numbers, scipy, enumerations and loops."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnunet_ext.evaluation.statistics import (
    COLUMNS,
    CORRECTED,
    ONE_DATASET,
    ONE_FOLD,
    ONE_TRAINING,
    REPEATED,
    compare,
    compare_all,
    holm,
    summarise,
)
from nnunet_ext.evaluation.statistics.bootstrap import group_sums, mean_interval
from nnunet_ext.evaluation.statistics.paired import cohens_dz, paired_t, rank_biserial, wilcoxon_p
from nnunet_ext.evaluation.statistics.training_noise import (
    corrected_t,
    group_variance,
    repeated_t,
    training_variance,
)


def table(values, folds, groups=None):
    """Scores of trainers from name to `(repeats, n)`."""
    rows = [
        (name, folds[i], r, f"c{i:03}", f"c{i:03}" if groups is None else f"g{groups[i]}", score)
        for name, runs in values.items()
        for r, run in enumerate(np.atleast_2d(runs))
        for i, score in enumerate(run)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def made(repeats=3, n=30, trainers="AB", seed=0, gain=0.0):
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, n // 3, n))
    case = rng.normal(0.7, 0.1, n)
    values = {t: case + gain * (t == "A") + rng.normal(0, 0.03, (repeats, n)) for t in trainers}
    return table(values, groups % 5, groups)


def test_the_corrected_t_test_by_hand():
    found = corrected_t(np.array([1.0, 2, 3, 4, 5]), np.full(5, 10))
    assert found.statistic == pytest.approx(3 / math.sqrt((1 / 5 + 10 / 40) * 2.5))  # sqrt(8)
    assert found.df == 4
    assert found.p == pytest.approx(2 * (0.5 - 0.375 * math.sqrt(8 / 3) * (1 - 8 / 36)))  # closed form of 4 degrees
    half = 2.7764451 * math.sqrt(1.125)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    unequal = corrected_t(np.array([1.0, 3]), np.array([1, 3]))
    assert unequal.statistic == pytest.approx(2 / math.sqrt((1 / 2 + (1 / 3 + 3 / 1) / 2) * 2))


def test_the_variance_of_trainings_by_hand():
    runs = [np.array([1.0, 3.0]), np.array([2.0, 2.0, 5.0])]
    assert training_variance(runs, np.array([1, 3])) == pytest.approx((1 / 4) ** 2 * 2 / 2 + (3 / 4) ** 2 * 3 / 3)


def test_the_variance_of_groups_is_a_jackknife():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 2, 3], [1, 7, 2, 4]))
    values = rng.normal(size=(2, 14)) + groups
    for row, found in zip(values, group_variance(values, groups), strict=True):
        without = [row[groups != g].mean() for g in range(4)]
        assert found == pytest.approx(3 / 4 * sum((m - row.mean()) ** 2 for m in without))
    single = group_variance(values[0], np.arange(14))
    assert single == pytest.approx(values[0].var(ddof=1) / 14)
    assert math.isnan(group_variance(values[0], np.zeros(14, int)))


def test_the_test_of_repeats_against_a_loop_over_the_table():
    data = made(repeats=3, gain=0.01)
    found = compare(data, "A", "B")
    case = data.groupby(["trainer", "case"])["score"].mean()
    d = (case["A"] - case["B"]).to_numpy()
    groups = pd.factorize(data[data["trainer"] == "A"].drop_duplicates("case").sort_values("case")["group"])[0]
    parts, degrees = [group_variance(d, groups)], [len(set(groups)) - 1]
    for name in "AB":
        part, df = 0.0, 0
        for fold in range(5):
            rows = data[(data["trainer"] == name) & (data["fold"] == fold)]
            means = [rows[rows["repeat"] == r]["score"].mean() for r in range(3)]
            part += (len(rows) / 3 / 30) ** 2 * np.var(means, ddof=1) / 3
            df += 2
        parts.append(part)
        degrees.append(df)
    df = sum(parts) ** 2 / sum(p**2 / k for p, k in zip(parts, degrees, strict=True))
    assert found.repeated.df == pytest.approx(df)
    assert found.repeated.statistic == pytest.approx(d.mean() / math.sqrt(sum(parts)))
    assert found.repeated.p == pytest.approx(2 * stats.t.sf(abs(found.repeated.statistic), df))
    assert (found.headline, found.test, found.note, found.repeats) == (REPEATED, found.repeated, ONE_DATASET, 3)


def test_trainers_may_have_different_numbers_of_repeats():
    data = made(repeats=4)
    data = data[(data["trainer"] == "A") | (data["repeat"] < 2)]
    assert compare(data, "A", "B").repeats == 2
    partly = data[(data["trainer"] == "A") | (data["repeat"] == 0) | (data["fold"] > 0)]
    found = compare(partly, "A", "B")
    assert (found.repeats, found.repeated, found.note) == (1, None, ONE_TRAINING)


def test_without_repeats_the_sentence_is_there():
    found = compare(made(repeats=1), "A", "B")
    assert (found.headline, found.test, found.note, found.repeated) == (CORRECTED, found.corrected, ONE_TRAINING, None)
    one = made(repeats=1).assign(fold=0)
    found = compare(one, "A", "B")
    assert math.isnan(found.test.p)
    assert found.note == f"{ONE_TRAINING} {ONE_FOLD}"


def test_paired_t_is_scipys():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 20))
    expected = stats.ttest_rel(a, b, axis=1)
    found = paired_t(a - b)
    np.testing.assert_allclose(found.statistic, expected.statistic)
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose([found.low, found.high], expected.confidence_interval())


def test_wilcoxon_is_an_enumeration_of_all_signs():
    d = np.array([0.3, -0.1, 0.9, 1.2, -0.4, 2.0, 1.1, 0.7])
    ranks = stats.rankdata(abs(d))
    sums = np.array([ranks @ np.array(signs) for signs in itertools.product([-1, 1], repeat=8)])
    assert wilcoxon_p(d) == pytest.approx(np.mean(abs(sums) >= abs(ranks @ np.sign(d)) - 1e-9))


def test_wilcoxon_ranks_zeros_and_ties_as_pratt():
    d = np.r_[np.zeros(6), np.ones(5), -np.ones(3), np.full(4, 2.0), np.arange(3, 11.0), [-5.0, -12.0]]
    size = np.abs(d)
    ranks = np.array([(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size]) * (d != 0)
    z = (ranks * np.sign(d)).sum() / math.sqrt((ranks**2).sum())
    assert wilcoxon_p(d) == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    assert rank_biserial(d) == pytest.approx((ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum())
    np.testing.assert_array_equal(wilcoxon_p(np.stack([d, d * 0, -d])), [wilcoxon_p(d), 1, wilcoxon_p(d)])


def test_effect_sizes_by_hand():
    assert cohens_dz(np.array([1.0, 2, 3])) == pytest.approx(2)
    assert rank_biserial(np.array([1.0, 2, -3])) == pytest.approx(0)
    assert rank_biserial(np.array([0.0, 1, 2])) == 1
    assert math.isnan(cohens_dz(np.array([0.1, 0.1])))


def test_whole_groups_are_drawn():
    """All 5^5 draws of five unequal groups have known means; the quantiles must be those, up to the draws' chance."""
    groups = np.repeat(np.arange(5), [1, 6, 2, 3, 1])
    values = np.random.default_rng(3).normal(size=13)
    means = [
        np.concatenate([values[groups == g] for g in drawn]).mean() for drawn in itertools.product(range(5), repeat=5)
    ]
    low, high = mean_interval(values, groups)
    for bound, share in ((low, 0.025), (high, 0.975)):
        assert np.mean(np.array(means) < bound) == pytest.approx(share, abs=0.012)
    assert mean_interval(values, groups, seed=1) != (low, high)
    assert mean_interval(values, groups) == (low, high)
    batch = mean_interval(np.stack([values, -values]), groups)
    np.testing.assert_allclose(batch, [[low, -high], [high, -low]])


def test_draws_in_parts_are_the_same(monkeypatch):
    values, groups = np.random.default_rng(0).normal(size=20), np.arange(20)
    whole = mean_interval(values, groups)
    monkeypatch.setattr("nnunet_ext.evaluation.statistics.bootstrap.AT_ONCE", 1000)
    assert mean_interval(values, groups) == whole


def test_groups_widen_the_interval_and_few_have_none():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 10)
    groups = np.repeat(np.arange(12), 10)
    (low, high), (low1, high1) = mean_interval(values, groups), mean_interval(values, np.arange(120))
    assert high - low > 2.5 * (high1 - low1)  # sqrt(10)
    assert np.isnan(mean_interval(values, np.repeat([0, 1], 60))).all()
    np.testing.assert_allclose(group_sums(np.array([1.0, 2, 4]), np.array([1, 0, 1])), [2, 5])


def test_signs_means_and_folds():
    scores = {"A": [0.5, 0.6, 0.7, 0.1 + 0.2], "B": [0.4, 0.7, 0.5, 0.3]}
    found = compare(table(scores, [0, 0, 3, 3]), "A", "B")
    assert (found.better, found.equal, found.worse) == (2, 1, 1)  # 0.1 + 0.2 is not 0.3 to the bit
    assert (found.n, found.groups) == (4, 4)
    assert found.mean_a == pytest.approx(0.525)
    assert found.difference.value == pytest.approx(0.05)
    assert found.median == pytest.approx(0.05)
    assert [(f.fold, f.n) for f in found.folds] == [(0, 2), (3, 2)]
    assert [f.difference for f in found.folds] == pytest.approx([0.0, 0.1])
    lower = compare(table(scores, [0, 0, 3, 3]), "A", "B", higher_is_better=False)
    assert (lower.better, lower.equal, lower.worse) == (1, 1, 2)
    assert lower.difference == found.difference


def test_exchanged_trainers_give_the_negative():
    data = made()
    one, other = compare(data, "A", "B"), compare(data, "B", "A")
    assert one.test.p == pytest.approx(other.test.p)
    assert one.difference.value == pytest.approx(-other.difference.value)
    assert (one.difference.low, one.rank_biserial) == pytest.approx((-other.difference.high, -other.rank_biserial))
    assert (one.better, one.worse) == (other.worse, other.better)


@pytest.mark.parametrize("repeats", [1, 2])
def test_identical_trainers_do_not_differ(repeats):
    data = made(repeats=repeats, trainers="A")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(pd.concat([data, data.assign(trainer="B")]), "A", "B")
    assert (found.test.p, found.wilcoxon, found.paired_t.p, found.corrected.p) == (1, 1, 1, 1)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
    assert (found.equal, found.dz, found.rank_biserial) == (30, 0, 0)


def test_differences_without_spread_have_no_test():
    data = made(repeats=1, trainers="A")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(pd.concat([data, data.assign(trainer="B", score=data["score"] - 0.1)]), "A", "B")
    assert np.isnan([found.paired_t.p, found.corrected.p, found.corrected.low, found.dz]).all()
    assert found.difference.value == pytest.approx(0.1)


@pytest.mark.parametrize("repeats", [1, 3])
def test_one_case_has_a_difference_and_no_test(repeats):
    runs = np.arange(repeats)[:, None] / 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(table({"A": runs + 0.5, "B": runs * 2}, [0]), "A", "B")
        summarise(table({"A": runs}, [0]))
    assert found.n == 1
    assert np.isnan([found.test.p, found.wilcoxon, found.paired_t.p, found.difference.low, found.dz]).all()
    assert found.difference.value == pytest.approx(0.5 - np.mean(runs))


def test_summaries_by_hand():
    values = {"A": [[0.1, 0.3, 0.8], [0.3, 0.5, 0.8]], "B": [[1, 1, 1], [1, 1, 1]]}
    rows = summarise(table(values, [0, 0, 2])).set_index("trainer")
    a = rows.loc["A"]
    assert list(rows.index) == ["A", "B"]
    assert (a["n"], a["groups"], a["folds"], a["repeats"], a["undefined"]) == (3, 3, 2, 2, 0)
    assert (a["mean"], a["mean_folds"]) == pytest.approx((1.4 / 3, 0.55))
    assert a["sd"] == pytest.approx(np.std([0.2, 0.4, 0.8], ddof=1))
    assert a["sd_folds"] == pytest.approx(math.sqrt(0.125))
    assert a["sd_repeats"] == pytest.approx(math.sqrt((0.02 + 0) / 2))  # fold 0: 0.2 and 0.4; fold 2: no spread
    assert (rows.loc["B", "low"], rows.loc["B", "high"], rows.loc["B", "sd"]) == (1, 1, 0)
    assert math.isnan(summarise(table({"A": [0.1, 0.2]}, [0, 1]))["sd_repeats"][0])


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, np.nan, 0.02])), [0.9, np.nan, 0.04])
    np.testing.assert_allclose(holm(np.array([0.7, 0.8])), [1, 1])
    assert len(holm(np.array([]))) == 0


def test_all_pairs_and_all_against_one():
    data = made(trainers="ABCD")
    rows = compare_all(data)
    assert [a + b for a, b in zip(rows["a"], rows["b"], strict=True)] == ["AB", "AC", "AD", "BC", "BD", "CD"]
    row, one = rows.iloc[4], compare(data, "B", "D")
    assert row["p"] == row["p_repeated"] == one.test.p
    assert (row["low"], row["t_low"], row["p_wilcoxon"]) == (one.difference.low, one.test.low, one.wilcoxon)
    for name in ("p", "p_corrected", "p_repeated", "p_wilcoxon", "p_paired_t"):
        np.testing.assert_array_equal(rows[f"{name}_holm"], holm(rows[name].to_numpy()))
        assert (rows[f"{name}_holm"] >= rows[name]).all()
    against = compare_all(data, baseline="C")
    assert against[["a", "b"]].to_numpy().tolist() == [["A", "C"], ["B", "C"], ["D", "C"]]
    assert "*" not in rows.to_string()


def test_training_noise_alarms_tests_over_cases_only():
    """400 cross-validations of two equal methods; each training shifts all its cases."""
    rng = np.random.default_rng(0)
    folds = np.arange(100) % 5
    shifts = rng.normal(0, 1, (400, 2, 3, 5))
    scores = rng.normal(0, 10, (400, 1, 1, 100)) + shifts[..., folds] + rng.normal(0, 3, (400, 2, 3, 100))
    means = group_sums(scores, folds) / 20
    once = scores[:, 0, 0] - scores[:, 1, 0]
    runs = tuple([means[:, m, :, f] for f in range(5)] for m in (0, 1))
    sizes = np.full(5, 20)
    p = {
        "wilcoxon": wilcoxon_p(once),
        "paired": paired_t(once).p,
        "corrected": corrected_t(means[:, 0, 0] - means[:, 1, 0], sizes).p,
        "repeated": repeated_t((scores[:, 0] - scores[:, 1]).mean(1), np.arange(100), sizes, runs).p,
    }
    wrong = {name: (value < 0.05).mean() for name, value in p.items()}
    assert min(wrong["wilcoxon"], wrong["paired"]) > 0.15
    assert 0 < wrong["corrected"] < 0.05
    assert 0 < wrong["repeated"] < 0.05
