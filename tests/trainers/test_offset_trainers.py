"""Trainers of offset vectors: real steps and epochs on every kind of target, and what they compose with."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from trainers.conftest import LABELS, stock_loss

from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.losses.lossnet import LossNetLoss
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.training_loss import Weighted

NAME = "nnUNetTrainerOVeNet"
BUDGET = "_1epochs_1iters"
PLANS = {
    "2d": {},
    "2d_one_scale": {"n_stages": 2},
    "3d": {"patch_size": [16, 16, 8]},
    "3d_one_scale": {"patch_size": [8, 16, 16], "anisotropic": True, "n_stages": 2},
}


def copied(target):
    return [t.clone() for t in target] if isinstance(target, list) else target.clone()


@pytest.mark.parametrize(
    ("kind", "plan"),
    [*((kind, "2d") for kind in LABELS), ("regions_ignore", "3d"), ("labels", "2d_one_scale"),
     ("labels_ignore", "3d_one_scale")],
)  # fmt: skip
def test_an_epoch_on_every_kind_of_target(make_trainer, kind, plan):
    trainer = make_trainer(f"{NAME}{BUDGET}", kind, **PLANS[plan])
    assert trainer.enable_deep_supervision == ("one_scale" not in plan)
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    for curve in ("train_losses", "val_losses", "ema_fg_dice"):
        assert np.isfinite(log[curve]).all(), curve


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("plan", ["2d", "3d_one_scale"])
def test_a_step_moves_every_parameter(make_trainer, kind, plan):
    trainer = make_trainer(NAME, kind, **PLANS[plan])
    trainer.initialize()
    torch.manual_seed(0)
    network = trainer.network.train()
    before = {k: p.detach().clone() for k, p in network.named_parameters()}
    batch = next(trainer.get_dataloaders()[0])
    assert np.isfinite(trainer.train_step(batch)["loss"])
    still = [k for k, p in network.named_parameters() if torch.equal(p, before[k])]
    coarsest = ["head.seg_layers.1.weight", "head.seg_layers.1.bias"]  # of two scales; nnU-Net's weight of it is 0
    assert still == ([] if "one_scale" in plan else coarsest)
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("plan", ["2d", "3d_one_scale"])
def test_validation_has_nnunets_loss_of_the_fused_map(make_trainer, kind, plan):
    trainer = make_trainer(NAME, kind, **PLANS[plan])
    trainer.initialize()
    network = trainer.network.eval()
    batch = next(trainer.get_dataloaders()[1])
    target = copied(batch["target"])
    with torch.no_grad():
        fused, *coarser = out if isinstance(out := network(batch["data"]), list) else [out]
        assert torch.equal(fused, network.refined(batch["data"]).fused)
        expected = stock_loss(trainer)([fused, *coarser] if coarser else fused, target)
        found = trainer.validation_step(batch)
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-6)
    assert found["tp_hard"].shape == (2,)


@pytest.mark.parametrize("branch", ["OVeDecoder", "M2S_OVeShared5mm"])
def test_other_branches_and_reaches_train(make_trainer, branch):
    trainer = make_trainer(f"nnUNetTrainerExt_{branch}{BUDGET}", "labels_ignore")
    trainer.run_training()
    assert np.isfinite(trainer.logger.get_value("train_losses", step=0))


# ------------------------------------------------------------------------------------------------ with other methods


@pytest.mark.parametrize("kind", ["labels", "regions_ignore"])
def test_each_slice_of_a_lifted_network_has_the_offset_loss_and_is_recorded(make_trainer, kind):
    trainer = make_trainer("nnUNetTrainerExt_OVe_SL8_1epochs_2iters", kind)
    trainer.run_training()
    slices = trainer.unwrapped_network.selection.mean_loss
    assert len(slices) == 8
    assert len(set(slices.tolist())) > 1
    assert slices.mean().item() == pytest.approx(trainer.logger.get_value("train_losses", step=0), abs=1e-4)
    offsets = trainer.loss.method.inner
    z = torch.randn(2, trainer.label_manager.num_segmentation_heads, 8, 32, 32)
    extra = {"initial": z.flip(3), "seed": z.flip(4), "confidence": z[:, :1], "offsets": 4 * z[:, :2].flip(3)}
    target = next(trainer.get_dataloaders()[0])["target"]
    each = [offsets(z[:, :, d], target, **{k: v[:, :, d] for k, v in extra.items()}) for d in range(8)]
    found = trainer.loss(TrainingOutput(z, extra), target)
    assert found.item() == pytest.approx(sum(v.item() for v in each) / 8, rel=1e-5)


def test_lossnet_is_added_of_the_fused_map_once(make_trainer, vgg_weights):
    trainer = make_trainer("nnUNetTrainerExt_M2S_OVe_LossNet_1epochs_1iters")
    trainer.run_training()
    added = trainer.loss.added
    assert isinstance(added, Weighted)
    assert isinstance(added.loss, LossNetLoss)
    seen = []
    added.loss.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = next(trainer.get_dataloaders()[0])
    network = trainer.network.train()
    with torch.no_grad():
        output = network(batch["data"])
        whole = trainer.loss(output, batch["target"])
        expected = trainer.loss.method(output.logits, batch["target"], **output.extra)
        expected = expected + 0.1 * added.loss(output.logits[0], batch["target"][0])
    assert torch.equal(seen[0], output.logits[0])
    assert len(seen) == 2, "once in the trainer's loss, once here"
    assert whole.item() == pytest.approx(expected.item(), rel=1e-6)


# -------------------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("name", [f"{NAME}{BUDGET}", f"{NAME}{BUDGET}_paper", f"{NAME}_StructureLoss{BUDGET}"])
def test_the_record_holds_the_weights_and_the_head(make_trainer, name):
    trainer = make_trainer(name)
    trainer.initialize()
    trainer.on_train_start()
    manifest = json.loads(Path(trainer.output_folder, "nnunet_ext_manifest.json").read_text())
    assert "OffsetVectorHead(branch='light', tau=0.5" in manifest["network"]["head"]
    assert manifest["recipe"]["offset_loss"] == {
        "seed_weight": 0.5, "initial_weight": 0.5, "confidence_weight": 1.0, "normalise": "_paper" not in name,
        "authors": False,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["", "_paper", "_StructureLoss_LossNet_3epochs_4iters"])
@pytest.mark.parametrize("name", [NAME, "nnUNetTrainerHRNetW48", "nnUNetTrainerOVeNet_HRNetW48OCR"])
def test_recipes_are_json(name, suffix):
    described = resolve(f"{name}{suffix}").recipe.describe()
    assert json.loads(json.dumps(described)).keys() == described.keys()
    assert ("offset_loss" in described) == ("OVeNet" in name)
