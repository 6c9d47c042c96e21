"""Windows, confidences, choice and merging, against loops, hand-made numbers and vectors of the authors' code."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import REFERENCE

from nnunet_ext.cascade.refinement import CoarseMap, FineSum
from nnunet_ext.cascade.regions import (
    as_logits,
    confidence,
    merge,
    number_selected,
    pixel_margin,
    select,
    upsample,
    window_means,
)

VECTORS = REFERENCE / "twostage_regions.npz"


@pytest.fixture(scope="module")
def vectors():
    if not VECTORS.is_file():
        pytest.skip(f"the vectors of the authors' code are not here ({VECTORS})")
    return dict(np.load(VECTORS))


def random_map(classes, *shape, seed=0):
    return torch.rand(classes, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(0)


@pytest.mark.parametrize(
    ("coarse", "shape", "patch"),
    [((5, 7), (40, 49), (16, 21)), ((3, 4, 5), (9, 12, 20), (4, 8, 10)), ((1, 6, 5), (1, 23, 17), (1, 9, 9))],
    ids=["image", "volume", "slice"],
)
def test_means_of_an_upsampled_map_come_from_the_coarse_one(coarse, shape, patch):
    maps = random_map(3, *coarse)
    starts = [sorted({0, (s - p) // 2, s - p}) for s, p in zip(shape, patch, strict=True)]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    full = F.interpolate(maps[None], shape, mode=mode, align_corners=False)[0]
    torch.testing.assert_close(upsample(maps, shape), full)
    loops = [
        full[(slice(None), *(slice(s, s + p) for s, p in zip(at, patch, strict=True)))].flatten(1).mean(1)
        for at in itertools.product(*starts)
    ]
    torch.testing.assert_close(window_means(maps, starts, patch, shape), torch.stack(loops, 1))


def test_what_a_window_has_beyond_the_image_does_not_count():
    maps = random_map(2, 6, 6)
    means = window_means(maps, [[-3], [0, 4]], (12, 4))
    torch.testing.assert_close(means, torch.stack([maps[:, :, :4].mean((1, 2)), maps[:, :, 4:].mean((1, 2))], 1))


def test_for_two_classes_confidence_is_the_papers():
    means = random_map(2, 50)
    torch.testing.assert_close(confidence(means), (means[1] - 0.5).abs())


def test_confidence_does_not_depend_on_the_order_of_the_classes():
    means = random_map(4, 50)
    assert torch.equal(confidence(means), confidence(means[[2, 0, 3, 1]]))
    assert confidence(torch.tensor([[0.2], [0.5], [0.3]])).item() == 0


def test_a_region_is_as_sure_as_its_least_sure_head():
    means = torch.tensor([[0.9, 0.5, 0.1], [0.8, 0.99, 0.45]])
    torch.testing.assert_close(confidence(means, regions=True), torch.tensor([0.3, 0.0, 0.05]))


def test_the_margin_of_pixels():
    maps = torch.tensor([0.5, 0.2, 0.3]).view(3, 1, 1)
    assert pixel_margin(maps).item() == pytest.approx(0.2)
    assert pixel_margin(torch.tensor([0.9, 0.6]).view(2, 1, 1), regions=True).item() == pytest.approx(0.2)


def test_the_papers_example_six_of_thirty_six_cells():
    confidences = torch.rand(36, generator=torch.Generator().manual_seed(1))
    chosen = select(confidences, 1 / 6)
    assert len(chosen) == 6
    assert chosen.tolist() == sorted(range(36), key=lambda i: confidences[i].item())[:6]


def test_equal_windows_keep_their_order():
    assert select(torch.tensor([0.3, 0.1, 0.1 + 1e-14, 0.3, 0.1]), 0.8).tolist() == [1, 2, 4, 0]


@pytest.mark.parametrize(("budget", "n", "k"), [(0, 49, 0), (1, 49, 49), (1 / 8, 49, 7), (1 / 3, 9, 3), (0.01, 3, 1)])
def test_how_many_windows_a_budget_has(budget, n, k):
    assert number_selected(budget, n) == k


def test_sure_windows_are_left_whatever_the_budget():
    assert select(torch.tensor([0.4, 0.1, 0.25, 0.3]), 1, max_confidence=0.25).tolist() == [1, 2]


@pytest.mark.parametrize("w0", [0.0, 0.001, 2.0])
def test_merging_pixel_by_pixel(w0):
    coarse, fine, weight = random_map(3, 5, 6), random_map(3, 5, 6, seed=1), torch.rand(5, 6, dtype=torch.float64)
    weight[:, :2] = 0
    fine[:, :, :2] = math.nan  # what was not predicted
    merged = merge(coarse, fine, weight, w0)
    for y, x in itertools.product(range(5), range(6)):
        g = weight[y, x]
        wanted = coarse[:, y, x] if g == 0 else (g * fine[:, y, x] + w0 * coarse[:, y, x]) / (g + w0)
        torch.testing.assert_close(merged[:, y, x], wanted)


def test_nnunet_gets_the_probabilities_back():
    maps = random_map(3, 4, 4)
    torch.testing.assert_close(as_logits(maps).softmax(0), maps)
    torch.testing.assert_close(as_logits(maps, regions=True).sigmoid(), maps)
    sure = torch.tensor([0.0, 1.0])
    assert as_logits(sure).isfinite().all()
    assert as_logits(sure, regions=True).isfinite().all()


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize("n", [2, 4, 8])
def test_the_authors_cells(vectors, n):
    maps, size = torch.tensor(vectors["g.prob"]), 32 // n
    starts = [list(range(0, 32, size))] * 2
    confidences = confidence(window_means(maps, starts, (size, size)))
    np.testing.assert_allclose(confidences, vectors[f"g{n}.scores"], rtol=1e-5)
    chosen = select(confidences, 1 / n)
    assert chosen.tolist() == vectors[f"g{n}.selected"].tolist()
    assert sorted(select(confidences, 1, 0.25).tolist()) == vectors[f"g{n}.adaptive_selected"].tolist()
    fine, weight = torch.zeros_like(maps), torch.zeros(32, 32)
    for i in chosen.tolist():
        y, x = (i // n) * size, (i % n) * size
        fine[:, y : y + size, x : x + size] = torch.tensor(vectors[f"g{n}.fine_prob"][i])
        weight[y : y + size, x : x + size] = 1
    np.testing.assert_allclose(merge(maps, fine, weight), vectors[f"g{n}.merged_hard"], atol=1e-6)


def grid_of(vectors, key):
    windows = vectors[f"{key}.windows"]
    return [sorted(set(windows[:, axis, 0].tolist())) for axis in range(windows.shape[1])]


@pytest.mark.parametrize("key", ["w", "r", "v"])
def test_overlapping_windows_regions_and_volumes(vectors, key):
    maps, patch = torch.tensor(vectors[f"{key}.prob"]), vectors[f"{key}.patch"].tolist()
    starts, regions = grid_of(vectors, key), key == "r"
    means = window_means(maps, starts, patch)
    np.testing.assert_allclose(means, vectors[f"{key}.class_means"], rtol=1e-5)
    confidences = confidence(means, regions)
    np.testing.assert_allclose(confidences, vectors[f"{key}.scores"], rtol=1e-5, atol=1e-12)
    for budget, k, chosen in zip(*(vectors[f"{key}.{name}"] for name in ("budgets", "k", "selected")), strict=True):
        assert select(confidences, float(budget)).tolist() == chosen[:k].tolist()
    if not regions:
        margin = window_means(pixel_margin(maps), starts, patch)[0]
        np.testing.assert_allclose(margin, vectors[f"{key}.scores_pixel_margin"], rtol=1e-5)


def test_ties(vectors):
    means = window_means(torch.tensor(vectors["t.prob"]), [[0, 4, 8, 12]] * 2, (4, 4))
    assert select(confidence(means), 1).tolist() == vectors["t.order"].tolist()


@pytest.mark.parametrize("key", ["w", "r", "v"])
def test_the_sum_of_windows_merges_as_the_vectors_do(vectors, key):
    windows, logits = vectors[f"{key}.windows"], torch.tensor(vectors[f"{key}.fine_logits"])
    maps, regions = torch.tensor(vectors[f"{key}.prob"]).float(), key == "r"
    flat = 3 - windows.shape[1]  # nnU-Net's images have three axes
    maps = maps[(slice(None), *[None] * flat)]
    weight = torch.tensor(vectors[f"{key}.gaussian"]).float()
    crop = [slice(0, s) for s in maps.shape[1:]]
    for i, budget in enumerate(vectors[f"{key}.merge_budgets"]):
        total = FineSum(len(maps), maps.shape[1:], weight, torch.device("cpu"))
        for w in vectors[f"{key}.order"][: number_selected(float(budget), len(windows))]:
            box = (slice(None), *[0] * flat, *(slice(a, b) for a, b in windows[w].tolist()))
            total.add(box, logits[w])
        for j, w0 in enumerate(vectors[f"{key}.merge_w0"]):
            coarse = CoarseMap(torch.logit(maps) if regions else maps.log(), regions, "probabilities")
            merged = total.merged(crop, coarse, float(w0), keep=True).float()
            found = (merged.sigmoid() if regions else merged.softmax(0))[(slice(None), *[0] * flat)]
            difference = (found - torch.tensor(vectors[f"{key}.merged"][i, j])).abs()
            assert difference.max() < 4e-3  # nnU-Net sums windows in half precision
