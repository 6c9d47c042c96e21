"""Scores of channels against hand values, loops, other libraries, and what the authors' code computed."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from support import REFERENCE

from nnunet_ext.architectures.encoders.channel_scores import box_sum, curvature_scores, entropy_scores

RANGES = ("channel", "image", "batch", "unique", "joint")
STENCIL = np.array([[-1, 5, -1], [5, -16, 5], [-1, 5, -1]]) / 16
ROWS, COLUMNS = (torch.arange(5.0).view(-1, 1).expand(5, 5), torch.arange(5.0).expand(5, 5))


def features(*shape, seed=0, slope=0.0):
    """Smooth features after a (leaky) ReLU, each channel with a gain of its own."""
    generator = torch.Generator().manual_seed(seed)
    x = box_sum(torch.randn(shape, generator=generator)) / 3
    gain = 0.2 + torch.rand(shape[1], generator=generator)
    return torch.nn.functional.leaky_relu(x, slope) * gain.view(1, -1, *[1] * (len(shape) - 2))


def stencil_3d():
    """The mean of the 2D stencil laid in the three coordinate planes."""
    total = np.zeros((3, 3, 3))
    total[1] += STENCIL
    total[:, 1] += STENCIL
    total[:, :, 1] += STENCIL
    return total / 3


# ---------------------------------------------------------------- curvature


@pytest.mark.parametrize(
    ("map_", "score"),
    [
        (torch.zeros(5, 5), 0),
        (torch.full((5, 5), 3.0), 0),
        (2 * COLUMNS - 3 * ROWS + 20, 0),  # a plane
        ((ROWS == 2) * (COLUMNS == 2), 2.5),  # an impulse
        ((ROWS == 0) * (COLUMNS == 0), 1 / 16),
        (COLUMNS**2, 9 * 0.375),
        (ROWS**2 + COLUMNS**2, 9 * 0.75),
    ],
)
def test_curvature_by_hand(map_, score):
    assert curvature_scores(map_.float()[None, None]).item() == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("shape", [(7, 9), (3, 3), (5, 6, 7), (3, 4, 3)])
def test_curvature_is_the_sum_over_a_correlation_with_the_stencil(shape):
    x = features(2, 4, *shape, slope=0.3)
    stencil = STENCIL if len(shape) == 2 else stencil_3d()
    inside = (slice(1, -1),) * len(shape)
    expected = [
        [np.abs(ndimage.correlate(c.double().numpy(), stencil)[inside]).sum() for c in image] for image in x
    ]  # fmt: skip
    assert np.allclose(curvature_scores(x), expected, rtol=1e-5)


def test_short_axes_are_left_out_of_the_curvature():
    x = features(1, 3, 2, 9, 8)
    in_plane = sum(curvature_scores(x[:, :, d]) for d in range(2))
    assert torch.allclose(curvature_scores(x), in_plane, rtol=1e-5)
    assert torch.allclose(curvature_scores(x, (1, 2)), in_plane, rtol=1e-5)
    line = features(1, 3, 1, 12)
    second = line[..., 2:] + line[..., :-2] - 2 * line[..., 1:-1]
    assert torch.allclose(curvature_scores(line), 3 / 16 * second.abs().sum((2, 3)), rtol=1e-5)
    # a map that is constant along an axis scores the same as the line that it is made of, by every row inside
    assert torch.allclose(curvature_scores(line.expand(-1, -1, 5, -1)), 3 * curvature_scores(line), rtol=1e-5)
    assert torch.equal(curvature_scores(features(1, 3, 2, 2)), torch.zeros(1, 3))


def test_curvature_in_millimetres():
    """Of r^2 / h^2 on a grid with steps h, weights (h_min / h)^2 give each axis the same part."""
    steps = torch.tensor([3.0, 1.0, 1.0])
    grid = torch.meshgrid(*(torch.arange(6.0) * s for s in steps), indexing="ij")
    weights = ((steps.min() / steps) ** 2).tolist()
    for axis in range(3):
        x = (grid[axis] ** 2)[None, None]
        assert curvature_scores(x, None, weights).item() == pytest.approx(4**3 * 0.25, rel=1e-4)
    assert curvature_scores((grid[0] ** 2)[None, None]).item() == pytest.approx(4**3 * 0.25 * 9, rel=1e-4)


# ---------------------------------------------------------------- entropy


def entropy(counts, n):
    p = np.array([c for c in counts if c > 0], dtype=np.float64) / n
    return -(p * np.log2(p)).sum()


def naive_entropy(x, over):
    """One channel of one image after another, with numpy, torch.histc and dictionaries."""
    result = np.zeros(x.shape[:2])
    s = x.new_empty(x.shape)
    j = torch.zeros_like(x)
    sides = x.shape[2:]
    for place in itertools.product(*(range(n) for n in sides)):
        box = tuple(slice(max(0, p - 1), p + 2) for p in place)
        total = x[(..., *box)].flatten(2).double().sum(-1) - x[(..., *place)]
        j[(..., *place)] = (total / (3 ** len(sides) - 1)).float()
    s = 100 * x + j
    for b, c in np.ndindex(*x.shape[:2]):
        row = s[b, c].flatten()
        where = {"channel": row, "image": s[b], "batch": s}.get(over, row)
        if over == "unique":
            counts = np.unique(row.numpy(), return_counts=True)[1]
        elif over == "joint":
            low, high = x[b, c].min().item(), x[b, c].max().item()
            pairs = [
                tuple(min(255, max(0, math.floor((v - low) * 256 / (high - low)))) for v in pair)
                for pair in zip(x[b, c].flatten().tolist(), j[b, c].flatten().tolist(), strict=True)
            ]
            counts = [pairs.count(pair) for pair in set(pairs)]
        else:
            counts = torch.histc(row, 256, where.min().item(), where.max().item()).tolist()
        result[b, c] = entropy(counts, row.numel())
    return result


@pytest.mark.parametrize("over", RANGES)
@pytest.mark.parametrize("shape", [(9, 8), (4, 5, 6)])
def test_entropy_of_every_histogram_by_loops(over, shape):
    x = features(2, 3, *shape) + 0.01  # no value of i is 0 / 0
    # powers of two make every sum exact, so that no rounding moves a value to another bin
    x = (x * 64).round() / 64
    assert np.allclose(entropy_scores(x, over), naive_entropy(x, over), atol=2e-5)


def test_entropy_by_hand():
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    assert entropy_scores(ramp, "joint").item() == pytest.approx(4)
    assert entropy_scores(torch.zeros(1, 1, 4, 4)).item() == 0
    constant = torch.full((1, 1, 4, 4), 7.0)
    assert entropy_scores(constant, "joint").item() == 0
    # zeros around the map make three values of j: 4 corners, 8 voxels of the edges, 4 inside
    assert entropy_scores(constant).item() == pytest.approx(2 * 0.25 * 2 + 0.5)
    n, m = 16, 36  # the authors divide by the voxels of the padded map
    assert n / m * (entropy_scores(ramp, "joint").item() + math.log2(m / n)) == pytest.approx(2.297744, abs=1e-6)
    constant = entropy_scores(torch.zeros(1, 1, 4, 4), "unique").item()
    assert n / m * (constant + math.log2(m / n)) == pytest.approx(0.519967, abs=1e-6)


def test_neighbours_along_some_axes_only():
    x = features(1, 2, 3, 6, 5)
    by_slice = torch.stack([box_sum(x[:, :, d]) for d in range(3)], 2)
    assert torch.allclose(box_sum(x, (1, 2)), by_slice, atol=1e-6)
    assert torch.equal(box_sum(x[:, :, :1, :1, :1]), x[:, :, :1, :1, :1])


def test_exact_values_tell_nothing_after_a_leaky_relu():
    x = features(1, 16, 12, 12, slope=0.01)
    assert len(entropy_scores(x, "unique").unique()) == 1
    assert len(entropy_scores(x).unique()) > 12


# ---------------------------------------------------------------- both

SCORES = {"curvature": curvature_scores} | {
    f"entropy {over}": lambda x, over=over: entropy_scores(x, over) for over in RANGES
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_channels_that_are_not_finite_score_lowest(score):
    x = features(2, 6, 8, 8)
    x[0, 1, 3, 3] = math.nan
    x[1, 4, 0, 5] = math.inf
    scores = score(x)
    assert scores[0, 1] == scores[1, 4] == -math.inf
    assert torch.isfinite(scores).sum() in (0, 10)  # those that share their range are lost with them
    if scores.isfinite().any():
        alone = score(features(2, 6, 8, 8))
        assert torch.equal(scores[scores.isfinite()], alone[scores.isfinite()])


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("shape", [(10, 12), (4, 6, 8)])
def test_mirroring_does_not_change_scores(score, shape):
    x = features(1, 5, *shape)
    x = (x * 64).round() / 64
    for axes in ((2,), (3,), (2, 3)):
        assert torch.allclose(score(x.flip(axes)), score(x), rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in SCORES if "batch" not in n])
def test_images_are_scored_one_by_one(name):
    x = features(3, 5, 9, 11)
    x[1] *= 50
    assert torch.equal(SCORES[name](x)[:1], SCORES[name](x[:1]))


def test_the_authors_range_depends_on_the_batch():
    x = features(2, 5, 9, 11)
    x[1] *= 50
    assert not torch.equal(entropy_scores(x, "batch")[:1], entropy_scores(x[:1], "batch"))


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_features_are_not_changed_and_scores_have_no_gradient(score):
    x = features(2, 4, 8, 8).requires_grad_()
    before = x.detach().clone()
    scores = score(x)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert torch.equal(x, before)


# ---------------------------------------------------------------- reference

CASES = ("relu", "leaky", "dead", "quant", "ties", "hand", "tiny")
METHODS = {
    "curvature": "curvature",
    "entropy_batch_hist": "entropy batch",
    "entropy_unique": "entropy unique",
    "entropy_joint": "entropy joint",
    "entropy_channel_hist": "entropy channel",
    "entropy_image_hist": "entropy image",
}


@pytest.fixture(scope="module")
def reference():
    path = REFERENCE / "ife_scores.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return np.load(path, allow_pickle=False)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_authors_code(reference, case, method):
    x = torch.from_numpy(reference[f"{case}.x"])
    scores = SCORES[METHODS[method]](x)
    expected = torch.from_numpy(reference[f"{case}.{method}.scores"])
    if method in ("entropy_batch_hist", "entropy_unique"):
        n, m = math.prod(x.shape[2:]), math.prod(s + 2 for s in x.shape[2:])
        scores = n / m * (scores + math.log2(m / n))
    tolerance = {"rtol": 2e-6, "atol": 0} if method == "curvature" else {"rtol": 0, "atol": 1e-5}
    assert torch.allclose(scores, expected.float(), **tolerance)
    for ratio in ("50", "75"):
        theirs = reference[f"{case}.{method}.indices_r{ratio}"]
        ours = scores.sort(dim=1, descending=True, stable=True).indices[:, : theirs.shape[1]].numpy()
        for b, row in enumerate(theirs):
            clear = reference[f"{case}.{method}.set_gap_r{ratio}"][b] > 3e-6
            assert not clear or set(ours[b]) == set(row)
            ordered = clear and reference[f"{case}.{method}.order_gap_r{ratio}"][b] > 3e-6
            assert not ordered or ours[b].tolist() == row.tolist()


@pytest.mark.parametrize(
    ("case", "kind"),
    [(c, k) for c in ("relu", "leaky", "smallest", "two_slices", "one_slice", "hand") for k in ("stencil3d", "inplane")
     if not (c.endswith("slice") or c.endswith("slices")) or k == "inplane"],
)  # fmt: skip
def test_curvature_of_volumes_by_loops_in_float64(case, kind):
    path = REFERENCE / "ife_curvature3d.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    found = np.load(path, allow_pickle=False)
    scores = curvature_scores(torch.from_numpy(found[f"{case}.x"]), None if kind == "stencil3d" else (1, 2))
    assert np.allclose(scores, found[f"{case}.{kind}.scores"], rtol=1e-5, atol=1e-5)
