"""The loss that trainers of offset vectors build, against sums of nnU-Net's own made by hand."""

import math

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from trainers.conftest import LABELS, stock_loss

from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.losses.structure import StructureLoss
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.offset_vectors import OffsetLoss, OffsetRecipe

NAME = "nnUNetTrainerOVeNet"
N = 12  # pixels a side of what the loss is given; it does not ask for the plan's


def outputs(trainer, kind, scales):
    """A `TrainingOutput` of random numbers at sizes N, N / 2, ..., and a target of each."""
    heads = trainer.label_manager.num_segmentation_heads
    generator = torch.Generator().manual_seed(3)

    def random(channels, size=N):
        return torch.randn(2, channels, size, size, generator=generator)

    targets = []
    for s in range(scales):
        labels = torch.randint(0, 4 if "ignore" in kind else 3, (2, 1, N >> s, N >> s), generator=generator)
        if "regions" in kind:
            channels = [(labels == 1) | (labels == 2), labels == 2, *([labels == 3] if "ignore" in kind else [])]
            targets.append(torch.cat(channels, 1))
        else:
            targets.append(labels.float())
    logits = [random(heads, N >> s) for s in range(scales)]
    extra = {"initial": random(heads), "seed": random(heads), "confidence": random(1), "offsets": 3 * random(2)}
    whole = TrainingOutput(logits, extra) if scales > 1 else TrainingOutput(logits[0], extra)
    return whole, targets if scales > 1 else targets[0]


def confidence_by_loops(extra, target, kind):
    """Binary cross-entropy of F against "the seed has my class", pixel by pixel, without pairs that are ignored."""
    confidence, offsets, codes = extra["confidence"][:, 0], extra["offsets"], np.zeros((2, N, N), int)
    for b in range(2):
        for i in range(N):
            for j in range(N):
                value = [int(v) for v in target[b, :, i, j]]
                codes[b, i, j] = value[0] if len(value) == 1 else value[0] + 2 * value[1]
                if "ignore" in kind and (value[2] if "regions" in kind else value[0] == 3):
                    codes[b, i, j] = -1
    each = []
    for b in range(2):
        for i in range(N):
            for j in range(N):
                to = [min(N - 1, max(0, round(p + offsets[b, a, i, j].item()))) for a, p in enumerate((i, j))]
                here, there = codes[b, i, j], codes[b, to[0], to[1]]
                if min(here, there) >= 0:
                    f = 1 / (1 + math.exp(-confidence[b, i, j].item()))
                    each.append(-math.log(f if here == there else 1 - f))
    return sum(each) / len(each)


def parts(trainer, kind, single, shares):
    """L of the fused, seed and initial maps (the last over scales of these shares) and the confidence, by hand."""
    output, target = outputs(trainer, kind, len(shares))
    logits, targets = (output.logits, target) if len(shares) > 1 else ([output.logits], [target])
    initial = [output.extra["initial"], *logits[1:]]
    values = (
        single(logits[0], targets[0]).item(),
        single(output.extra["seed"], targets[0]).item(),
        sum(w * single(z, t).item() for w, z, t in zip(shares, initial, targets, strict=True) if w),
        confidence_by_loops(output.extra, targets[0], kind),
    )
    return values, trainer.loss(output, target).item()


@pytest.mark.parametrize("kind", LABELS)
def test_under_deep_supervision(make_trainer, kind):
    """Of four stages, nnU-Net weighs three scales 2/3, 1/3 and 0."""
    trainer = make_trainer(NAME, kind, n_stages=4)
    trainer.initialize()
    (fused, seed, initial, confidence), found = parts(trainer, kind, stock_loss(trainer).loss, (2 / 3, 1 / 3, 0))
    assert found == pytest.approx((fused + 0.5 * seed + 0.5 * initial) / 2 + confidence, rel=1e-5)


@pytest.mark.parametrize("kind", LABELS)
def test_of_one_scale(make_trainer, kind):
    trainer = make_trainer(NAME, kind, n_stages=2)
    trainer.initialize()
    (fused, seed, initial, confidence), found = parts(trainer, kind, stock_loss(trainer), (1,))
    assert found == pytest.approx((fused + 0.5 * seed + 0.5 * initial) / 2 + confidence, rel=1e-5)


def hard_pixels(ignore):
    """OHEM by its rule: so few pixels are all but the easiest one, or all below 0.9."""

    def loss(logits, target):
        labels = target[:, 0].long()
        valid = labels != ignore
        p = logits.softmax(1).gather(1, labels.clamp(max=2)[:, None])[:, 0][valid]
        return -p[p < max(p.max().item(), 0.9)].log().mean()

    return loss


@pytest.mark.parametrize("kind", ["labels", "labels_ignore"])
def test_the_paper_does_not_normalise_and_keeps_hard_pixels_at_every_scale(make_trainer, kind):
    trainer = make_trainer(f"{NAME}_paper", kind, n_stages=4)
    trainer.initialize()
    single = hard_pixels(ignore=3)
    (fused, seed, initial, confidence), found = parts(trainer, kind, single, (2 / 3, 1 / 3, 0))
    assert found == pytest.approx(fused + 0.5 * seed + 0.5 * initial + confidence, rel=1e-5)
    output, target = outputs(trainer, kind, 3)
    assert isinstance(trainer.loss.plain.loss, DeepSupervisionWrapper)
    expected = 2 / 3 * single(output.logits[0], target[0]) + 1 / 3 * single(output.logits[1], target[1])
    assert trainer.loss(output.logits, target).item() == pytest.approx(expected.item(), rel=1e-5), "in validation"


@pytest.mark.parametrize("kind", LABELS)
def test_the_structure_loss_takes_the_place_of_nnunets_in_all_three_terms(make_trainer, kind):
    trainer = make_trainer(f"{NAME}_StructureLoss", kind, n_stages=4)
    trainer.initialize()
    labels = trainer.label_manager
    single = StructureLoss(labels.has_regions, labels.ignore_label, patch_size=(32, 32), spacing=(1.0, 1.0))
    (fused, seed, initial, confidence), found = parts(trainer, kind, single, (2 / 3, 1 / 3, 0))
    assert found == pytest.approx((fused + 0.5 * seed + 0.5 * initial) / 2 + confidence, rel=1e-5)


def test_other_weights_are_two_lines(make_trainer, monkeypatch):
    weights = OffsetLoss(seed_weight=0.25, initial_weight=1, confidence_weight=2, normalise=False)
    monkeypatch.setattr(resolve(NAME), "recipe", OffsetRecipe(offset_loss=weights))
    trainer = make_trainer(NAME, "labels", n_stages=4)
    trainer.initialize()
    (fused, seed, initial, confidence), found = parts(trainer, "labels", stock_loss(trainer).loss, (2 / 3, 1 / 3, 0))
    assert found == pytest.approx(fused + 0.25 * seed + initial + 2 * confidence, rel=1e-5)
    assert trainer.recipe.describe()["offset_loss"]["seed_weight"] == 0.25
