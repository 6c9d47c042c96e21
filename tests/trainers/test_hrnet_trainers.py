"""Trainers of HRNet and of OVeNet on it, narrow: where weights come from, what is trained, the auxiliary loss."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from torch.nn.functional import cross_entropy
from trainers.conftest import LABELS, stock_loss

from nnunet_ext.architectures.encoders import pretrained as encoders
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published import hrnet_parts
from nnunet_ext.architectures.published.hrnet import HRNetSpec
from nnunet_ext.architectures.published.hrnet_weights import BACKBONE
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.weights import FOLDER, WeightsError

BASES = ["nnUNetTrainerHRNetW48", "nnUNetTrainerHRNetW48OCR"]
OFFSETS = ["nnUNetTrainerOVeNet_HRNetW48", "nnUNetTrainerOVeNet_HRNetW48OCR"]
FROZEN = "nnUNetTrainerOVeNet_HRNetW48_Frozen"
BUDGET = "_1epochs_1iters"
MODEL = "hrnet_w4_modules1_1_1"
NARROW = {"width": 4, "modules": (1, 1, 1)}


@pytest.fixture
def make(make_trainer, monkeypatch):
    """Returns `make(name, kind)`: a trainer whose network has four channels and one block of each kind."""
    monkeypatch.setattr(hrnet_parts, "BLOCKS", 1)
    for name in (*BASES, *OFFSETS, FROZEN):
        trainer = resolve(name)
        branch = {"branch_modules": (1, 1)} if "OVeNet" in name else {}
        monkeypatch.setattr(trainer, "spec", replace(trainer.spec, **NARROW, **branch))
    torch.manual_seed(0)
    return lambda name, kind="labels": make_trainer(name, kind, patch_size=[64, 64])


@pytest.fixture
def weights(make, tmp_path, monkeypatch):
    """The state dict of a classifier of this width, in a file of the user's."""
    folder = tmp_path / "weights"
    folder.mkdir()
    state = HRNetSpec(**NARROW).build(None, 3, 2, False).state_dict()
    state = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(state | {"classifier.weight": torch.zeros(1000, 32)}, folder / f"{MODEL}.pth")
    monkeypatch.setenv(FOLDER, str(folder))

    def converted(name, pretrained_cfg_overlay):
        """timm's part, for a width that timm does not have."""
        assert name == MODEL
        return SimpleNamespace(state_dict=lambda: pretrained_cfg_overlay["state_dict"])

    monkeypatch.setattr(encoders, "_whole_model", converted)
    return state


@pytest.fixture
def no_weights(monkeypatch):
    """Nobody has any, and asking for them fails."""
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setattr(encoders, "_whole_model", lambda *_, **__: pytest.fail("weights are loaded"))


def manifest(trainer):
    return json.loads(Path(trainer.output_folder, "nnunet_ext_manifest.json").read_text())


def of_backbone(state):
    return {k: v for k, v in state.items() if k.split(".")[0] in BACKBONE}


# ------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("name", [*BASES, *OFFSETS])
def test_a_new_training_begins_at_the_weights(make, weights, name):
    trainer = make(f"{name}{BUDGET}")
    trainer.initialize()
    state = trainer.network.state_dict()
    backbone = of_backbone(state)
    assert len(backbone) > 100
    assert all(torch.equal(v, weights[k]) for k, v in backbone.items())
    branch = {k.removeprefix("offset_branch.seg_layers."): v for k, v in state.items() if "offset_branch." in k}
    assert bool(branch) == ("OVeNet" in name)
    for k, v in branch.items():
        source = k.replace("_2.", ".", 1)
        assert torch.equal(v, weights[source]) if source in weights else k.startswith(("offset_layer", "aux_head"))
    trainer.on_train_start()
    line = f"{MODEL} from {Path(trainer.output_folder_base).parents[2] / 'weights' / MODEL}.pth"
    assert manifest(trainer)["method"]["pretrained"] == line


def test_a_continued_training_has_its_own(make, weights, monkeypatch, tmp_path):
    name = f"{FROZEN}_2epochs_1iters"
    first = make(name)
    first.num_epochs, first.save_every = 1, 1
    maybe_load_checkpoint(first, False, False, base_checkpoint(make, tmp_path))
    first.run_training()
    trained = {k: v.clone() for k, v in first.network.state_dict().items()}
    monkeypatch.delenv(FOLDER)
    monkeypatch.setattr(encoders, "_whole_model", lambda *_, **__: pytest.fail("weights are loaded"))
    second = make(name)
    maybe_load_checkpoint(second, continue_training=True, validation_only=False)
    assert second.current_epoch == 1
    assert all(torch.equal(v, trained[k]) for k, v in second.network.state_dict().items())
    second.run_training()
    assert len(second.logger.get_value("train_losses", step=None)) == 2
    assert manifest(second)["method"]["pretrained"] == "the checkpoint that is continued"


@pytest.mark.parametrize("name", [*BASES, *OFFSETS])
def test_from_scratch_nothing_is_asked_for(make, no_weights, name):
    trainer = make(f"{name}_scratch{BUDGET}")
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert np.isfinite(log["train_losses"] + log["val_losses"] + log["ema_fg_dice"]).all()
    assert manifest(trainer)["method"]["pretrained"].startswith("no ImageNet weights")


def test_weights_of_another_width_are_refused_before_training(make, weights, tmp_path):
    wider = HRNetSpec(**NARROW | {"width": 8}).build(None, 3, 2, False).state_dict()
    torch.save(wider, tmp_path / "weights" / f"{MODEL}.pth")
    trainer = make(f"nnUNetTrainerHRNetW48{BUDGET}")
    with pytest.raises(WeightsError, match=rf"not the weights of timm's {MODEL}: .* have another shape"):
        trainer.run_training()
    assert not list(Path(trainer.output_folder).glob("checkpoint_*"))


@pytest.mark.parametrize("kind", LABELS)
def test_trains_on_every_kind_of_target(make, kind):
    trainer = make("nnUNetTrainerOVeNet_HRNetW48_scratch", kind)
    trainer.initialize()
    before = {k: p.detach().clone() for k, p in trainer.network.named_parameters()}
    training, validation = trainer.get_dataloaders()
    assert np.isfinite(trainer.train_step(next(training))["loss"])
    assert not [k for k, p in trainer.network.named_parameters() if torch.equal(p, before[k])]
    batch = next(validation)
    with torch.no_grad():
        fused = trainer.network.eval()(batch["data"])
        expected = stock_loss(trainer)(fused, batch["target"].clone())
        assert trainer.validation_step(batch)["loss"] == pytest.approx(expected.item(), rel=1e-6)


# -------------------------------------------------------------------------------------------------------------- frozen


def base_checkpoint(make, folder):
    """A finished HRNet, as nnU-Net saves it."""
    trainer = make("nnUNetTrainerHRNetW48_scratch")
    trainer.initialize()
    for step in range(2):
        trainer.train_step({"data": torch.randn(2, 3, 64, 64), "target": torch.full((2, 1, 64, 64), float(step))})
    torch.save({"network_weights": trainer.network.state_dict()}, folder / "base.pth")
    return str(folder / "base.pth")


def test_the_branch_alone_is_trained_on_a_finished_network(make, weights, tmp_path):
    base = base_checkpoint(make, tmp_path)
    finished = torch.load(base, weights_only=False)["network_weights"]
    trainer = make(f"{FROZEN}_1epochs_3iters")
    maybe_load_checkpoint(trainer, False, False, base)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    assert any(not torch.equal(v, weights[k]) for k, v in of_backbone(before).items())
    trainer.run_training()
    moved = set()
    for k, v in trainer.network.state_dict().items():
        if k.startswith("offset_branch."):
            moved |= set() if torch.equal(v, before[k]) else {k}
        else:
            assert torch.equal(v, finished[k]), f"{k} is frozen, statistics of batch norms too"
    assert moved == {k for k in before if k.startswith("offset_branch.")}, "its weights and statistics"
    trained = sum(p.numel() for p in trainer.network.offset_branch.parameters())
    assert manifest(trainer)["method"]["trained_parameters"] == trained
    assert trained < manifest(trainer)["parameters"]


@pytest.mark.parametrize("suffix", ["_scratch", "_scratch_1epochs_1iters_paper"])
def test_a_frozen_network_at_random_weights_is_refused_and_told_what_to_type(make, no_weights, suffix):
    trainer = make(f"{FROZEN}{suffix}")
    with pytest.raises(RuntimeError) as error:
        trainer.run_training()
    base = f"nnUNetTrainerHRNetW48{suffix}"
    assert f"on a finished {base}, and none was given" in str(error.value)
    checkpoint = f"{base}__nnUNetPlans__2d/fold_0/checkpoint_final.pth"
    command = (
        f"nnUNetv2_train Dataset900_Tiny 2d 0 -tr {FROZEN}{suffix} -pretrained_weights {trainer.output_folder_base}"
    )
    assert str(error.value).endswith(checkpoint)
    command = command.removesuffix(f"{FROZEN}{suffix}__nnUNetPlans__2d")
    assert command in str(error.value)
    assert resolve(base).spec == resolve("nnUNetTrainerHRNetW48").spec
    assert trainer.current_epoch == 0
    assert not list(Path(trainer.output_folder).glob("checkpoint_*"))


def test_imagenet_weights_are_no_finished_network(make, weights):
    trainer = make(f"{FROZEN}{BUDGET}")
    trainer.initialize()
    with pytest.raises(RuntimeError, match="on a finished nnUNetTrainerHRNetW48_1epochs_1iters, and none was given"):
        trainer.run_training()


def test_an_earlier_trainings_checkpoints_outlive_the_refusal(make, weights, tmp_path):
    first = make(f"{FROZEN}{BUDGET}")
    maybe_load_checkpoint(first, False, False, base_checkpoint(make, tmp_path))
    first.run_training()
    folder = Path(first.output_folder)
    kept = {p.name: p.read_bytes() for p in folder.glob("*.pth")}
    assert "checkpoint_final.pth" in kept
    with pytest.raises(RuntimeError, match="none was given"):
        make(f"{FROZEN}{BUDGET}").run_training()
    assert {p.name: p.read_bytes() for p in folder.glob("*.pth")} == kept
    assert not list(folder.glob("earlier_*"))


# ----------------------------------------------------------------------------------------------------------------- OCR


def numbers(trainer, kind, n):
    """`n` maps of logits and nnU-Net's target, 16 pixels a side."""
    generator = torch.Generator().manual_seed(5)
    heads = trainer.label_manager.num_segmentation_heads
    labels = torch.randint(0, 4 if "ignore" in kind else 3, (2, 1, 16, 16), generator=generator)
    target = labels.float()
    if "regions" in kind:
        masks = [(labels == 1) | (labels == 2), labels == 2, *([labels == 3] if "ignore" in kind else [])]
        target = torch.cat(masks, 1)
    return [torch.randn(2, heads, 16, 16, generator=generator) for _ in range(n)], target


@pytest.mark.parametrize("kind", LABELS)
def test_auxiliary_logits_have_nnunets_loss_times_0_4(make, kind):
    trainer = make("nnUNetTrainerHRNetW48OCR_scratch", kind)
    trainer.initialize()
    single = stock_loss(trainer)
    (final, auxiliary), target = numbers(trainer, kind, 2)
    found = trainer.loss(TrainingOutput(final, {"auxiliary": auxiliary}), target)
    assert found.item() == pytest.approx((single(final, target) + 0.4 * single(auxiliary, target)).item(), rel=1e-6)
    assert trainer.loss(final, target).item() == pytest.approx(single(final, target).item(), rel=1e-6), "validation"


@pytest.mark.parametrize("kind", LABELS)
def test_offsets_on_ocr_have_the_auxiliary_loss_of_each_map(make, kind):
    trainer = make("nnUNetTrainerOVeNet_HRNetW48OCR_scratch", kind)
    trainer.initialize()
    single = stock_loss(trainer)
    (f, i, s, *auxiliary), target = numbers(trainer, kind, 6)
    sure = {"confidence": torch.full((2, 1, 16, 16), 40.0), "offsets": torch.zeros(2, 2, 16, 16)}  # its loss is 0
    names = dict(zip(("auxiliary_fused", "auxiliary_initial", "auxiliary_seed"), auxiliary, strict=True))
    found = trainer.loss(TrainingOutput(f, {"initial": i, "seed": s, **sure, **names}), target)
    terms = [single(z, target) + 0.4 * single(a, target) for z, a in zip((f, i, s), auxiliary, strict=True)]
    assert found.item() == pytest.approx((terms[0] + 0.5 * terms[1] + 0.5 * terms[2]).item() / 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["labels", "labels_ignore"])
def test_the_paper_keeps_hard_pixels_of_the_final_logits_and_all_of_the_auxiliary_ones(make, kind):
    trainer = make("nnUNetTrainerHRNetW48OCR_scratch_paper", kind)
    trainer.initialize()
    (final, auxiliary), target = numbers(trainer, kind, 2)
    labels = target[:, 0].long()
    valid = labels != 3
    p = final.softmax(1).gather(1, labels.clamp(max=2)[:, None])[:, 0][valid]
    hard = -p[p < max(p.max().item(), 0.9)].log().mean()  # fewer pixels than are kept: all but the easiest
    expected = hard + 0.4 * cross_entropy(auxiliary, labels, ignore_index=3)
    found = trainer.loss(TrainingOutput(final, {"auxiliary": auxiliary}), target)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    without = trainer.loss(final, target).item()
    assert without == pytest.approx(hard.item(), rel=1e-5)
    assert without != pytest.approx(cross_entropy(final, labels, ignore_index=3).item(), rel=1e-4)


@pytest.mark.parametrize("suffix", ["", "_paper", "_StructureLoss"])
def test_offsets_on_ocr_take_a_step(make, suffix):
    options = "_StructureLoss_scratch" if suffix == "_StructureLoss" else f"_scratch{suffix}"
    trainer = make(f"nnUNetTrainerOVeNet_HRNetW48OCR{options}", "labels_ignore")
    trainer.initialize()
    before = {k: p.detach().clone() for k, p in trainer.network.named_parameters()}
    output = trainer.network.train()(torch.randn(2, 3, 64, 64))
    assert {"auxiliary_fused", "auxiliary_initial", "auxiliary_seed"} <= set(output.extra)
    assert np.isfinite(trainer.train_step(next(trainer.get_dataloaders()[0]))["loss"])
    assert not [k for k, p in trainer.network.named_parameters() if torch.equal(p, before[k])]
