"""Scores of probability maps and of depth: by hand, by plain loops, and on the edges."""

import math

import numpy as np
import pytest

from nnunet_ext.evaluation import metrics as m

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(0)
MAPS = (
    m.soft_dice,
    m.soft_mean_absolute_error,
    m.s_measure,
    m.weighted_f_measure,
    m.e_measure_adaptive,
    m.e_measure_mean,
    m.e_measure_max,
)


def example(shape=(14, 17)):
    reference = np.zeros(shape, bool)
    reference[1:8, 4:12] = True  # windows of the weighted F-measure reach over the edge
    return reference, np.clip(reference * 0.6 + RNG.random(shape) * 0.4, 0, 1)


def test_soft_dice_and_error_by_hand():
    reference = np.array([[True, False], [True, False]])
    p = np.array([[0.5, 0.25], [1.0, 0.0]], np.float32)
    assert m.soft_dice(reference, p) == pytest.approx(2 * 1.5 / (1.75 + 2))
    assert m.soft_mean_absolute_error(reference, p) == pytest.approx(0.75 / 4)
    volume = RNG.random((3, 4, 5)).astype(np.float32)
    truth = volume > 0.6
    assert m.soft_mean_absolute_error(truth, volume) == pytest.approx(np.abs(volume - truth).mean(), rel=1e-6)


def test_binary_maps_have_the_scores_of_their_masks():
    reference, p = example()
    mask = p > 0.7
    c = m.Counts.of(reference, mask)
    assert m.soft_dice(reference, mask.astype(float)) == pytest.approx(m.dice(c))
    assert m.soft_mean_absolute_error(reference, mask.astype(float)) == pytest.approx(m.mean_absolute_error(c))


def alignment_by_loops(reference, mask):
    a, b = reference - reference.mean(), mask - mask.mean()
    total = 0.0
    for x, y in zip(a.ravel(), b.ravel(), strict=True):
        total += (1 + 2 * x * y / (x * x + y * y)) ** 2 / 4
    return total / (reference.size - 1)


def test_e_measure_by_loops():
    reference, p = example()
    mask = p >= 2 * p.mean()
    expected = alignment_by_loops(reference, mask)
    assert m.e_measure(m.Counts.of(reference, mask)) == pytest.approx(expected)
    assert m.e_measure_adaptive(reference, p) == pytest.approx(expected)
    curve = m.e_measure_curve(reference, p)
    for n in (60, 128, 200):
        assert curve[n] == pytest.approx(alignment_by_loops(reference, np.floor(255 * p) >= 255 - n))
    assert curve.shape == (256,)
    assert m.e_measure_mean(reference, p) == pytest.approx(curve.mean())
    assert m.e_measure_max(reference, p) == curve.max()


def test_e_measure_takes_tables_and_volumes():
    table = m.Counts(np.array([3, 0, 0]), np.array([1, 2, 0]), np.array([2, 0, 0]), np.array([9, 8, 7]))
    rows = [m.e_measure(m.Counts(*row)) for row in ((3, 1, 2, 9), (0, 2, 0, 8), (0, 0, 0, 7))]
    np.testing.assert_allclose(m.e_measure(table), rows)
    assert rows[1:] == pytest.approx([8 / 9, 7 / 6])
    reference, p = example((14, 24))
    solid = m.e_measure_max(reference.reshape(14, 6, 4), p.reshape(14, 6, 4))
    assert solid == m.e_measure_max(reference, p)


def weighted_f_by_loops(reference, p):
    """The definition, pixel by pixel."""
    height, width = reference.shape
    inside = np.argwhere(reference)
    raw = np.abs(p - reference)
    kernel = {(i, j): math.exp(-(i * i + j * j) / 50) for i in range(-3, 4) for j in range(-3, 4)}
    spread, weight = np.zeros_like(p), np.ones_like(p)
    for y in range(height):
        for x in range(width):
            lengths = np.hypot(*(inside - (y, x)).T)
            spread[y, x] = raw[tuple(inside[lengths.argmin()])]
            if not reference[y, x]:
                weight[y, x] = 2 - math.exp(math.log(0.5) / 5 * lengths.min())
    errors = np.zeros_like(p)
    for y in range(height):
        for x in range(width):
            around = sum(
                g * spread[y + i, x + j] for (i, j), g in kernel.items() if 0 <= y + i < height and 0 <= x + j < width
            ) / sum(kernel.values())
            own = raw[y, x]
            errors[y, x] = weight[y, x] * (min(own, around) if reference[y, x] else own)
    hits = reference.sum() - errors[reference].sum()
    recall, precision = 1 - errors[reference].mean(), hits / (hits + errors[~reference].sum())
    return 2 * recall * precision / (recall + precision)


def test_weighted_f_by_loops():
    reference, p = example((14, 17))  # a box: no pixel outside has two nearest ones
    assert m.weighted_f_measure(reference, p) == pytest.approx(weighted_f_by_loops(reference, p), rel=1e-9)


def s_measure_by_loops(reference, p):
    """The definition with statistics written out."""

    def mean(values):
        return sum(values) / len(values)

    def spread(x, y):
        return sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)) / (len(x) - 1)

    def alike(values):
        return 2 * mean(values) / (mean(values) ** 2 + 1 + math.sqrt(spread(values, values)))

    pixels = [(y, x, int(reference[y, x]), float(p[y, x])) for y, x in np.ndindex(reference.shape)]
    inside, outside = [v for *_, g, v in pixels if g], [1 - v for *_, g, v in pixels if not g]
    share = len(inside) / len(pixels)
    row, column = (round(mean([pixel[axis] for pixel in pixels if pixel[2]])) + 1 for axis in (0, 1))
    region = 0.0
    for above in (True, False):
        for left in (True, False):
            part = [pixel for pixel in pixels if (pixel[0] < row) == above and (pixel[1] < column) == left]
            g, v = [float(pixel[2]) for pixel in part], [pixel[3] for pixel in part]
            likeness = 4 * mean(g) * mean(v) * spread(g, v)
            likeness /= (mean(g) ** 2 + mean(v) ** 2) * (spread(g, g) + spread(v, v))
            region += likeness * len(part) / len(pixels)
    return 0.5 * (share * alike(inside) + (1 - share) * alike(outside)) + 0.5 * region


def test_s_measure_by_loops():
    reference, p = example((14, 17))
    assert m.s_measure(reference, p) == pytest.approx(s_measure_by_loops(reference, p), rel=1e-9)
    assert m.s_measure(reference, p) != pytest.approx(m.s_measure(reference[::-1], p[::-1]), rel=1e-4)  # the centroid


def test_a_perfect_map_and_the_edges():
    reference, _ = example()
    perfect, nothing, everything = reference.astype(float), np.zeros(reference.shape), np.ones(reference.shape)
    assert m.s_measure(reference, perfect) == pytest.approx(1)
    assert m.weighted_f_measure(reference, perfect) == pytest.approx(1)
    empty, full = nothing > 0, everything > 0
    assert math.isnan(m.soft_dice(empty, nothing))
    assert math.isnan(m.weighted_f_measure(empty, nothing))
    assert m.soft_dice(empty, everything) == m.soft_dice(full, nothing) == m.weighted_f_measure(empty, everything) == 0
    assert m.s_measure(empty, nothing) == m.s_measure(full, everything) == 1
    assert m.s_measure(empty, everything) == m.s_measure(full, nothing) == 0
    pixel = nothing.copy()
    pixel[5, 5] = 1
    assert m.s_measure(pixel > 0, pixel) == pytest.approx(1)
    assert all(math.isfinite(score(pixel > 0, np.full(pixel.shape, 0.25))) for score in MAPS)
    assert all(math.isfinite(score(np.ones((1, 1), bool), np.full((1, 1), 0.25))) for score in MAPS[:4])


@pytest.mark.parametrize("score", MAPS, ids=lambda f: f.__name__)
def test_bad_maps_are_refused(score):
    reference, p = example()
    for bad, message in (
        (p[:5], "differ in shape"),
        ((p * 255).astype(np.uint8), "must be floating; got uint8"),
        (p * 255, r"must be in 0 \.\. 1"),
        (np.where(p > 0.5, np.nan, p), r"must be in 0 \.\. 1; got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            score(reference, bad)
    with pytest.raises(ValueError, match="boolean"):
        score(reference.astype(int), p)


@pytest.mark.parametrize("score", [m.s_measure, m.weighted_f_measure])
def test_what_is_2d_says_so(score):
    reference, p = example()
    with pytest.raises(ValueError, match="defined for 2D images; got 3D"):
        score(reference[None], p[None])


def test_half_precision_passes():
    reference, p = example()
    rounded = np.float32(1.0001) * reference
    assert m.soft_dice(reference, rounded) == pytest.approx(1, rel=1e-3)
    assert m.e_measure_max(reference, rounded) == pytest.approx(1, rel=1e-2)
    assert m.s_measure(reference, p.astype(np.float16)) == pytest.approx(m.s_measure(reference, p), rel=1e-3)


def test_depth_by_hand():
    truth = np.array([[2.0, 4.0, np.nan], [0.0, -1.0, 8.0]])
    found = np.array([[2.4, 2.0, 5.0], [3.0, np.nan, 8.0]])
    assert m.rmse(truth, found) == pytest.approx(math.sqrt((0.16 + 4 + 0) / 3))
    assert m.abs_rel(truth, found) == pytest.approx((0.2 + 0.5 + 0) / 3)
    assert m.delta_accuracy(truth, found) == pytest.approx(2 / 3)
    assert m.delta_accuracy(np.array([1.0, 1.0]), np.array([1.25, 0.63]), power=2) == 0.5
    assert m.delta_accuracy(np.array([1.0, 1.0]), np.array([1.25, 0.63]), power=3) == 1
    assert m.delta_accuracy(np.array([1.0, 1.0]), np.array([1.25, 0.85])) == 0.5  # the limit itself is out
    assert m.delta_accuracy(np.ones(2), np.array([0.0, -1.0]), power=3) == 0
    mask = np.zeros((2, 3), bool)
    mask[0, 0] = mask[1, 0] = True
    assert m.rmse(truth, found, mask) == pytest.approx(0.4)


@pytest.mark.parametrize("score", [m.rmse, m.abs_rel, m.delta_accuracy])
def test_depth_is_never_averaged_over_in_silence(score):
    assert math.isnan(score(np.ones(3), np.array([1, np.nan, 1])))
    assert math.isnan(score(np.zeros(3), np.ones(3)))
    with pytest.raises(ValueError, match="differ in shape"):
        score(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="boolean"):
        score(np.ones(3), np.ones(3), np.ones(3))
