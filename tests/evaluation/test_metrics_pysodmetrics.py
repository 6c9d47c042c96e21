"""Our S-, E- and weighted F-measure against pysodmetrics, and HCE, which is pysodmetrics'."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from nnunet_ext.evaluation import metrics as m

sod = pytest.importorskip("py_sod_metrics")


def maps(seed, shape):
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 4)
    reference = field > field.std() * rng.uniform(-1, 2)
    noisy = reference + gaussian_filter(rng.normal(size=shape), rng.uniform(0, 3)) * 2
    levels = np.clip(noisy * 255, 0, 254).astype(np.uint8)
    return reference, np.where(levels > 0, (levels + 0.25) / 255, 0.0)  # no value on one of the 256 thresholds


@pytest.mark.parametrize("seed", range(12))
def test_measures_are_pysodmetrics(seed):
    reference, p = maps(seed, (40 + seed, 61 - seed))
    measures = {name: getattr(sod, name)() for name in ("Smeasure", "Emeasure", "WeightedFmeasure", "MAE")}
    for measure in measures.values():
        measure.step(p, reference, normalize=False)
    results = {name: measure.get_results() for name, measure in measures.items()}
    assert m.s_measure(reference, p) == pytest.approx(results["Smeasure"]["sm"], abs=1e-6)
    assert m.weighted_f_measure(reference, p) == pytest.approx(results["WeightedFmeasure"]["wfm"], abs=1e-6)
    assert m.soft_mean_absolute_error(reference, p) == pytest.approx(results["MAE"]["mae"], abs=1e-6)
    assert m.e_measure_adaptive(reference, p) == pytest.approx(results["Emeasure"]["em"]["adp"], abs=1e-6)
    np.testing.assert_allclose(m.e_measure_curve(reference, p), results["Emeasure"]["em"]["curve"], atol=1e-6)


def square(*parts):
    mask = np.zeros((128, 128), bool)
    mask[30:90, 30:90] = True
    for value, rows, columns in parts:
        mask[rows, columns] = value
    return mask


CASES = {
    "identical": (square(), 0),
    "dilated by 3": (binary_dilation(square(), np.ones((7, 7))), 0),
    "dilated by 12": (binary_dilation(square(), np.ones((25, 25))), 5),
    "hole": (square((False, slice(50, 70), slice(50, 70))), 1),
    "separate": (square((True, slice(100, 120), slice(100, 120))), 1),
    "separate and small": (square((True, slice(100, 106), slice(100, 106))), 0),
    "right half missing": (square((False, slice(None), slice(60, None))), 6),
    "empty": (square() & False, 9),
    "full": (square() | True, 5),
}


@pytest.mark.parametrize("name", CASES)
def test_effort_of_a_square(name):
    prediction, effort = CASES[name]
    assert m.human_correction_effort(square(), prediction) == effort


def test_effort_without_a_reference():
    assert m.human_correction_effort(square() & False, square()) == 1
    assert m.human_correction_effort(square() & False, square() & False) == 0
    assert m.human_correction_effort(square(), square() & False, size=64) == 9
