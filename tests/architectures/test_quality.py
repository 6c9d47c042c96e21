"""Prediction quality from slices: reference vectors, and a double loop over pairs."""

import numpy as np
import pytest
import torch
from support import REFERENCE

from nnunet_ext.architectures.lifting import quality
from nnunet_ext.architectures.lifting.quality import agreement, binarise, margins, probabilities, rank_order

FILE = REFERENCE / "sl_slices.npz"


def scored(slices, selected, sigmoid):
    """Agreement of each image of `(B, K, D, *S)` logits."""
    depth = slices.shape[2]
    order = [*selected, *(d for d in range(depth) if d not in selected)]
    maps = binarise(margins(slices, sigmoid), sigmoid)[:, :, order]
    return [agreement(image, len(selected)) for image in maps]


def naive(slices, selected, sigmoid):
    """One image's total and classes, pair by pair, with sets of voxels."""
    z = slices.numpy()
    depth = z.shape[1]
    label = 1 / (1 + np.exp(-z)) > 0.5 if sigmoid else np.stack([z.argmax(0) == k for k in range(1, len(z))])
    pairs, classes = [], []
    for i in selected:
        for j in set(range(depth)) - set(selected):
            of_class, present = [], []
            for maps in label:
                a, b = ({tuple(v) for v in np.argwhere(maps[d])} for d in (i, j))
                of_class.append(2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0)
                present.append(bool(a or b))
            pairs.append(np.mean([d for d, p in zip(of_class, present, strict=True) if p]) if any(present) else 1.0)
            classes.append(of_class)
    return np.mean(pairs), np.mean(classes, axis=0)


@pytest.mark.skipif(not FILE.exists(), reason="reference vectors are not here")
@pytest.mark.parametrize(("kind", "selected"), [("b", "selected_structure"), ("m", "selected_ce")])
def test_quality_equals_the_reference(kind, selected):
    with np.load(FILE) as data:
        found = scored(torch.from_numpy(data[f"{kind}.logits"]), sorted(data[f"{kind}.{selected}"]), kind == "b")
        np.testing.assert_allclose([a.total for a in found], data[f"{kind}.pqa"], rtol=1e-6)
        np.testing.assert_allclose(torch.stack([a.pairs for a in found]), data[f"{kind}.pqa_pairs"], rtol=1e-6)


@pytest.mark.skipif(not FILE.exists(), reason="reference vectors are not here")
def test_empty_maps_as_the_reference_has_them():
    maps = torch.zeros(3, 2, 4, 4, dtype=torch.bool)
    with np.load(FILE) as data:
        assert agreement(maps, 1).total == data["m.pqa_all_background"] == 1
        maps[1, 0, 0] = True
        found = agreement(maps, 1)
        assert found.total == data["m.pqa_one_empty"] == 0
    assert found.classes.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("n_outputs", "sigmoid"), [(2, False), (4, False), (1, True), (3, True)])
def test_quality_equals_a_loop_over_pairs(n_outputs, sigmoid):
    generator = torch.Generator().manual_seed(n_outputs)
    slices = torch.randn(2, n_outputs, 6, 5, 4, generator=generator)
    slices[1, -1] -= 9  # a class that no slice of this image has
    selected = [4, 1]
    for image, found in zip(slices, scored(slices, selected, sigmoid), strict=True):
        total, classes = naive(image, selected, sigmoid)
        assert found.total.item() == pytest.approx(total, abs=1e-12)
        assert found.classes.numpy() == pytest.approx(classes, abs=1e-12)


def test_one_class_alone_has_the_total_s_quality():
    found = agreement(torch.rand(1, 7, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.6, 3)
    assert found.classes.item() == pytest.approx(found.total.item(), abs=1e-12)
    assert 0 < found.total < 1


def test_without_unselected_slices_there_is_no_quality():
    found = agreement(torch.ones(2, 4, 3, 3, dtype=torch.bool), 4)
    assert torch.isnan(found.total)
    assert torch.isnan(found.classes).all()


def test_large_images_are_counted_exactly_in_parts(monkeypatch):
    maps = torch.rand(2, 5, 40, 25, generator=torch.Generator().manual_seed(1)) > 0.5
    whole = agreement(maps, 2)
    monkeypatch.setattr(quality, "CHUNK", 7)
    parts = agreement(maps, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_counts_beyond_float32_are_exact():
    n = 2**24 + 3  # float32 cannot count to it one by one
    ones = torch.ones(1, 1, 1, dtype=torch.bool).expand(1, 2, n)
    both, sizes = quality._counts(ones, 1)
    assert both.item() == n
    assert sizes.tolist() == [[n, n]]


def test_ranks_are_selected_first_and_by_loss():
    loss = torch.tensor([0.3, 0.1, 0.9, 0.2, 0.5])
    assert rank_order(torch.tensor([1, 3]), loss).tolist() == [1, 3, 0, 4, 2]
    assert rank_order(torch.tensor([2, 3]), torch.full((5,), float("nan"))).tolist() == [2, 3, 0, 1, 4]


@pytest.mark.parametrize(("n_outputs", "sigmoid"), [(2, False), (4, False), (3, True)])
def test_margins_hold_what_the_logits_say(n_outputs, sigmoid):
    z = torch.randn(2, n_outputs, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    found = margins(z, sigmoid)
    expected = torch.sigmoid(z) if sigmoid else torch.softmax(z, 1)[:, 1:]
    torch.testing.assert_close(probabilities(found, sigmoid), expected)
    labels = z > 0 if sigmoid else torch.stack([z.argmax(1) == k for k in range(1, n_outputs)], 1)
    assert torch.equal(binarise(found, sigmoid), labels)
    assert torch.equal(binarise(7 * found.half(), sigmoid), binarise(found.half(), sigmoid))


def test_a_tie_with_the_background_is_background():
    assert not binarise(margins(torch.zeros(1, 3, 2, 1, 1), False), False).any()


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_volume_in_pieces_is_scored_as_a_whole(monkeypatch, sigmoid, n_outputs):
    monkeypatch.setattr(quality, "PIECE", 20)  # two rows
    margin = torch.randn(n_outputs, 6, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    whole = agreement(binarise(margin[None], sigmoid)[0], 2)
    found = quality.agreement_of_margins(margin, sigmoid, 2)
    assert all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))


def test_pieces_cover_a_volume_and_bound_its_voxels():
    count = torch.zeros(2, 1000, 700)
    for z, rows in quality.pieces(count.shape):
        assert count[z, rows].numel() <= quality.PIECE
        count[z, rows] += 1
    assert bool((count == 1).all())
    assert len(list(quality.pieces((1, 512, 512)))) == 1


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_bounded_margins_have_the_same_labels(sigmoid, n_outputs):
    margin = 4000 * torch.randn(n_outputs, 4000, generator=torch.Generator().manual_seed(0))
    margin[:, 0] = float("inf")
    margin[:, 1] = -float("inf")
    margin[:, 2:10] /= 1e6
    found = quality.bounded(margin, sigmoid, 1000.0)
    assert found.abs().max() <= 1000.1
    assert torch.equal(found[:, 2:10], margin[:, 2:10])
    assert torch.equal(binarise(found[None], sigmoid), binarise(margin[None], sigmoid))
