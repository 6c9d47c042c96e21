"""How the IFE paper trains: Adam, a tenth in the second half, one of six sizes a batch, the structure loss as coded."""

import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, special
from torch import nn

from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.trainers import ife, naming
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.suffixes import TrainerNameError

NAME = "nnUNetTrainerLikeIFE"
PAPER = f"{NAME}_paper"


@pytest.fixture(autouse=True)
def trainer_of_the_recipe(monkeypatch):
    """A trainer of the plan's network with the recipe, known by a name."""
    attributes = {"spec": ComposedSpec(), "paper_recipe": ife.PAPER_RECIPE, "__module__": naming.__name__}
    trainer = type(NAME, (nnUNetTrainerExt,), attributes)
    monkeypatch.setattr(naming, "_resolved", {**naming._resolved, NAME: trainer})


# ----------------------------------------------------------------------------------------------- optimiser and schedule


def test_adam_without_weight_decay_reaches_all_parameters(make_trainer):
    trainer = make_trainer(PAPER)
    trainer.initialize()
    assert type(trainer.optimizer) is torch.optim.Adam
    (group,) = trainer.optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.999), 0)
    assert {id(p) for p in group["params"]} == {id(p) for p in trainer.network.parameters()}


def test_lengths_are_the_papers_images_in_its_batches():
    """31,548 images to train and 5,884 to validate, in batches of 32 and 64."""
    for recipe, batch in ((ife.PAPER_RECIPE, 32), (ife.PAPER_RECIPE_64, 64)):
        assert recipe.num_epochs == 100
        assert recipe.num_iterations_per_epoch == math.ceil(31548 / batch)
        assert recipe.num_val_iterations_per_epoch == math.ceil(5884 / batch)
    same = {"num_iterations_per_epoch": 986, "num_val_iterations_per_epoch": 184}
    assert replace(ife.PAPER_RECIPE_64, **same) == ife.PAPER_RECIPE


def schedule_of(num_epochs):
    optimizer = ife.adam(nn.Linear(2, 3).parameters(), 1e-4, 0)
    return optimizer.param_groups[0], ife.TenthInSecondHalf(optimizer, 1e-4, num_epochs)


@pytest.mark.parametrize(("num_epochs", "whole"), [(100, 50), (10, 5), (5, 3), (2, 1), (1, 1)])
def test_rates_of_every_epoch(num_epochs, whole):
    group, schedule = schedule_of(num_epochs)
    rates = []
    for epoch in range(num_epochs):
        schedule.step(epoch)
        rates.append(group["lr"])
        assert schedule.get_last_lr() == [group["lr"]]
    assert rates == pytest.approx([1e-4] * whole + [1e-5] * (num_epochs - whole))


def test_a_training_that_was_broken_off_goes_on_at_its_epochs_rate(make_trainer):
    trainer = make_trainer(PAPER)
    trainer.initialize()
    trainer.current_epoch = 50
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.on_train_epoch_start()
    trainer.save_checkpoint(path)
    again = make_trainer(PAPER)
    again.load_checkpoint(path)
    for epoch, rate in ((49, 1e-4), (again.current_epoch, 1e-5), (99, 1e-5), (0, 1e-4)):
        again.current_epoch = epoch
        again.lr_scheduler.step(epoch)
        assert again.optimizer.param_groups[0]["lr"] == pytest.approx(rate), epoch


# ------------------------------------------------------------------------------------------------------ gradients


def norm_of_gradients(trainer):
    return torch.stack([p.grad.norm() for p in trainer.network.parameters() if p.grad is not None]).norm().item()


@pytest.mark.parametrize(("each", "norm"), [(100.0, 1.0), (1e-6, None)])
def test_gradients_are_shrunk_to_norm_1_and_not_enlarged(make_trainer, each, norm):
    trainer = make_trainer(PAPER)
    trainer.initialize()
    for p in trainer.network.parameters():
        p.grad = torch.full_like(p, each)
    before = norm_of_gradients(trainer)
    trainer.optimizer.step()
    assert norm_of_gradients(trainer) == pytest.approx(before if norm is None else norm, rel=1e-5)


def test_a_training_step_is_taken_with_what_was_clipped(make_trainer):
    trainer = make_trainer(PAPER)
    trainer.initialize()
    seen = []
    trainer.optimizer.register_step_pre_hook(lambda *_: seen.append(norm_of_gradients(trainer)))
    loss = trainer.loss
    trainer.loss = lambda output, target: 1e3 * loss(output, target)
    trainer.train_step(batch_of(32))
    assert seen == [pytest.approx(1, rel=1e-4)]


# ----------------------------------------------------------------------------------------------------------- sizes


def batch_of(side, n_classes=3):
    target = torch.randint(0, n_classes, (2, 1, side, side)).float()
    return {"data": torch.randn(2, 3, side, side), "target": [target, target[..., ::2, ::2]]}


def test_each_batch_has_one_of_the_papers_sizes(make_trainer):
    """A patch of 28 for its 224, with a network that takes multiples of 4."""
    trainer = make_trainer(PAPER, patch_size=[28, 28])
    trainer.initialize()
    images, targets = [], []
    trainer.network.register_forward_pre_hook(lambda _, args: images.append(tuple(args[0].shape[2:])))
    trainer.loss.register_forward_pre_hook(lambda _, args: targets.append([tuple(t.shape[2:]) for t in args[1]]))
    batch = batch_of(28)
    random.seed(0)
    losses = [trainer.train_step(batch)["loss"] for _ in range(48)]
    assert np.isfinite(losses).all()
    sides = Counter(side for side, _ in images)
    assert [side * 8 for side in sorted(sides)] == [224, 256, 288, 320, 352, 384]
    assert sum(sides.values()) == 48
    assert min(sides.values()) > 3
    for (rows, columns), scales in zip(images, targets, strict=True):
        assert scales == [(rows, columns), (rows // 2, columns // 2)]


# ------------------------------------------------------------------------------------------------------------ loss


def expected_loss(logits, masks):
    """Mean cross-entropy + mean weighted IoU, image by image and region by region, with scipy's box filter."""
    z, m = logits.double().numpy(), masks.double().numpy()
    p = special.expit(z)
    entropy = -(m * np.log(p) + (1 - m) * np.log(1 - p)).mean()
    ious = []
    for one, other in zip(p.reshape(-1, *p.shape[2:]), m.reshape(-1, *m.shape[2:]), strict=True):
        weight = 1 + 5 * np.abs(ndimage.uniform_filter(other, 31, mode="constant") - other)
        overlap, both = (weight * one * other).sum(), (weight * (one + other)).sum()
        ious.append(1 - (overlap + 1) / (both - overlap + 1))
    return entropy + np.mean(ious)


def test_the_loss_is_the_structure_loss_as_it_is_coded(make_trainer):
    trainer = make_trainer(PAPER, "regions")
    trainer.initialize()
    torch.manual_seed(0)
    masks = torch.zeros(2, 2, 32, 32)
    masks[0, :, 4:20, 6:30] = 1
    masks[1, 1, :9, 25:] = 1
    logits = torch.randn(2, 2, 32, 32)
    coarse = torch.randn(2, 2, 16, 16), masks[..., ::2, ::2]  # nnU-Net gives the coarsest of two outputs no weight
    loss = trainer.loss([logits, coarse[0]], [masks, coarse[1]])
    assert loss.item() == pytest.approx(expected_loss(logits, masks), rel=1e-5)


def test_the_weighted_form_is_another_number(make_trainer):
    outputs = [torch.randn(2, 3, s, s) for s in (32, 16)]
    targets = batch_of(32)["target"]
    targets[0][:, :, :20] = 0
    losses = []
    for name in (PAPER, f"{NAME}_StructureLoss"):
        trainer = make_trainer(name)
        trainer.initialize()
        losses.append(trainer.loss(outputs, targets).item())
    assert abs(losses[0] - losses[1]) > 1e-3


def test_the_structure_loss_is_not_asked_for_twice():
    message = rf"{NAME} with _paper is trained with the structure loss already.*Type: -tr {NAME}_paper"
    with pytest.raises(TrainerNameError, match=message):
        naming.resolve(f"{NAME}_StructureLoss_paper")


# ---------------------------------------------------------------------------------------------- regions and trainings


@pytest.mark.parametrize(
    ("plan", "region", "axes"),
    [
        ({"patch_size": [32, 32]}, (46, 46), (0, 1)),
        ({"patch_size": [16, 40]}, (44, 44), (0, 1)),  # nnU-Net turns it by 15 degrees at most
        ({"patch_size": [16, 16, 32]}, (16, 36, 36), (1, 2)),
        ({"patch_size": [8, 32, 32], "anisotropic": True}, (8, 46, 46), (1, 2)),
    ],
)
def test_regions_leave_room_for_any_turn(make_trainer, plan, region, axes):
    trainer = make_trainer(PAPER, **plan)
    *_, dummy_2d, size, mirrored = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert all(s >= r for s, r in zip(size, region, strict=True))
    assert mirrored == trainer.inference_allowed_mirroring_axes == axes
    if dummy_2d:
        assert size[0] == plan["patch_size"][0]


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        ("regions_ignore", {}),
        ("labels", {"patch_size": [12, 12, 12]}),
        ("labels", {"patch_size": [6, 24, 24], "anisotropic": True}),
    ],
)
def test_trains(make_trainer, kind, plan):
    trainer = make_trainer(f"{NAME}_1epochs_2iters_paper", kind, **plan)
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert np.isfinite(log["train_losses"] + log["val_losses"]).all()
    assert log["lrs"] == [1e-4]


def test_it_is_described():
    described = ife.PAPER_RECIPE.describe()
    assert described["clip_gradients"] == "nnunet_ext.trainers.ife.clip_norm(limit=1.0)"
    assert described["margin"] == "nnunet_ext.trainers.augmentation_ife.room_to_turn"
    assert described["loss"].endswith("structure_loss_as_coded")
