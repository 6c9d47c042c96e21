"""Every metric by name: it computes from what it says it needs, and better is better."""

import math
import subprocess
import sys

import numpy as np
import pytest

from nnunet_ext.evaluation import metrics as m
from nnunet_ext.evaluation.metrics import paper_compat

pytestmark = pytest.mark.filterwarnings("error")
PAPER = paper_compat.__name__
TRUTH = np.zeros((40, 50), bool)
TRUTH[10:25, 12:30] = True
GOOD, BAD = np.roll(TRUTH, 1, 0), np.roll(TRUTH, 9, 1)
BAD[30:38, 2:40] = True


def computed(metric, prediction):
    inputs = {
        "counts": lambda: [m.Counts.of(TRUTH, prediction)],
        "distances": lambda: [m.surface_distances(TRUTH, prediction)],
        "masks": lambda: [TRUTH, prediction],
        "probabilities": lambda: [TRUTH, prediction * 0.8 + 0.1],
        "confusion": lambda: [m.confusion_matrix(TRUTH.astype(int), prediction.astype(int), 2)],
        "depth": lambda: [1.0 + TRUTH, 1.0 + prediction],
    }
    value = metric.compute(*inputs[metric.needs]())
    return value.value if isinstance(value, m.Mean) else float(value)


@pytest.mark.parametrize("name", m.METRICS)
def test_better_is_better(name):
    metric = m.METRICS[name]
    if metric.extra:
        pytest.importorskip("py_sod_metrics")
    right, good, bad = (computed(metric, mask) for mask in (TRUTH, GOOD, BAD))
    sign = {"higher": 1, "lower": -1, "zero": -1}[metric.better]
    right, good, bad = (sign * (abs(v) if metric.better == "zero" else v) for v in (right, good, bad))
    assert right >= good >= bad
    assert right > bad


def test_names_and_units():
    assert all(name == metric.name for name, metric in m.METRICS.items())
    titles = [metric.title for metric in m.METRICS.values()]
    assert len(set(titles)) == len(titles)
    assert {metric.unit for metric in m.METRICS.values()} == {"", "%", "px"}
    assert m.METRICS["hd"].unit_with("mm") == "mm"
    assert m.METRICS["rvd"].unit_with("mm") == "%"
    papers = {name for name, metric in m.METRICS.items() if metric.paper}
    assert papers == {name for name, f in vars(paper_compat).items() if getattr(f, "__module__", "") == PAPER}


def test_paper_arithmetic_by_hand():
    missed, wrong = m.Counts(0, 0, 10, 90), m.Counts(10, 10, 0, 80)
    assert paper_compat.mae_uint8_wrap(missed) == pytest.approx(10 / 255 / 100, rel=1e-5)
    assert paper_compat.mae_uint8_wrap(wrong) == pytest.approx(0.1, rel=1e-5)
    assert paper_compat.conformity_floor0(missed) == 0
    assert paper_compat.conformity_floor0(wrong) == pytest.approx(0)  # D = 2/3
    assert paper_compat.conformity_floor0(m.Counts(1, 1, 1, 0)) == pytest.approx(-1)
    assert paper_compat.f_beta_1e4(m.Counts(5, 0, 0, 5)) == pytest.approx(0.999923, abs=1e-6)
    empty = m.surface_distances(TRUTH, TRUTH & False)
    assert paper_compat.hd_empty0(empty) == paper_compat.asd_empty0(empty) == 0
    nothing = m.Counts(0, 0, 0, 5)
    assert (paper_compat.dice_empty0(nothing), paper_compat.m2snet_iou(nothing)) == (0, 1)
    p = np.array([0.2, 0.4, 0.6])
    scaled = paper_compat.m2snet_soft_dice(p > 0.5, p)
    assert scaled == pytest.approx((2 * 1 + 1e-5) / (1.5 + 1 + 1e-5))
    assert paper_compat.m2snet_soft_dice(p > 1, p * 0) == 1


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "py_sod_metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'nnunet-ext\[metrics\]'"):
        m.human_correction_effort(TRUTH, GOOD)
    with pytest.raises(ValueError, match="2D masks; got 3D"):
        m.human_correction_effort(TRUTH[None], GOOD[None])


def test_importing_is_light():
    heavy = {"torch", "nnunetv2", "monai", "skimage", "pandas"}
    code = f"import sys, nnunet_ext.evaluation.metrics; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_undefined_is_nan_for_all_overlaps():
    nothing = m.Counts(0, 0, 0, 9)
    assert all(math.isnan(m.METRICS[name].compute(nothing)) for name in ("dice", "jaccard", "f1", "f_beta03", "rvd"))
