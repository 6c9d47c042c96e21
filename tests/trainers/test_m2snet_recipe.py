"""How the M2SNet paper trains: triangle, two learning rates, one size a batch, small turns and horizontal flips."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_ext.trainers.augmentation import flips_and_small_turns
from nnunet_ext.trainers.m2snet import PAPER_RECIPE, Triangle, sgd
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.recipe import Recipe, encoder_and_rest

NAME = "nnUNetTrainerM2SNet_noLossNet"


def two_groups():
    network = nn.ModuleDict({"encoder": nn.Linear(2, 3), "head": nn.Linear(3, 2)})
    return sgd(encoder_and_rest(network, 0.05, 0.1), 0.05, 5e-4), network


def test_triangle_is_the_authors_table_in_both_groups():
    """0.00196, ..., 0.0490 at epochs 25 and 26 (counted from 1), ..., 0.00196 of 50; the encoder a tenth."""
    optimizer, network = two_groups()
    schedule = Triangle(optimizer, 0.05, 50)
    rates = []
    for epoch in range(50):
        schedule.step(epoch)
        rates.append([group["lr"] for group in optimizer.param_groups])
    full, encoder = np.array(rates).T
    assert full[[0, 49]] == pytest.approx(0.00196, abs=1e-5)
    assert full[[24, 25]] == pytest.approx(0.0490, abs=1e-4)
    assert np.allclose(encoder, full / 10)
    assert schedule.get_last_lr() == rates[-1]
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(p) for p in network["encoder"].parameters()}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(network.parameters()))


def test_triangle_goes_on_where_a_training_was_broken_off():
    optimizer, _ = two_groups()
    schedule = Triangle(optimizer, 0.05, 10)
    schedule.step(7)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * (1 - abs(2 * 8 / 11 - 1)))


def test_a_second_learning_rate_needs_a_schedule_that_keeps_it():
    with pytest.raises(ValueError, match="nnU-Net's own schedule gives all parameters the same"):
        Recipe(encoder_lr_factor=0.1)


def test_paper_recipe_is_applied(make_trainer):
    trainer = make_trainer(f"{NAME}_paper", patch_size=[64, 64])
    trainer.initialize()
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    (group,) = trainer.optimizer.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch) == (50, 91)
    axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[-1]
    assert axes == trainer.inference_allowed_mirroring_axes == (1,)


def test_two_learning_rates_reach_the_optimiser(make_trainer, monkeypatch):
    cls = resolve(f"{NAME}_paper")
    monkeypatch.setattr(cls, "recipe", replace(cls.recipe, encoder_lr_factor=0.1))
    trainer = make_trainer(f"{NAME}_paper", patch_size=[64, 64])
    trainer.initialize()
    trainer.lr_scheduler.step(10)
    rest, encoder = trainer.optimizer.param_groups
    assert encoder["lr"] == pytest.approx(rest["lr"] / 10)
    assert {id(p) for p in encoder["params"]} == {id(p) for p in trainer.network.encoder.parameters()}


@pytest.mark.parametrize("compiled", [False, True])
def test_the_groups_are_built_before_the_network_is_wrapped_for_several_gpus(make_trainer, monkeypatch, compiled):
    """NnU-Net compiles the network, asks for the optimiser, and only then wraps the network."""
    cls = resolve(f"{NAME}_paper")
    monkeypatch.setattr(cls, "recipe", replace(cls.recipe, encoder_lr_factor=0.1))
    trainer = make_trainer(f"{NAME}_paper", patch_size=[64, 64])
    trainer.initialize()
    network = trainer.network
    trainer.is_ddp = True
    if compiled:
        trainer.network = torch.compile(network, backend="eager")
    assert trainer.unwrapped_network is network
    optimizer, _ = trainer.configure_optimizers()
    assert len(optimizer.param_groups) == 2


def test_without_pretrained_weights_there_is_one_learning_rate():
    assert resolve("nnUNetTrainerM2SNet_Res2Net50_paper").recipe.encoder_lr_factor == 0.1
    assert resolve("nnUNetTrainerM2SNet_Res2Net50_scratch_paper").recipe.encoder_lr_factor is None


def test_each_batch_has_one_of_the_papers_sizes(make_trainer, monkeypatch):
    trainer = make_trainer(f"{NAME}_1epochs_2iters_paper", patch_size=[176, 176])
    trainer.initialize()
    seen = Counter()
    trainer.network.register_forward_pre_hook(lambda _, args: seen.update([tuple(args[0].shape[2:])]))
    torch.manual_seed(0)
    batch = {
        "data": torch.randn(1, 3, 176, 176),
        "target": [torch.ones(1, 1, 176 // 2**i, 176 // 2**i) for i in range(2)],
    }
    for _ in range(40):
        loss = trainer.train_step(batch)["loss"]
        assert math.isfinite(loss)
    assert set(seen) == {(112, 112), (128, 128), (144, 144), (160, 160), (176, 176)}
    assert sum(seen.values()) == 40


def test_images_are_always_turned_a_little_and_flipped_one_way():
    pipeline = flips_and_small_turns((32, 32), (-3.14, 3.14), None, (1,), False)
    rows, columns = np.mgrid[:48, :48].astype(np.float32)
    image = torch.from_numpy(np.stack([rows, columns]))
    angles, flips = [], Counter()
    for _ in range(80):
        out = pipeline(image=image.clone(), segmentation=torch.zeros(1, 48, 48, dtype=torch.int16))["image"]
        down, right = (out[0, 20, 16] - out[0, 12, 16]) / 8, (out[0, 16, 20] - out[0, 16, 12]) / 8
        assert down > 0.9, "flipped or turned far along the first axis"
        flips[bool((out[1, 16, 20] - out[1, 16, 12]) > 0)] += 1
        angles.append(math.degrees(math.atan2(abs(right), down)))
    assert max(angles) < 10.5
    assert max(angles) > 7
    assert sum(a < 0.2 for a in angles) < 10, "not turned at all"
    assert min(flips.values()) > 20


def test_the_recipe_is_the_papers():
    described = PAPER_RECIPE.describe()
    assert described["initial_lr"] == 0.05
    assert [round(s * 352) for s in described["scales"]] == [224, 256, 288, 320, 352]
