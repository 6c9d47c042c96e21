"""Offset vectors against the authors' numbers, loops, and what must hold."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, gaussian_filter
from support import REFERENCE

from nnunet_ext.architectures.heads.offset_vectors import (
    OffsetRefinement,
    fuse_sigmoid,
    fuse_softmax,
    look_up,
)

FILE = REFERENCE / "ovenet_head.npz"


@pytest.fixture(scope="module")
def vectors():
    if not FILE.is_file():
        pytest.skip(f"{FILE} is not there")
    content = np.load(FILE, allow_pickle=False)
    return {k: torch.from_numpy(content[k]) for k in content}


def assert_close(ours, expected, tolerance=2e-5):
    assert ours.shape == expected.shape
    assert (ours.double() - expected.double()).abs().max() <= tolerance * expected.double().abs().max()


@pytest.mark.parametrize(("case", "n"), [("h2", 3), ("h3", 2)])
def test_equals_the_authors_code_and_loops(vectors, case, n):
    for i in range(n):
        refined = OffsetRefinement(vectors[f"{case}.max_offset"][i].tolist())(
            vectors[f"{case}.logits"], vectors[f"{case}.raw"]
        )
        assert_close(refined.offsets, vectors[f"{case}.disp"][i])
        assert_close(refined.seed, vectors[f"{case}.seed"][i])
        assert_close(refined.fused, vectors[f"{case}.fused"][i])
        assert_close(torch.sigmoid(refined.confidence), vectors[f"{case}.confidence"], 1e-6)


def test_the_largest_offset_is_not_tied_to_the_array(vectors):
    refined = OffsetRefinement(vectors["h2fix.max_offset"].tolist())(vectors["h2.logits"][:1], vectors["h2.raw"][:1])
    assert_close(refined.offsets, vectors["h2fix.disp"])
    assert_close(refined.fused, vectors["h2fix.fused"])


def test_saturated_offsets_are_the_largest(vectors):
    refined = OffsetRefinement(vectors["h2.max_offset"][0].tolist())(vectors["h2.logits"][:1], vectors["h2sat.raw"])
    assert_close(refined.offsets, vectors["h2sat.disp"])
    assert_close(refined.seed, vectors["h2sat.seed"])


@pytest.mark.parametrize("case", ["h2", "h3"])
def test_gradients_equal_the_authors(vectors, case):
    logits, raw = (vectors[f"{case}.{k}"].clone().requires_grad_() for k in ("logits", "raw"))
    refined = OffsetRefinement(vectors[f"{case}.max_offset"][0].tolist())(logits, raw)
    total = (refined.fused * vectors[f"{case}.probe_fused"]).sum() + (
        refined.seed * vectors[f"{case}.probe_seed"]
    ).sum()
    total.backward()
    assert_close(total.detach(), vectors[f"{case}.grad_value"], 5e-5)
    assert_close(logits.grad, vectors[f"{case}.grad_logits"], 5e-5)
    assert_close(raw.grad, vectors[f"{case}.grad_raw"], 5e-5)


def test_fused_probabilities_are_returned_as_logits(vectors):
    initial, seed = vectors["h2.logits"], vectors["h2.seed"][0].float()
    confidence = torch.logit(vectors["h2.confidence"]).float()
    assert_close(fuse_softmax(initial, seed, confidence), vectors["h2prob.fused_softmax_log"], 1e-5)
    assert_close(torch.softmax(fuse_softmax(initial, seed, confidence), 1), vectors["h2prob.fused_softmax"], 1e-5)
    assert_close(fuse_sigmoid(initial, seed, confidence), vectors["h2prob.fused_sigmoid_logit"], 1e-5)


# ---------------------------------------------------------------- without the vectors


def by_hand(values, offsets):
    """`values[p + offsets[p]]` of one image and channel, corner by corner."""
    out = np.empty(values.shape)
    for p in np.ndindex(values.shape):
        place = [min(max(i + offsets[(a, *p)], 0), n - 1) for a, (i, n) in enumerate(zip(p, values.shape, strict=True))]
        low = [min(math.floor(x), n - 2) for x, n in zip(place, values.shape, strict=True)]
        total = 0.0
        for corner in np.ndindex(*[2] * len(p)):
            share = math.prod(x - lo if c else 1 - (x - lo) for x, lo, c in zip(place, low, corner, strict=True))
            total += share * values[tuple(lo + c for lo, c in zip(low, corner, strict=True))]
        out[p] = total
    return out


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_look_up_equals_loops(size):
    rng = np.random.default_rng(0)
    values, offsets = rng.normal(size=size), rng.normal(size=(len(size), *size)) * 2
    ours = look_up(torch.tensor(values)[None, None], torch.tensor(offsets)[None])
    assert np.allclose(ours[0, 0], by_hand(values, offsets), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_offset_of_one_is_a_shift_along_its_axis(axis):
    values = torch.randn(1, 2, 4, 5, 6)
    offsets = torch.zeros(1, 3, 4, 5, 6)
    offsets[:, axis] = 1
    ours = look_up(values, offsets)
    n = values.shape[axis + 2]
    expected = torch.cat([values.narrow(axis + 2, 1, n - 1), values.narrow(axis + 2, n - 1, 1)], axis + 2)
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (512, 512), (16, 24, 20), (1, 9)])
def test_zero_offsets_give_the_initial_logits(size):
    initial, raw = torch.randn(2, 4, *size), torch.zeros(2, len(size) + 1, *size)
    refined = OffsetRefinement([5.0] * len(size))(initial, raw)
    assert torch.allclose(refined.seed, initial, atol=1e-5)
    assert torch.allclose(refined.fused, initial, atol=1e-5)


def test_without_confidence_the_initial_logits_stay():
    initial, raw = torch.randn(1, 3, 8, 9), torch.randn(1, 3, 8, 9)
    raw[:, 2] = -100
    assert torch.allclose(OffsetRefinement([3.0, 3.0])(initial, raw).fused, initial)


def test_half_of_the_papers_extent_at_its_crop():
    """tau 0.5 at 512 x 1024 reaches 127.75 and 255.75 pixels."""
    refinement = OffsetRefinement([0.25 * 511, 0.25 * 1023])
    raw = torch.full((1, 3, 512, 1024), 100.0)
    values = torch.arange(1024.0).expand(1, 1, 512, 1024)
    refined = refinement(values, raw)
    assert refined.offsets[0, :, 0, 0].tolist() == [127.75, 255.75]
    assert torch.allclose(refined.seed[0, 0, 0, :768], values[0, 0, 0, :768] + 255.75, atol=1e-3)
    assert torch.allclose(refined.seed[0, 0, 0, 768:], torch.tensor(1023.0), atol=1e-3)  # stays inside


def test_gradients_reach_offsets_and_confidence_by_finite_differences():
    torch.manual_seed(0)
    initial = torch.randn(1, 3, 5, 6, dtype=torch.float64)
    offsets = (torch.rand(1, 2, 5, 6, dtype=torch.float64) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda o: look_up(initial, o), (offsets,), eps=1e-7, atol=1e-5)
    raw = torch.randn(1, 3, 5, 6, requires_grad=True)
    F.cross_entropy(OffsetRefinement([2.0, 2.0])(initial.float(), raw).fused, torch.zeros(1, 5, 6).long()).backward()
    assert (raw.grad.flatten(2).abs().sum(2) > 0).all()


def test_slices_of_a_lifted_image_are_looked_up_each_by_itself():
    initial, raw = torch.randn(2, 3, 4, 6, 7), torch.randn(2, 3, 4, 6, 7)
    refinement = OffsetRefinement([2.0, 3.0])
    whole = refinement(initial, raw)
    for d in range(4):
        one = refinement(initial[:, :, d], raw[:, :, d])
        for ours, expected in zip(whole, one, strict=True):
            assert torch.equal(ours[:, :, d], expected)


def test_flipped_fields_are_safe_only_if_the_flipped_component_is_negated():
    initial, raw = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 16, 16)
    refinement = OffsetRefinement([3.0, 3.0])
    straight = refinement(initial, raw)
    turned = raw.flip(3)
    turned[:, 1] *= -1
    assert torch.allclose(refinement(initial.flip(3), turned).fused.flip(3), straight.fused, atol=1e-5)
    assert not torch.allclose(refinement(initial.flip(3), raw.flip(3)).fused.flip(3), straight.fused, atol=0.1)


# ---------------------------------------------------------------- what it is for


def voronoi(rng, size, n):
    """A map of `n` classes, and smooth logits that are wrong at its boundaries."""
    seeds = rng.uniform(0, size, (4 * n, 2))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1)
    nearest = ((grid[:, :, None] - seeds) ** 2).sum(-1).argmin(-1)
    labels = nearest % n
    logits = np.stack([gaussian_filter((labels == k).astype(float), 7) for k in range(n)]) * 8
    return labels, logits + 0.8 * np.stack([gaussian_filter(rng.normal(size=(size, size)), 1.5) for _ in range(n)])


def mean_iou(prediction, labels, n):
    return np.mean(
        [((prediction == k) & (labels == k)).sum() / ((prediction == k) | (labels == k)).sum() for k in range(n)]
    )


def oracle(labels, reach):
    """Offsets into each pixel's own class: to the innermost pixel of it within reach, per axis."""
    size = len(labels)
    depth = sum(distance_transform_edt(labels == k) for k in np.unique(labels))
    offsets = np.zeros((2, size, size))
    for p in np.ndindex(labels.shape):
        low = [max(0, i - reach) for i in p]
        window = tuple(slice(lo, i + reach + 1) for lo, i in zip(low, p, strict=True))
        best = np.where(labels[window] == labels[p], depth[window], -1)
        place = np.unravel_index(best.argmax(), best.shape)
        offsets[(slice(None), *p)] = [lo + q - i for lo, q, i in zip(low, place, p, strict=True)]
    return offsets


def test_oracle_offsets_mend_boundaries():
    """As on the fact sheet's images (0.863, then 0.974, 0.988 and 0.993 with offsets of up to 2, 8 and 16 pixels)."""
    labels, logits = voronoi(np.random.default_rng(0), 96, 5)
    initial, found = torch.tensor(logits)[None].float(), []
    for reach in (2, 8, 16):
        largest = reach * 1.0001
        raw = torch.atanh(torch.tensor(oracle(labels, reach)) / largest)
        raw = torch.cat([raw, torch.full((1, 96, 96), 20.0)])[None].float()
        refined = OffsetRefinement([largest, largest])(initial, raw)
        found.append(mean_iou(refined.fused.argmax(1)[0].numpy(), labels, 5))
    assert 0.82 < mean_iou(logits.argmax(0), labels, 5) < 0.9
    assert 0.94 < found[0] < found[1] < found[2]
    assert found[1] > 0.98
    assert found[2] > 0.99


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_around_it_does_not_move_positions(dtype):
    """In half precision, positions of 1024 pixels would be off by 0.12 (float16) or 1 pixel (bfloat16)."""
    values = torch.linspace(0, 1023, 1024).expand(1, 1, 2, 1024)
    raw = torch.atanh(torch.full((1, 3, 2, 1024), 0.3))
    refinement = OffsetRefinement([1.0, 100.0])
    expected = refinement(values, raw).seed
    with torch.autocast("cpu", dtype=dtype):
        ours = refinement(values, raw)
        half = refinement(torch.zeros(1, 1, 2, 1024, dtype=dtype), raw.to(dtype))
    assert torch.equal(ours.seed, expected)
    assert all(v.dtype == torch.float32 for v in (*ours, *half))


@pytest.mark.parametrize("size", [(8, 9), (4, 6, 5)])
def test_one_graph(size):
    torch._dynamo.reset()
    refinement = OffsetRefinement([2.0] * len(size))
    compiled = torch.compile(refinement, backend="aot_eager", fullgraph=True)
    initial = torch.randn(2, 3, *size, requires_grad=True)
    raw = torch.randn(2, len(size) + 1, *size, requires_grad=True)
    for ours, expected in zip(compiled(initial, raw), refinement(initial, raw), strict=True):
        assert torch.allclose(ours, expected, atol=1e-5)
    ours, expected = (torch.autograd.grad(f(initial, raw).fused.sum(), (initial, raw)) for f in (compiled, refinement))
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_offsets_in_voxels_are_the_same_offsets_of_another_raw_output():
    initial, raw = torch.randn(1, 3, 8, 9), torch.randn(1, 3, 8, 9)
    expected = OffsetRefinement([3.0, 5.0])(initial, raw)
    scaled = torch.cat([raw[:, :2] * torch.tensor([3.0, 5.0]).view(2, 1, 1), raw[:, 2:]], 1)
    ours = OffsetRefinement([3.0, 5.0], in_voxels=True)(initial, scaled)
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    small = torch.full((1, 3, 8, 9), 0.01)
    assert torch.allclose(OffsetRefinement([30.0, 50.0], in_voxels=True)(initial, small).offsets, small[:, :2])


@pytest.mark.parametrize("reach", [8.0, 32.0, 128.0])
def test_one_step_of_the_optimiser_moves_offsets_in_voxels_alike_whatever_their_reach(reach):
    """By the authors' unit it would move them as far as the square of the reach: 12 voxels of 32, then no further."""
    moved = []
    for in_voxels in (True, False):
        torch.manual_seed(0)
        bias = torch.zeros(1, 3, 1, 1, requires_grad=True)
        logits, target = torch.randn(2, 4, 32, 32), torch.randint(0, 4, (2, 32, 32))
        refinement = OffsetRefinement([reach, reach], in_voxels=in_voxels)
        offsets = lambda: refinement(logits, (bias + 0.001).expand(2, 3, 32, 32)).offsets[0, :, 0, 0]  # noqa: B023, E731
        before = offsets().detach()
        F.cross_entropy(refinement(logits, (bias + 0.001).expand(2, 3, 32, 32)).seed, target).backward()
        with torch.no_grad():
            bias -= 0.01 * bias.grad
        moved.append((offsets().detach() - before).abs().max().item())
    assert 0 < moved[0] < 0.01
    assert moved[1] > 0.3 * reach**2 * moved[0]
