"""All metrics against the reference vectors of the IFE and M2SNet papers' metrics, where these are at hand."""

import numpy as np
import pytest
import support

from nnunet_ext.evaluation import metrics as m
from nnunet_ext.evaluation.metrics import paper_compat as paper

FILE = support.REFERENCE / "ife_metrics.npz"
pytestmark = [pytest.mark.skipif(not FILE.exists(), reason="no reference vectors"), pytest.mark.filterwarnings("error")]
COUNTS = {
    "dsc": m.dice,
    "jc": m.jaccard,
    "con": m.conformity,
    "precision": m.precision,
    "recall": m.recall,
    "specificity": m.specificity,
    "fbeta03": lambda c: m.f_beta(c, 0.3),
    "rvd_percent": m.absolute_volume_difference,
    "mae_binary": m.mean_absolute_error,
    "ife_code.con": paper.conformity_floor0,
    "ife_code.dsc": paper.dice_empty0,
    "ife_code.f1_beta03": paper.f_beta_1e4,
    "ife_code.mae_uint8": paper.mae_uint8_wrap,
}
DISTANCES = {
    "hd": m.hausdorff,
    "hd95_pooled": m.hausdorff_percentile_pooled,
    "hd95_max_directed": m.hausdorff_percentile,
    "asd_pred_to_mask": m.directed_mean,
    "asd_mean_of_means": m.assd_mean_of_means,
    "assd_pooled": m.assd_pooled,
    "ife_code.hd": paper.hd_empty0,
    "ife_code.asd": paper.asd_empty0,
}
MAPS = {
    "mae_soft": m.soft_mean_absolute_error,
    "s_measure": m.s_measure,
    "e_adaptive": m.e_measure_adaptive,
    "e_mean": m.e_measure_mean,
    "e_max": m.e_measure_max,
    "weighted_f": m.weighted_f_measure,
    "msnet_code.dice_soft": lambda g, p: paper.m2snet_soft_dice(g, p, normalise=False),
}


@pytest.fixture(scope="module")
def vectors():
    with np.load(FILE, allow_pickle=False) as stored:
        return dict(stored)


def pairs(vectors):
    return [(vectors[f"{name}.mask"] > 0, vectors[f"{name}.pred"]) for name in vectors["cases"]]


def expect(found, vectors, name, rtol=1e-6):
    np.testing.assert_allclose(found, vectors[f"values.{name}"], rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(vectors, name):
    columns = m.Counts(*(vectors[f"values.{key}"] for key in ("tp", "fp", "fn", "tn")))
    expect(COUNTS[name](columns), vectors, name)
    expect([COUNTS[name](m.Counts.of(g, p >= 0.5)) for g, p in pairs(vectors)], vectors, name)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances(vectors, name):
    found = np.array([DISTANCES[name](m.surface_distances(g, p >= 0.5)) for g, p in pairs(vectors)])
    expect(np.where(np.isinf(found), np.nan, found), vectors, name, rtol=1e-5)  # stored: NaN if either is empty


@pytest.mark.parametrize("name", MAPS)
def test_maps(vectors, name):
    found = [MAPS[name](g, p) for g, p in pairs(vectors)]
    if name == "weighted_f":  # stored: 0 if both are empty
        assert vectors["cases"][np.isnan(found)].tolist() == ["both_empty"]
        found = np.nan_to_num(found)
    expect(found, vectors, name)


def test_e_measure_curves(vectors):
    curves = np.array([m.e_measure_curve(g, p) for g, p in pairs(vectors)])
    np.testing.assert_allclose(curves, [vectors[f"{name}.e_curve"] for name in vectors["cases"]], atol=1e-6)
    assert curves.mean(0).max() == pytest.approx(float(vectors["dataset.e_max_of_mean_curve"]), abs=1e-6)
    assert curves.max(1).mean() == pytest.approx(float(vectors["dataset.e_mean_of_case_max"]), abs=1e-6)


def test_m2snet_iou(vectors):
    expect([paper.m2snet_iou(m.Counts.of(g, p > 0.5)) for g, p in pairs(vectors)], vectors, "msnet_code.iou")


def test_correction_effort(vectors):
    pytest.importorskip("py_sod_metrics")
    found = [(g, p >= 0.5) for g, p in pairs(vectors)]
    assert [m.human_correction_effort(g, p) for g, p in found] == vectors["values.hce_native"].tolist()
    small = np.array([m.human_correction_effort(g, p, size=64) for g, p in found])
    assert np.abs(small - vectors["values.hce_64_threshold128"]).max() <= 2  # OpenCV's releases differ in one case
    theirs = np.array([paper.hce64(g, p) for g, p in found])
    assert (theirs == vectors["values.hce_64_ife_code"]).sum() >= 11  # the rest: another skeleton
