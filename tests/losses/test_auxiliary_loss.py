"""Final and auxiliary logits together, against reference vectors of HRNet+OCR."""

import math

import pytest
import torch
import torch.nn.functional as F
from losses.conftest import agree, leaf
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss

from nnunet_ext.losses.auxiliary import AuxiliaryLoss
from nnunet_ext.losses.ohem import OhemCrossEntropy

IGNORE = 255


def pair(ovenet):
    """Small leaves, and what they are at the size of the labels."""
    small = [leaf(ovenet[f"pair.{k}"]) for k in ("ocr", "aux")]
    size = ovenet["pair.target"].shape[1:]
    return small, [F.interpolate(z, size=size, mode="bilinear", align_corners=True) for z in small]


def holds(ovenet, kind, value, small):
    value.backward()
    assert value.item() == pytest.approx(ovenet[f"pair.{kind}_value"].item(), rel=1e-5)
    assert agree(small[0].grad, ovenet[f"pair.{kind}_grad_ocr"])
    assert agree(small[1].grad, ovenet[f"pair.{kind}_grad_aux"])


def test_cross_entropy_agrees_with_the_reference(ovenet):
    small, (final, auxiliary) = pair(ovenet)
    ce = RobustCrossEntropyLoss(ignore_index=IGNORE)
    weights = ovenet["pair.weights"]
    loss = AuxiliaryLoss(ce, ce, weights[0].item())
    assert loss.weight == AuxiliaryLoss(ce, ce).weight == 0.4
    assert weights[1] == 1
    holds(ovenet, "ce", loss(final, ovenet["pair.target"][:, None], auxiliary=auxiliary), small)


def test_with_ohem_the_authors_auxiliary_mean_is_over_ignored_pixels_too(ovenet):
    """Their value is had from ours by the share of valid pixels; ours does not depend on that share."""
    target = ovenet["pair.target"][:, None]
    ohem = OhemCrossEntropy(IGNORE, ovenet["pair.thresh"].item(), ovenet["pair.min_kept"].item())
    ce = RobustCrossEntropyLoss(ignore_index=IGNORE)
    share = (target != IGNORE).double().mean().item()
    assert share < 1
    small, (final, auxiliary) = pair(ovenet)
    authors = AuxiliaryLoss(ohem, ce, 0.4 * share)(final, target, auxiliary=auxiliary)
    ours = AuxiliaryLoss(ohem, ce)(final, target, auxiliary=auxiliary)
    assert ours.item() == pytest.approx(ohem(final, target).item() + 0.4 * ce(auxiliary, target).item(), rel=1e-12)
    assert ours > authors
    holds(ovenet, "ohem", authors, small)


def test_under_deep_supervision_the_auxiliary_logits_meet_the_finest_target():
    ce = RobustCrossEntropyLoss()
    logits = [torch.randn(2, 3, n, n) for n in (8, 4)]
    targets = [torch.randint(0, 3, (2, 1, n, n)) for n in (8, 4)]
    auxiliary = torch.randn(2, 3, 8, 8)
    value = AuxiliaryLoss(DeepSupervisionWrapper(ce, (0.7, 0.3)), ce, 0.5)(logits, targets, auxiliary=auxiliary)
    parts = [ce(z, t).item() for z, t in zip([*logits, auxiliary], [*targets, targets[0]], strict=True)]
    assert value.item() == pytest.approx(0.7 * parts[0] + 0.3 * parts[1] + 0.5 * parts[2], rel=1e-6)


def test_a_weight_of_0_keeps_the_auxiliary_logits_in_the_graph_and_out_of_the_value():
    ce = RobustCrossEntropyLoss()
    z, target = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randint(0, 3, (1, 1, 4, 4))
    auxiliary = torch.full((1, 3, 4, 4), math.inf, requires_grad=True)
    value = AuxiliaryLoss(ce, ce, 0)(z, target, auxiliary=auxiliary)
    value.backward()
    assert value == ce(z, target)
    assert auxiliary.grad is not None
    assert not auxiliary.grad.any()


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_impossible_weights_are_refused(weight):
    with pytest.raises(ValueError, match=f"weight is a factor of a loss, finite and not negative, not {weight}"):
        AuxiliaryLoss(RobustCrossEntropyLoss(), RobustCrossEntropyLoss(), weight)
