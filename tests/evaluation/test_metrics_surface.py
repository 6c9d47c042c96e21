"""Surface distances against all pairs of border pixels that plain loops find."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from nnunet_ext.evaluation import metrics as m
from nnunet_ext.evaluation.metrics import surface

pytestmark = pytest.mark.filterwarnings("error")
LENGTHS = (
    m.hausdorff,
    m.hausdorff_percentile,
    m.hausdorff_percentile_pooled,
    m.assd_mean_of_means,
    m.assd_pooled,
    m.directed_mean,
)


def border_by_loops(mask):
    found = []
    for place in itertools.product(*map(range, mask.shape)):
        sides = [
            tuple(p + step * (k == axis) for k, p in enumerate(place)) for axis in range(mask.ndim) for step in (-1, 1)
        ]
        inside = all(all(0 <= p < n for p, n in zip(q, mask.shape, strict=True)) and mask[q] for q in sides)
        if mask[place] and not inside:
            found.append(place)
    return np.array(found)


def masks(shape, kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.random(shape) < 0.5, rng.random(shape) < 0.4
    grid = np.indices(shape)
    centres = [np.array(shape).reshape(-1, *[1] * len(shape)) * share for share in (0.45, 0.55)]
    return tuple(((grid - c) ** 2).sum(0) < (min(shape) * 0.35) ** 2 for c in centres)


@pytest.mark.parametrize("dense", [0.0, 1e9], ids=["distance transform", "tree"])
@pytest.mark.parametrize("kind", ["noise", "balls"])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((23, 31), None), ((23, 31), (0.5, 2.0)), ((9, 12, 11), None), ((9, 12, 11), (3.0, 0.7, 1))]
)
def test_every_distance_is_that_of_all_pairs(shape, spacing, kind, dense, monkeypatch):
    monkeypatch.setattr(surface, "DENSE", dense)
    reference, prediction = masks(shape, kind)
    d = m.surface_distances(reference, prediction, spacing)
    steps = np.array(spacing or [1] * len(shape))
    pairs = cdist(border_by_loops(prediction) * steps, border_by_loops(reference) * steps)
    there, back = pairs.min(1), pairs.min(0)
    both = np.concatenate([there, back])
    np.testing.assert_allclose(np.sort(d.to_reference), np.sort(there), atol=1e-12)
    np.testing.assert_allclose(np.sort(d.to_prediction), np.sort(back), atol=1e-12)
    assert m.hausdorff(d) == pytest.approx(both.max())
    assert m.hausdorff_percentile(d) == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert m.hausdorff_percentile_pooled(d) == pytest.approx(np.percentile(both, 95))
    assert m.assd_mean_of_means(d) == pytest.approx((there.mean() + back.mean()) / 2)
    assert m.assd_pooled(d) == pytest.approx(both.mean())
    assert m.directed_mean(d) == pytest.approx(there.mean())
    assert m.surface_dice(d, 1.3) == pytest.approx((both <= 1.3).mean())
    assert d.diagonal == pytest.approx(math.hypot(*(np.array(shape) * steps)))


def test_by_hand():
    reference, prediction = np.zeros((2, 6, 9), bool)
    reference[1, 1] = True
    prediction[4, 5] = prediction[1, 1] = True
    d = m.surface_distances(reference, prediction)
    assert [m.hausdorff(d), m.directed_mean(d), m.assd_pooled(d)] == pytest.approx([5, 2.5, 5 / 3])
    assert m.assd_mean_of_means(d) == 1.25
    assert m.surface_dice(d, 0) == pytest.approx(2 / 3)
    assert m.hausdorff(m.surface_distances(reference, prediction, (2, 1.5))) == pytest.approx(math.hypot(6, 6))
    assert m.hausdorff(m.surface_distances(reference, prediction, 0.1)) == pytest.approx(0.5)
    three = m.surface_distances(np.eye(1, 9, 0) > 0, np.eye(1, 9, 3) > 0, 0.4)
    assert (m.surface_dice(three, 1.2), m.surface_dice(three, 1.199)) == (1, 0)  # although 3 * 0.4 > 1.2


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (1, 4, 5), (1, 1)])
def test_empty_full_and_one_pixel(shape):
    nothing, everything = np.zeros(shape, bool), np.ones(shape, bool)
    pixel = nothing.copy()
    pixel[(0,) * len(shape)] = True
    both = m.surface_distances(nothing, nothing)
    assert all(math.isnan(score(both)) for score in (*LENGTHS, m.surface_dice))
    for pair in ((nothing, pixel), (pixel, nothing), (everything, nothing)):
        d = m.surface_distances(*pair)
        assert [score(d) for score in LENGTHS] == [math.inf] * len(LENGTHS)
        assert m.surface_dice(d) == 0
        assert m.penalised(m.hausdorff(d), d) == pytest.approx(math.hypot(*shape))
    for mask in (pixel, everything):
        d = m.surface_distances(mask, mask)
        assert [score(d) for score in LENGTHS] == [0] * len(LENGTHS)
        assert m.surface_dice(d) == m.surface_dice(d, 0) == 1
        assert m.penalised(m.hausdorff(d), d) == 0


def test_one_slice_is_an_image():
    reference, prediction = masks((20, 24), "balls")
    flat = m.surface_distances(reference, prediction, (2.0, 3.0))
    slab = m.surface_distances(reference[None], prediction[None], (9.0, 2.0, 3.0))
    np.testing.assert_array_equal(slab.pooled, flat.pooled)


def test_bad_arguments_are_refused():
    mask = np.zeros((3, 4), bool)
    for spacing in ((1.0,), (1, 2, 3), 0, (1, -1), float("nan")):
        with pytest.raises(ValueError, match="spacing must be a positive number, or one for each of 2 axes"):
            m.surface_distances(mask, mask, spacing)
    with pytest.raises(ValueError, match="boolean; got uint8"):
        m.surface_distances(mask.astype(np.uint8), mask)
    with pytest.raises(ValueError, match="differ in shape"):
        m.surface_distances(mask, mask.T)
    with pytest.raises(ValueError, match="tolerance must be 0 or more; got -1"):
        m.surface_dice(m.surface_distances(mask, mask), -1)


@pytest.mark.parametrize(("shape", "kind"), [((512, 512), "balls"), ((512, 512), "noise"), ((48, 48, 48), "noise")])
def test_memory_is_a_few_times_the_image(shape, kind):
    """All pairs of the borders would be gigabytes; the image is a float of eight bytes a pixel."""
    reference, prediction = masks(shape, kind)
    tracemalloc.start()
    m.surface_distances(reference, prediction)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * reference.size * 8
