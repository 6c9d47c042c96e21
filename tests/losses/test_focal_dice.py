"""Focal + Dice loss against reference vectors and plain loops."""

import math

import numpy as np
import pytest
import torch
from losses.conftest import Waits, ignoring, leaf
from support import REFERENCE, pickled

from nnunet_ext.losses.focal_dice import FocalDiceLoss, focal, log_odds, soft_dice

CASES = ["random", "empty_mask", "full_mask", "all_wrong", "all_right", "soft_mask"]


@pytest.fixture(scope="module")
def reference():
    path = REFERENCE / "twostage_losses.npz"
    if not path.is_file():
        pytest.skip("reference vectors are not here")
    with np.load(path) as file:
        return {k: torch.from_numpy(np.asarray(v)) for k, v in file.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("labels", [False, True])
def test_agrees_with_the_reference(reference, case, labels):
    """As a region, and as the one foreground class of two, of which z_1 - z_0 is the logit."""
    z, mask = leaf(reference[f"{case}.logits"]), reference[f"{case}.mask"]
    if labels:
        if case == "soft_mask":
            return
        other = torch.randn_like(z)
        value = FocalDiceLoss()(torch.cat([other, z + other], 1), mask)
    else:
        value = FocalDiceLoss(regions=True)(z, mask)
    expected = reference[f"{case}.value"]
    assert torch.allclose(value, expected.to(value.dtype), rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(value, z)
    assert (gradient - reference[f"{case}.grad"]).abs().max() < (1e-6 if labels else 1e-7)


@pytest.mark.parametrize("case", CASES)
def test_both_terms_agree_with_the_reference(reference, case):
    z, mask = reference[f"{case}.logits"], reference[f"{case}.mask"]
    for found, term in ((focal(z, mask), "focal"), (soft_dice(z, mask)[0], "dice")):
        assert torch.allclose(found.double(), reference[f"{case}.{term}"].double(), rtol=1e-5, atol=1e-6), term


def test_other_weights_and_powers(reference):
    z, mask = reference["random.logits"], reference["random.mask"]
    for alpha, gamma, value in zip(
        *(reference[f"focal.{k}"].tolist() for k in ("alpha", "gamma", "value")), strict=True
    ):
        assert focal(z, mask, alpha=alpha, gamma=gamma).item() == pytest.approx(value, rel=1e-5)


def by_loops(p, masks, valid):
    """One focal term a pixel and class, one Dice a class, of probabilities `(B, C, H, W)`."""
    each, dices = [], []
    for c in range(p.shape[1]):
        overlap, total = 0.0, 0.0
        for b, i, j in np.ndindex(p.shape[0], *p.shape[2:]):
            if valid[b, 0, i, j]:
                q, y = float(p[b, c, i, j]), float(masks[b, c, i, j])
                each.append(-0.25 * (1 - q) ** 2 * math.log(q) if y else -0.75 * q**2 * math.log(1 - q))
                overlap, total = overlap + q * y, total + q + y
        dices.append((2 * overlap + 1) / (total + 1))
    return np.mean(each) + 1 - np.mean(dices)


@pytest.mark.parametrize("regions", [False, True])
def test_several_classes_and_ignored_pixels_by_loops(regions):
    z, target, _ = ignoring(regions, (9, 8))
    valid = torch.ones(2, 1, 9, 8)
    valid[..., :5] = 0
    if regions:
        p, masks = z.double().sigmoid(), target[:, :-1]
    else:
        p, masks = z.double().softmax(1)[:, 1:], torch.cat([target == 1, target == 2], 1)
    found = FocalDiceLoss(regions, ignore_label=3)(z, target)
    assert found.item() == pytest.approx(by_loops(p, masks, valid), rel=1e-5)


@pytest.mark.parametrize("regions", [False, True])
def test_what_is_ignored_has_no_influence(regions):
    z, target, other = ignoring(regions, (12, 10))
    loss = pickled(FocalDiceLoss(regions, ignore_label=3))
    changed = z.clone()
    changed[..., :5] += 5
    assert loss(z, target) == loss(changed, other)
    z = leaf(z)
    (gradient,) = torch.autograd.grad(loss(z, target), z)
    assert not gradient[..., :5].any()
    assert gradient[..., 5:].all()


def test_all_ignored_is_finite():
    z = leaf(torch.randn(2, 3, 4, 4))
    value = FocalDiceLoss(ignore_label=3)(z, torch.full((2, 1, 4, 4), 3))
    assert value.item() == 0
    assert not torch.autograd.grad(value, z)[0].any()


def test_log_odds_are_those_of_the_softmax():
    z = 3 * torch.randn(2, 4, 5, 6, dtype=torch.float64)
    assert torch.allclose(log_odds(z), torch.logit(z.softmax(1)[:, 1:]))


def test_half_precision_and_large_logits():
    target = torch.randint(0, 3, (1, 1, 64, 64)).float()
    for scale in (1, 1000):
        z = leaf((scale * torch.randn(1, 3, 64, 64)).half())
        value = FocalDiceLoss()(z, target)
        assert value.dtype == torch.float32
        (gradient,) = torch.autograd.grad(value, z)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert FocalDiceLoss()(z.float(), target).dtype == torch.float32


def test_no_value_is_waited_for():
    z, target, _ = ignoring(False, (8, 8))
    with Waits() as waits:
        FocalDiceLoss(ignore_label=3)(z, target)
    assert not waits.seen
