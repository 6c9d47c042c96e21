"""What two perfect networks could reach, against the reference's loops and plain NumPy."""

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from support import REFERENCE, ROOT
from torch.nn.functional import interpolate

from nnunet_ext.planning import label_oracle
from nnunet_ext.planning.choice import Option, Resolution, cheapest, table
from nnunet_ext.planning.label_oracle import Outputs, block_means, oracle_dice, ranking, refined_by

DATA = ROOT.parent / "shared" / "data"
BINARY = Outputs(((1,),))
BUDGETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
RULES = {
    "chase_db1": lambda a: a > 0,
    "dsb2018": lambda a: a > 0,
    "camvid": lambda a: a == 8,
    "isic2017_large": lambda a: a > 127,
}


def cells(side, n):
    return [list(range(0, side, side // n))] * 2, [side // n] * 2


def round_trip(labels, outputs, coarse):
    whole = list(labels.shape)
    return oracle_dice(labels, outputs, coarse, [[0]] * len(whole), whole, [0.0]).item()


@pytest.fixture(scope="module")
def reference():
    path = REFERENCE / "twostage_regions.npz"
    if not path.is_file():
        pytest.skip(f"the reference vectors are not here: {path}")
    return dict(np.load(path))


@pytest.fixture(scope="module")
def on_made_masks(reference):
    """Oracle Dice (mask, factor, grid, fraction)."""
    found = np.zeros_like(reference["o.oracle_dice"])
    budgets = reference["o.fractions"].tolist()
    for m, f, g in itertools.product(*map(range, found.shape[:3])):
        labels = torch.from_numpy(reference["o.masks"][m].astype(np.int16))
        side = 128 // reference["o.factors"][f]
        found[m, f, g] = oracle_dice(labels, BINARY, [side, side], *cells(128, reference["o.grids"][g]), budgets)
    return found


def test_equals_the_reference_on_made_masks(reference, on_made_masks):
    np.testing.assert_allclose(on_made_masks, reference["o.oracle_dice"], atol=1e-9, rtol=0)
    found = [
        [round_trip(torch.from_numpy(mask.astype(np.int16)), BINARY, [128 // f] * 2) for f in reference["o.factors"]]
        for mask in reference["o.masks"]
    ]
    np.testing.assert_allclose(found, reference["o.roundtrip_dice"], atol=1e-9, rtol=0)


def test_chooses_as_the_reference_does(reference, on_made_masks):
    mean = on_made_masks[:, :, -1].mean(0)
    options = [
        Option(Resolution(int(f), (float(f),) * 2), float(b), mean[i, j])
        for i, f in enumerate(reference["o.factors"])
        for j, b in enumerate(reference["o.fractions"])
    ]
    for tau, wanted in zip(reference["o.tau"], reference["o.choice_cost_factor_fraction"], strict=True):
        chosen = cheapest(options, tau)
        assert (chosen.cost, chosen.resolution.factor, chosen.budget) == pytest.approx(tuple(wanted), abs=1e-12)


def test_on_a_tie_of_cost_the_smaller_factor_and_without_any_the_best():
    two, four = Resolution(2, (2.0, 2.0)), Resolution(4, (4.0, 4.0))
    equal = [Option(four, 1 / 4, 0.98), Option(two, 1 / 16, 0.97), Option(four, 1 / 2, 0.975)]
    assert equal[0].cost == equal[1].cost == 0.3125
    assert cheapest(equal, 0.97).resolution is two
    assert cheapest(equal, 0.99).dice == 0.98
    lines = table(equal, equal[1])
    assert [line.endswith("<- chosen") for line in lines] == [False, False, True, False]
    assert "3.2x" in lines[2]


def by_hand(labels, outputs, coarse, starts, patch, budget, regions=False):
    """Loops over windows and classes; blocks must divide the image."""
    shape, ignore = labels.shape, outputs.ignore
    valid = np.ones(shape, bool) if ignore is None else labels != ignore
    truth = [np.isin(labels, v) for v in outputs.values]
    up = []
    for t in truth:
        parts = [t & valid, valid]
        for axis, s in enumerate(coarse):
            block = shape[axis] // s
            parts = [np.add.reduceat(p.astype(float), np.arange(0, shape[axis], block), axis=axis) for p in parts]
        mean = np.divide(parts[0], parts[1], out=np.zeros(tuple(coarse)), where=parts[1] > 0)
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        up.append(interpolate(torch.from_numpy(mean)[None, None], shape, mode=mode)[0, 0].numpy())
    up = np.stack(up)
    all_maps = up if regions else np.concatenate([1 - up.sum(0, keepdims=True), up])
    scores, boxes = [], []
    for corner in itertools.product(*starts):
        box = tuple(slice(max(c, 0), c + p) for c, p in zip(corner, patch, strict=True))
        m = all_maps[(slice(None), *box)].reshape(len(all_maps), -1).mean(1)
        scores.append(np.abs(m - 0.5).min() if regions else m.max() - 0.5)
        boxes.append(box)
    mended = np.zeros(shape, bool)
    for i in np.argsort(np.round(scores, 12), kind="stable")[: int(np.ceil(budget * len(boxes) - 1e-9))]:
        mended[boxes[i]] = True
    dice = []
    for c, t in enumerate(truth):
        seen = up[c] > 0.5 if regions else all_maps.argmax(0) == c + 1
        mine = np.where(mended, t, seen) & valid
        if t.any():
            dice.append(2 * (mine & t).sum() / (mine.sum() + t.sum()))
    return np.mean(dice)


CASES = {
    "classes": ((48, 64), Outputs(((1,), (2,), (3,))), (12, 16), ([0, 8, 16], [0, 16, 32]), (32, 32)),
    "ignore": ((48, 64), Outputs(((1,), (2,)), ignore=3), (12, 16), ([0, 8, 16], [0, 16, 32]), (32, 32)),
    "regions": ((48, 64), Outputs(((1, 2, 3), (2, 3), (3,)), True), (12, 16), ([0, 24], [0, 20, 40]), (24, 24)),
    "padded": ((48, 64), Outputs(((1,), (2,))), (24, 32), ([-8], [0, 16, 32]), (64, 32)),
    "volume": ((16, 24, 32), Outputs(((1,), (2,))), (8, 6, 8), ([0, 8], [0, 8], [0, 8, 16]), (8, 16, 16)),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    shape, *rest = CASES[request.param]
    rng = np.random.default_rng(5)
    small = rng.integers(0, 4, [s // 4 for s in shape])
    labels = np.kron(small, np.ones([4] * len(shape), int))
    labels = np.roll(labels, 1, axis=tuple(range(len(shape)))) * (rng.random(shape) > 0.1)
    return (labels.astype(np.int16), *rest)


def test_equals_plain_loops(case):
    labels, outputs, coarse, starts, patch = case
    budgets = (0.0, 0.2, 0.5, 1.0)
    found = oracle_dice(torch.from_numpy(labels), outputs, coarse, starts, patch, budgets)
    wanted = [by_hand(labels, outputs, coarse, starts, patch, b, outputs.regions) for b in budgets]
    np.testing.assert_allclose(found, wanted, atol=1e-12, rtol=0)
    assert wanted[0] < wanted[2] < 1
    assert found[-1] == 1


def test_slabs_change_nothing(case, monkeypatch):
    labels, outputs, coarse, starts, patch = case
    arguments = (torch.from_numpy(labels), outputs, coarse, starts, patch, BUDGETS)
    whole = oracle_dice(*arguments)
    monkeypatch.setattr(label_oracle, "AT_ONCE", 5 * labels[0].size * len(outputs.values))
    np.testing.assert_allclose(oracle_dice(*arguments), whole, atol=1e-12, rtol=0)


def test_an_image_without_foreground_has_no_dice():
    empty = torch.zeros(32, 32, dtype=torch.int16)
    assert oracle_dice(empty, BINARY, [8, 8], *cells(32, 2), [0.5]).isnan().all()
    empty[:4] = 2  # of two classes the one that is there counts
    assert round_trip(empty, Outputs(((1,), (2,))), [8, 8]) == 1


def test_refined_by_counts_from_the_first_window_of_the_ranking():
    ranks = refined_by(torch.tensor([2, 0]), [[-1, 1, 2]], [2], [5])
    assert ranks.tolist() == [1, 3, 0, 0, 3]


def real_masks(name, most):
    """Masks of a public sample as the reference has them: nearest neighbour to hi x hi, 200 foreground pixels."""
    path = REFERENCE / "twostage_counts.json"
    folder = DATA / name / "masks"
    if not path.is_file() or not folder.is_dir():
        pytest.skip(f"the public samples are not here: {folder}")
    (entry,) = (e for e in json.loads(path.read_text())["oracle_noise_free"] if e["dataset"] == name)
    masks = []
    for file in sorted(p for p in folder.rglob("*.*") if p.is_file())[:most]:
        mask = Image.fromarray(RULES[name](np.array(Image.open(file))).astype(np.uint8))
        found = np.asarray(mask.resize((entry["hi"],) * 2, Image.Resampling.NEAREST))
        if found.sum() >= 200:
            masks.append(torch.from_numpy(found.astype(np.int16)))
    return masks, entry


@pytest.mark.parametrize("name", ["isic2017_large", pytest.param("chase_db1", marks=pytest.mark.slow),
                                  pytest.param("dsb2018", marks=pytest.mark.slow),
                                  pytest.param("camvid", marks=pytest.mark.slow)])  # fmt: skip
def test_equals_the_reference_on_real_masks(name):
    masks, entry = real_masks(name, None)
    assert len(masks) == entry["images_used"]
    for of_factor in entry["factors"]:
        side = entry["hi"] // of_factor["factor"]
        trips = [round_trip(mask, BINARY, [side] * 2) for mask in masks]
        assert np.mean(trips) == pytest.approx(of_factor["round_trip_dice"], abs=1e-6)
        wanted = [o["dice"] for o in of_factor["oracle_dice"] if o["grid"] == 16]
        found = torch.stack([oracle_dice(mask, BINARY, [side] * 2, *cells(entry["hi"], 16), BUDGETS) for mask in masks])
        np.testing.assert_allclose(found.mean(0), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["dsb2018", pytest.param("camvid", marks=pytest.mark.slow),
                                  pytest.param("chase_db1", marks=pytest.mark.slow)])  # fmt: skip
def test_unsure_windows_are_worth_more_than_random_ones(name):
    masks, entry = real_masks(name, 12)
    hi = entry["hi"]
    generator = torch.Generator().manual_seed(0)
    for mask in masks:  # each of them; how much differs: there is little left to gain on large objects
        arguments = (mask, BINARY, [hi // 8] * 2, *cells(hi, 16), (1 / 8, 1 / 4))
        draws = [oracle_dice(*arguments, order=torch.randperm(256, generator=generator)) for _ in range(5)]
        assert (oracle_dice(*arguments) > torch.stack(draws).mean(0)).all()


def test_the_ranking_is_that_of_the_upsampled_map():
    labels = torch.zeros(64, 64, dtype=torch.int16)
    labels[:32, :24] = 1
    means = block_means(labels, BINARY, [8, 8])
    order = ranking(means, BINARY, *cells(64, 4), [64, 64])
    up = interpolate(means[None], (64, 64), mode="bilinear")[0, 0]
    scores = (up.reshape(4, 16, 4, 16).mean((1, 3)).flatten() - 0.5).abs()
    assert order.tolist() == np.argsort(np.round(scores.numpy(), 12), kind="stable").tolist()
