"""Scores of counts and class maps, by hand and by scikit-learn; nothing warns."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from nnunet_ext.evaluation import metrics as m

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(0)
OVERLAPS = (m.dice, m.jaccard, m.precision, m.recall, m.f_beta)
SCORES = (
    *OVERLAPS,
    m.specificity,
    m.conformity,
    m.relative_volume_difference,
    m.absolute_volume_difference,
    m.mean_absolute_error,
    m.pixel_accuracy,
)


def test_by_hand():
    c = m.Counts(6, 2, 3, 9)
    assert m.dice(c) == pytest.approx(12 / 17)
    assert m.jaccard(c) == pytest.approx(6 / 11)
    assert m.precision(c) == 0.75
    assert m.recall(c) == pytest.approx(2 / 3)
    assert m.specificity(c) == pytest.approx(9 / 11)
    assert m.f_beta(c, 0.3) == pytest.approx(1.3 * 0.75 * (2 / 3) / (0.3 * 0.75 + 2 / 3))
    assert m.conformity(c) == pytest.approx((3 * 12 / 17 - 2) / (12 / 17))
    assert m.relative_volume_difference(c) == pytest.approx(100 * (8 / 9 - 1))
    assert m.absolute_volume_difference(c) == pytest.approx(100 / 9)
    assert m.mean_absolute_error(c) == 0.25
    assert m.pixel_accuracy(c) == 0.75
    assert c.n == 20


@pytest.mark.parametrize("shape", [(9, 7), (4, 5, 6), (30,)])
def test_counts_and_scores_are_scikit_learns(shape):
    reference, prediction, ignore = (RNG.random(shape) < share for share in (0.4, 0.5, 0.3))
    c = m.Counts.of(reference, prediction, ignore)
    truth, found = reference[~ignore], prediction[~ignore]
    assert [[c.tn, c.fp], [c.fn, c.tp]] == sk.confusion_matrix(truth, found).tolist()
    assert m.f_beta(c, 0.3) == pytest.approx(sk.fbeta_score(truth, found, beta=math.sqrt(0.3)))
    assert m.jaccard(c) == pytest.approx(sk.jaccard_score(truth, found))
    assert m.dice(c) == m.f_beta(c) == pytest.approx(sk.f1_score(truth, found))
    assert m.pixel_accuracy(c) == pytest.approx(sk.accuracy_score(truth, found))
    assert m.mean_absolute_error(c) == pytest.approx(np.abs(truth.astype(float) - found).mean())


def test_one_policy_for_empty_masks():
    nothing, everything = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    both, missed, invented = m.Counts.of(nothing, nothing), m.Counts(0, 0, 5, 7), m.Counts(0, 5, 0, 7)
    assert all(math.isnan(score(both)) for score in (*OVERLAPS, m.conformity, m.relative_volume_difference))
    assert m.specificity(both) == 1
    assert [m.dice(c) for c in (missed, invented)] == [m.jaccard(c) for c in (missed, invented)] == [0, 0]
    assert math.isnan(m.precision(missed))
    assert m.recall(missed) == 0
    assert m.precision(invented) == 0
    assert math.isnan(m.recall(invented))
    assert m.conformity(missed) == m.conformity(invented) == -math.inf
    assert m.relative_volume_difference(missed) == -100
    assert math.isnan(m.relative_volume_difference(invented))
    full = m.Counts.of(everything, everything)
    assert [score(full) for score in OVERLAPS] == [1] * 5
    assert math.isnan(m.specificity(full))
    assert all(math.isnan(score(m.Counts(0, 0, 0, 0))) for score in SCORES)  # an image without pixels


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
def test_a_table_is_scored_at_once(score):
    table = pd.DataFrame(RNG.integers(0, 3, (60, 4)), columns=["TP", "FP", "FN", "TN"])
    columns = score(m.Counts.from_summary(table))
    rows = [score(m.Counts.from_summary(row)) for row in table.to_dict("records")]
    assert isinstance(rows[0], float)
    assert columns.dtype == np.float64
    np.testing.assert_array_equal(columns, rows)


def test_pooled_scores_come_from_summed_counts():
    total = m.Counts(np.array([3, 0]), np.array([1, 2]), np.array([0, 4]), np.array([5, 5])).total()
    assert m.dice(total) == pytest.approx(6 / 13)
    assert m.jaccard(m.Counts(1.5, 1.5, 2.0, 5.0)) == pytest.approx(3 / 10)  # nnU-Net's means of counts


def test_large_and_small_integers_do_not_wrap():
    assert m.dice(m.Counts(np.uint8(200), np.uint8(100), np.uint8(100), np.uint8(0))) == pytest.approx(400 / 600)
    assert m.relative_volume_difference(m.Counts(2**31, 2**31, 0, 0)) == 100


def test_masks_that_cannot_be_counted_are_refused():
    with pytest.raises(ValueError, match="boolean; got uint8"):
        m.Counts.of(np.zeros(3, np.uint8), np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"shape: \(3,\) and \(4,\)"):
        m.Counts.of(np.zeros(3, bool), np.zeros(4, bool))
    with pytest.raises(ValueError, match="beta2 must be positive"):
        m.f_beta(m.Counts(1, 1, 1, 1), 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_confusion_is_scikit_learns(dtype, monkeypatch):
    monkeypatch.setattr("nnunet_ext.evaluation.metrics.confusion.CHUNK", 37)
    reference, prediction = (RNG.integers(0, 4, (2, 11, 13)).astype(dtype) for _ in range(2))
    ignored = RNG.random(reference.shape) < 0.2
    matrix = m.confusion_matrix(np.where(ignored, 255, reference).astype(dtype), prediction, 5, ignore=255)
    kept = ~ignored
    expected = sk.confusion_matrix(reference[kept], prediction[kept], labels=range(5))
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == np.int64
    scores = sk.jaccard_score(reference[kept], prediction[kept], labels=range(4), average=None)
    np.testing.assert_allclose(m.class_iou(matrix), [*scores, np.nan])
    assert m.mean_iou(matrix) == (pytest.approx(scores.mean()), 4, 1)
    accuracy = sk.balanced_accuracy_score(reference[kept], prediction[kept])
    assert m.mean_accuracy(matrix) == (pytest.approx(accuracy), 4, 1)
    assert m.pixel_accuracy_of_classes(matrix) == pytest.approx((reference == prediction)[kept].mean())


def test_unknown_labels_are_named():
    good = np.array([0, 1, 2])
    with pytest.raises(ValueError, match="the prediction holds labels that are no class: 3, 7; classes are 0 to 2"):
        m.confusion_matrix(good, np.array([7, 3, 2]), 3)
    with pytest.raises(ValueError, match="the reference holds labels that are no class: -1;"):
        m.confusion_matrix(np.array([0, -1, 255]), good, 3, ignore=255)
    with pytest.raises(ValueError, match="must hold integers"):
        m.confusion_matrix(good, good.astype(float), 3)
    with pytest.raises(ValueError, match="differ in shape"):
        m.confusion_matrix(good, good[:2], 3)
    assert m.confusion_matrix(np.array([255, 1, 0]), np.array([99, 1, 0]), 2, ignore=255).sum() == 2


def test_categories_forgive_errors_within():
    reference, prediction = RNG.integers(0, 5, 400), RNG.integers(0, 5, 400)
    groups = np.array([0, 0, 1, 2, 1])
    merged = m.by_category(m.confusion_matrix(reference, prediction, 5), groups)
    np.testing.assert_array_equal(merged, m.confusion_matrix(groups[reference], groups[prediction], 3))
    for wrong in ([0, 0, 1], [0, 0, 1, -1, 2]):
        with pytest.raises(ValueError, match="5 classes need as many categories"):
            m.by_category(np.eye(5, dtype=int), wrong)


def test_no_pixel_has_no_score():
    matrix = m.confusion_matrix(np.full(4, 9), np.zeros(4, int), 3, ignore=9)
    assert math.isnan(m.pixel_accuracy_of_classes(matrix))
    assert math.isnan(m.mean_iou(matrix).value)
    assert m.mean_iou(matrix)[1:] == (0, 3)


def weighted_by_instance(reference, prediction, instances, sizes, group):
    """iTP and iFN as cityscapesScripts adds them: instance by instance."""
    totals = {k: [0.0, 0.0] for k in sizes}
    for number in np.unique(instances[instances > 0]):
        mask = instances == number
        label = int(reference[mask][0])
        if label in sizes:
            hits = sum(group(p) == group(label) for p in prediction[mask])
            totals[label][0] += hits * sizes[label] / mask.sum()
            totals[label][1] += (mask.sum() - hits) * sizes[label] / mask.sum()
    return np.array(list(totals.values()))


def test_instances_weigh_the_same():
    instances = np.kron(RNG.permutation(24).reshape(4, 6), np.ones((3, 5), int))
    reference = np.array([0, 1, 2, 3, 255])[instances % 5]
    prediction = np.where(RNG.random(reference.shape) < 0.4, RNG.integers(0, 4, reference.shape), reference % 4)
    sizes, categories = {3: 40.0, 1: 10.0}, [0, 1, 0, 1]
    counts = m.instance_counts(reference, prediction, instances, sizes)
    np.testing.assert_allclose(
        counts, weighted_by_instance(reference, prediction, instances, sizes, lambda label: label)
    )
    forgiving = m.instance_counts(reference, prediction, instances, sizes, categories)
    np.testing.assert_allclose(
        forgiving, weighted_by_instance(reference, prediction, instances, sizes, lambda label: label % 2)
    )
    matrix = m.confusion_matrix(reference, prediction, 4, ignore=255)
    wrong = [((prediction == k) & (reference != k) & (reference != 255)).sum() for k in sizes]
    expected = counts[:, 0] / (counts.sum(1) + wrong)
    np.testing.assert_allclose(m.instance_iou(counts, matrix, list(sizes)), expected)


def test_an_instance_has_one_class():
    with pytest.raises(ValueError, match="more than one class: 7"):
        m.instance_counts(np.array([0, 1]), np.array([0, 1]), np.array([7, 7]), {1: 3.0})
    with pytest.raises(ValueError, match="differ in shape"):
        m.instance_counts(np.array([0, 1]), np.array([0, 1]), np.array([7]), {1: 3.0})


def test_a_mean_says_what_it_left_out():
    assert m.mean_of_defined([1, np.nan, 2]) == (1.5, 2, 1)
    assert m.mean_of_defined([1, np.inf]).value == math.inf
    assert math.isnan(m.mean_of_defined([]).value)
