"""The whole objective of offset vectors: against reference vectors, and with nnU-Net's losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from losses.conftest import agree, ignoring, leaf
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from support import pickled

from nnunet_ext.architectures.heads.offset_vectors import OffsetRefinement
from nnunet_ext.losses.offset_confidence import OffsetConfidenceLoss, confidence_loss
from nnunet_ext.losses.ohem import OhemCrossEntropy
from nnunet_ext.losses.slicewise import SlicewiseLoss

IGNORE = 255
OUTPUTS = ("initial", "seed", "confidence", "offsets")
KINDS = [(regions, ignore) for regions in (False, True) for ignore in (None, 3)]
kinds = pytest.mark.parametrize(("regions", "ignore"), KINDS)
LABELS = {"regions": False, "ignore_label": None}


# reference vectors: everything at a quarter of the labels' size


def upsampled(ovenet):
    """Small leaves, and by name what the loss takes of them."""
    small = {k: leaf(ovenet[f"total.{k}"]) for k in ("initial", "seed", "fused", "confidence")}
    size = ovenet["total.target"].shape[1:]
    grid = ovenet["total.offset_grid_xy"]
    large = {
        k: F.interpolate(v, size=size, mode="bilinear", align_corners=False)
        for k, v in {**small, "offsets": grid.flip(1)}.items()
    }
    large["confidence"] = torch.logit(large["confidence"])
    large["offsets"] = large["offsets"] * (torch.tensor(size).view(2, 1, 1) - 1) / 2
    return small, large


def reference_loss(ovenet, kind):
    if kind == "ce":
        return RobustCrossEntropyLoss(ignore_index=IGNORE)
    return OhemCrossEntropy(IGNORE, ovenet["total.thresh"].item(), ovenet["total.min_kept"].item())


@pytest.mark.parametrize("kind", ["ohem", "ce"])
def test_total_and_gradients_agree_with_the_reference(ovenet, kind):
    small, large = upsampled(ovenet)
    single = reference_loss(ovenet, kind)
    loss = OffsetConfidenceLoss(single, regions=False, ignore_label=IGNORE, normalise=False, authors=True)
    value = loss(large.pop("fused"), ovenet["total.target"][:, None], **large)
    value.backward()
    assert value.item() == pytest.approx(ovenet[f"total.{kind}_value"].item(), rel=1e-5)
    for name, tensor in small.items():
        assert agree(tensor.grad, ovenet[f"total.{kind}_grad_{name}"]), name


@pytest.mark.parametrize("kind", ["ohem", "ce"])
def test_each_part_agrees_with_the_reference(ovenet, kind):
    _, large = upsampled(ovenet)
    target, single = ovenet["total.target"][:, None], reference_loss(ovenet, kind)
    parts = [single(large[k], target) for k in ("initial", "seed", "fused")]
    options = {"regions": False, "ignore_label": IGNORE, "authors": True}
    parts.append(confidence_loss(large["confidence"], large["offsets"], target, **options))
    assert agree(torch.stack(parts), ovenet[f"total.{kind}_parts"])


# everywhere: nnU-Net's losses


def nnunets_loss(regions, ignore):
    """As nnU-Net's trainer builds it."""
    dice = {"batch_dice": True, "smooth": 1e-5, "ddp": False}
    kind = {"dice_class": MemoryEfficientSoftDiceLoss}
    if regions:
        return DC_and_BCE_loss({}, {**dice, "do_bg": True}, use_ignore_label=ignore is not None, **kind)
    return DC_and_CE_loss({**dice, "do_bg": False}, {}, ignore_label=ignore, **kind)


def batch(regions, ignore, size=(16, 12), n_scales=1):
    """`[fused, lower...]`, targets, the other outputs; leaves all."""
    targets = []
    for s in range(n_scales):
        target = ignoring(regions, [n >> s for n in size])[1]
        if ignore is None:
            target = target[:, :-1] if regions else target % 3
        targets.append(target)
    logits = [leaf(torch.randn(2, 3, *t.shape[2:])) for t in targets]
    channels = {"initial": 3, "seed": 3, "confidence": 1, "offsets": len(size)}
    return logits, targets, {k: leaf(torch.randn(2, c, *size)) for k, c in channels.items()}


def expected_confidence(outputs, target, regions, ignore):
    pair = outputs["confidence"], outputs["offsets"]
    return confidence_loss(*pair, target, regions=regions, ignore_label=ignore).item()


@kinds
@pytest.mark.parametrize("size", [(16, 12), (8, 8, 12)])
def test_the_sum_of_one_scale(regions, ignore, size):
    (fused,), (target,), outputs = batch(regions, ignore, size)
    single = nnunets_loss(regions, ignore)
    value = OffsetConfidenceLoss(single, regions=regions, ignore_label=ignore)(fused, target, **outputs)
    f, s, i = (single(z, target).item() for z in (fused, outputs["seed"], outputs["initial"]))
    c = expected_confidence(outputs, target, regions, ignore)
    assert value.item() == pytest.approx((f + 0.5 * s + 0.5 * i) / 2 + c, rel=1e-5)


@kinds
def test_the_sum_under_nnunets_deep_supervision(regions, ignore):
    logits, targets, outputs = batch(regions, ignore, (16, 40), n_scales=3)
    single, shares = nnunets_loss(regions, ignore), (0.6, 0.3, 0.1)
    options = {"seed_weight": 0.25, "initial_weight": 0.75, "confidence_weight": 2, "normalise": False}
    loss = OffsetConfidenceLoss(
        single, DeepSupervisionWrapper(single, shares), regions=regions, ignore_label=ignore, **options
    )
    value = loss(logits, targets, **outputs)
    value.backward()
    scales = [outputs["initial"], *logits[1:]]
    i = sum(w * single(z, t).item() for w, z, t in zip(shares, scales, targets, strict=True))
    f, s = single(logits[0], targets[0]).item(), single(outputs["seed"], targets[0]).item()
    c = expected_confidence(outputs, targets[0], regions, ignore)
    assert value.item() == pytest.approx(f + 0.25 * s + 0.75 * i + 2 * c, rel=1e-5)
    assert all(z.grad.any() for z in [*logits, outputs["initial"], outputs["seed"], outputs["confidence"]])


def test_a_list_of_one_scale_is_that_scale():
    logits, targets, outputs = batch(False, None)
    single = nnunets_loss(False, None)
    alone = OffsetConfidenceLoss(single, **LABELS)
    listed = OffsetConfidenceLoss(single, DeepSupervisionWrapper(single, (1.0,)), **LABELS)
    values = [loss(logits, targets, **outputs) for loss in (alone, listed)]
    assert values[0] == values[1] == alone(logits[0], targets[0], **outputs)


def test_seed_and_initial_are_weighted_by_their_own_number():
    """kappa is the seed's, as in equation (5)."""
    (fused,), (target,), outputs = batch(False, None)
    named = {id(fused): 1.0, id(outputs["seed"]): 10.0, id(outputs["initial"]): 100.0}
    loss = OffsetConfidenceLoss(
        lambda z, t: torch.tensor(named[id(z)]), **LABELS, seed_weight=2, initial_weight=3, confidence_weight=0
    )
    assert loss(fused, target, **outputs).item() == pytest.approx((1 + 2 * 10 + 3 * 100) / 6)
    loss.normalise = False
    assert loss(fused, target, **outputs).item() == 321
    loss.seed_weight = 0
    assert loss(fused, target, **outputs).item() == 301


@pytest.mark.parametrize("raw", ["no confidence", "no offset"])
def test_without_confidence_or_offsets_the_fused_loss_is_the_initial(raw):
    initial, head = torch.randn(2, 3, 9, 11), torch.randn(2, 3, 9, 11)
    head[:, 2 if raw == "no confidence" else slice(2)] = -200 if raw == "no confidence" else 0
    refined, target = OffsetRefinement([2.0, 2.5])(initial, head), torch.randint(0, 3, (2, 1, 9, 11))
    single = nnunets_loss(False, None)
    f, i, s = (single(z, target).item() for z in (refined.fused, refined.initial, refined.seed))
    assert f == pytest.approx(i, rel=1e-5)
    assert (s == pytest.approx(i, rel=1e-5)) is (raw == "no offset")
    kappa = 0.5 if raw == "no offset" else 0
    loss = OffsetConfidenceLoss(single, **LABELS, seed_weight=kappa, confidence_weight=0)
    # normalised, equal terms are one
    assert loss(refined.fused, target, **refined.beside).item() == pytest.approx(i, rel=1e-5)


def test_training_moves_offsets_and_confidence_through_the_refinement():
    initial, head = torch.randn(2, 3, 9, 11), leaf(torch.randn(2, 3, 9, 11))
    refined, target = OffsetRefinement([2.0, 2.5])(initial, head), torch.randint(0, 3, (2, 1, 9, 11))
    OffsetConfidenceLoss(nnunets_loss(False, None), **LABELS)(refined.fused, target, **refined.beside).backward()
    assert head.grad.flatten(2).any(2).all()


# auxiliary logits


def test_auxiliary_logits_join_their_own_terms():
    (fused,), (target,), outputs = batch(False, None)
    auxiliary = {f"auxiliary_{k}": leaf(torch.randn(2, 3, 16, 12)) for k in ("fused", "seed", "initial")}
    ohem, ce = OhemCrossEntropy(None, 0.7, 20), RobustCrossEntropyLoss()
    loss = OffsetConfidenceLoss(ohem, **LABELS, seed_weight=0.3, initial_weight=0.6, auxiliary=ce)
    value = loss(fused, target, **outputs, **auxiliary)
    value.backward()
    expected = sum(
        w * (ohem(z, target).item() + 0.4 * ce(auxiliary[f"auxiliary_{k}"], target).item())
        for k, z, w in (("fused", fused, 1), ("seed", outputs["seed"], 0.3), ("initial", outputs["initial"], 0.6))
    )
    c = expected_confidence(outputs, target, False, None)
    assert value.item() == pytest.approx(expected / 1.9 + c, rel=1e-5)
    assert all(z.grad.any() for z in auxiliary.values())


@pytest.mark.parametrize(("expects", "given"), [(True, []), (False, ["auxiliary_seed"]), (True, ["auxiliary_seed"])])
def test_auxiliary_outputs_and_loss_need_each_other(expects, given):
    (fused,), (target,), outputs = batch(False, None)
    ce = RobustCrossEntropyLoss()
    loss = OffsetConfidenceLoss(ce, **LABELS, auxiliary=ce if expects else None)
    with pytest.raises(ValueError, match=rf"takes the further outputs \[.*\], not \[.*{'seed' if given else ''}"):
        loss(fused, target, **outputs, **dict.fromkeys(given, fused))


# weights


@pytest.mark.parametrize("poison", [None, math.inf, math.nan])
def test_terms_of_weight_0_are_in_the_graph_and_not_in_the_value(poison):
    logits, targets, outputs = batch(False, None, n_scales=2)
    auxiliary = {f"auxiliary_{k}": leaf(torch.randn(2, 3, 16, 12)) for k in ("fused", "seed", "initial")}
    unused = [*outputs.values(), *auxiliary.values(), logits[1]]
    if poison is not None:
        unused = [leaf(torch.full_like(t, poison)) for t in unused]
        outputs = dict(zip(outputs, unused[:4], strict=True))
        auxiliary = dict(zip(auxiliary, unused[4:7], strict=True))
        logits[1] = unused[7]
    single = nnunets_loss(False, None)
    weights = dict.fromkeys(("seed_weight", "initial_weight", "confidence_weight", "auxiliary_weight"), 0)
    scales = DeepSupervisionWrapper(single, (0.6, 0.4))
    loss = OffsetConfidenceLoss(single, scales, **LABELS, **weights, auxiliary=single)
    value = loss(logits, targets, **outputs, **auxiliary)
    value.backward()
    assert value.item() == single(logits[0], targets[0]).item()
    assert all(t.grad is not None and not t.grad.any() for t in unused)


@pytest.mark.parametrize("name", ["seed_weight", "initial_weight", "confidence_weight", "auxiliary_weight"])
@pytest.mark.parametrize("weight", [-0.5, math.nan, math.inf])
def test_impossible_weights_are_refused_by_name(name, weight):
    with pytest.raises(ValueError, match=f"^{name} is a factor of a loss, finite and not negative, not {weight}"):
        OffsetConfidenceLoss(RobustCrossEntropyLoss(), **LABELS, **{name: weight})


@pytest.mark.parametrize(("scales", "cut"), [(False, 3), (True, 2)])
def test_scales_that_no_loss_or_target_is_for_are_refused(scales, cut):
    logits, targets, outputs = batch(False, None, n_scales=3)
    single = RobustCrossEntropyLoss()
    loss = OffsetConfidenceLoss(single, DeepSupervisionWrapper(single, (0.5, 0.3, 0.2)) if scales else None, **LABELS)
    with pytest.raises(ValueError, match=f"3 scales of logits and {cut} targets"):
        loss(logits, targets[:cut], **outputs)


# what else a trainer does with it


def test_all_ignored_is_finite_with_gradients():
    (fused,), (target,), outputs = batch(False, 3)
    loss = OffsetConfidenceLoss(OhemCrossEntropy(3), regions=False, ignore_label=3)
    value = loss(fused, torch.full_like(target, 3), **outputs)
    value.backward()
    assert value.item() == 0
    assert all(not outputs[k].grad.any() for k in ("initial", "seed", "confidence"))


def test_slices_of_a_lifted_network_are_images():
    logits, target = torch.randn(2, 3, 4, 9, 7), torch.randint(0, 3, (2, 1, 9, 7))
    channels = zip(OUTPUTS, (3, 3, 1, 2), strict=True)
    outputs = {k: torch.randn(2, c, 4, 9, 7) for k, c in channels}
    loss = OffsetConfidenceLoss(nnunets_loss(False, None), **LABELS)
    each = [loss(logits[:, :, d], target, **{k: v[:, :, d] for k, v in outputs.items()}).item() for d in range(4)]
    assert SlicewiseLoss(loss)(logits, target, **outputs).item() == pytest.approx(sum(each) / 4, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_takes_half_precision_and_pickles(dtype):
    (fused,), (target,), outputs = batch(False, None)
    loss = pickled(OffsetConfidenceLoss(OhemCrossEntropy(None, 0.7, 20), **LABELS))
    half = [fused.to(dtype), *(v.to(dtype) for v in outputs.values())]
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half[0], target, **dict(zip(OUTPUTS, half[1:], strict=True)))
    assert value.dtype == torch.float32
    exact = [t.float() for t in half]
    assert value == loss(exact[0], target, **dict(zip(OUTPUTS, exact[1:], strict=True)))
