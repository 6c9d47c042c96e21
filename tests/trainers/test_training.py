"""Trainings of two epochs in this process: every kind of target, what is written, what is logged."""

import inspect
import json
import math
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

import nnunet_ext
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.checkpoints import CheckpointError
from nnunet_ext.trainers.manifest import FILE_NAME, measured_validation
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.spatial_lifting import SpatialLiftingTrainer, warm_restarts
from nnunet_ext.trainers.training_loss import CheckedLoss

SL = "nnUNetTrainerSLUNet_5L1Res_2epochs_2iters"
PLAIN = "nnUNetTrainerExt_Plain_UNet_2epochs_2iters"


@pytest.mark.parametrize("kind", ["labels", "labels_ignore", "regions", "regions_ignore"])
@pytest.mark.parametrize("name", [SL, f"{SL}_paper", PLAIN])
def test_trains_on_every_kind_of_target(make_trainer, name, kind):
    trainer = make_trainer(name, kind)
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert len(log["train_losses"]) == 2
    assert np.isfinite(log["train_losses"]).all()
    assert np.isfinite(log["val_losses"]).all()
    assert np.isfinite(log["ema_fg_dice"]).all()


@pytest.mark.parametrize(
    "plan",
    [{"patch_size": [16, 16, 8]}, {"patch_size": [8, 16, 16], "anisotropic": True}, {"residual": True}],
    ids=["3d", "3d_anisotropic", "residual"],
)
def test_compositions_train_on_other_plans(make_trainer, plan):
    trainer = make_trainer(PLAIN, **plan)
    trainer.run_training()
    assert np.isfinite(trainer.logger.get_value("train_losses", step=None)).all()


def test_the_stock_network_takes_a_budget_too(make_trainer):
    trainer = make_trainer("nnUNetTrainer_2epochs_3iters")
    trainer.initialize()
    assert type(trainer.network).__module__.startswith("dynamic_network_architectures")
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (2, 3, 5)


def test_every_checkpoint_holds_the_selection_of_its_epoch(make_trainer):
    trainer = make_trainer(SL)
    trainer.run_training()
    state = torch.load(f"{trainer.output_folder}/checkpoint_final.pth", weights_only=False)["network_weights"]
    mean_loss, selected = state["selection.mean_loss"], state["selection.selected"]
    assert torch.isfinite(mean_loss).all()
    assert selected.tolist() == torch.sort(mean_loss, stable=True).indices[:5].tolist()
    assert not state["selection.uses_sigmoid"]


def test_slice_losses_average_to_the_training_loss(make_trainer):
    trainer = make_trainer(SL)
    trainer.run_training()
    mean = trainer.unwrapped_network.selection.mean_loss.mean().item()
    assert mean == pytest.approx(trainer.logger.get_value("train_losses", step=-1), abs=1e-4)


def test_regions_are_fused_as_sigmoids_after_loading(make_trainer):
    trainer = make_trainer(SL, "regions")
    trainer.run_training()
    state = torch.load(f"{trainer.output_folder}/checkpoint_final.pth", weights_only=False)["network_weights"]
    fresh = resolve(SL).build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 3, 2, False)
    fresh.load_state_dict(state)
    x = torch.randn(1, 3, 32, 32)
    slices = fresh.eval().slices(x)[:, :, state["selection.selected"]]
    assert torch.allclose(torch.sigmoid(fresh(x)), torch.sigmoid(slices).mean(2), atol=1e-6)


def test_manifest_tells_what_ran(make_trainer):
    trainer = make_trainer(f"{SL}_paper")
    trainer.run_training()
    with open(f"{trainer.output_folder}/nnunet_ext_manifest.json") as f:
        manifest = json.load(f)
    assert manifest["trainer"] == f"{SL}_paper"
    assert manifest["network"]["levels"] == "5"
    assert manifest["recipe"]["num_epochs"] == 2
    assert manifest["recipe"]["optimizer"].endswith("adamw")
    assert manifest["versions"]["nnunetv2"]
    assert manifest["finished"] > manifest["started"] or manifest["finished"] == manifest["started"]
    assert manifest["nnunet_ext"] == nnunet_ext.__version__
    assert manifest["training"]["seconds"] > 0
    assert manifest["training"]["peak_memory_bytes"] > 2**20
    assert manifest["training"]["peak_memory_of"] == "resident, the process"


def test_a_validation_adds_its_time_to_the_manifest_of_its_training(make_trainer):
    trainer = make_trainer(PLAIN)
    folder = Path(trainer.output_folder)
    (folder / "validation").mkdir(parents=True)
    (folder / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": [{}, {}, {}, {}]}))
    with measured_validation(trainer):
        pass
    assert not (folder / FILE_NAME).exists()  # of another trainer, or an older version
    (folder / FILE_NAME).write_text('{"trainer": "t", "validation": {"seconds": -1}}')
    with measured_validation(trainer):
        time.sleep(0.05)
    written = json.loads((folder / FILE_NAME).read_text())
    assert written["trainer"] == "t"
    found = written["validation"]
    assert found["cases"] == 4
    assert 0.05 <= found["seconds"] < 10
    assert found["seconds_per_case"] == pytest.approx(found["seconds"] / 4, abs=1e-3)
    assert found["peak_memory_bytes"] > 2**20
    assert found["finished"]


def test_a_validation_that_fails_leaves_the_manifest_as_it_was(make_trainer):
    trainer = make_trainer(PLAIN)
    path = Path(trainer.output_folder, FILE_NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    with pytest.raises(RuntimeError), measured_validation(trainer):
        raise RuntimeError
    assert path.read_text() == "{}"


def test_paper_recipe_is_applied(make_trainer):
    trainer = make_trainer("nnUNetTrainerSLUNet_5L1Res_paper")
    trainer.initialize()
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch) == (40, 250)
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    rates = []
    for epoch in (0, 5, 9, 10):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates[0] == rates[3] == pytest.approx(1e-3)
    assert rates[0] > rates[1] > rates[2]
    p = next(trainer.network.parameters())
    for q in trainer.network.parameters():
        q.grad = torch.full_like(q, 3.0)
    trainer.optimizer.step()
    assert p.grad.abs().max() == 0.5


def test_class_attributes_are_not_overwritten_by_nnunet(make_trainer):
    trainer = make_trainer("nnUNetTrainerSLUNet_5L1Res_7epochs")
    assert trainer.num_epochs == 7
    assert trainer.save_every == 1
    assert trainer.enable_deep_supervision is False


def test_an_epoch_without_foreground_does_not_stop_the_best_checkpoint(make_trainer):
    trainer = make_trainer(SL)
    empty = [{"loss": np.float32(1), **{k: np.zeros(2) for k in ("tp_hard", "fp_hard", "fn_hard")}}]
    full = [{"loss": np.float32(1), "tp_hard": np.ones(2), "fp_hard": np.zeros(2), "fn_hard": np.zeros(2)}]
    curve = trainer.logger.local_logger.my_fantastic_logging["ema_fg_dice"]
    for epoch, outputs in enumerate([empty, full, empty, full]):
        trainer.current_epoch = epoch
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nnU-Net's mean of nothing
            trainer.on_validation_epoch_end(outputs)
    assert not any(math.isnan(v) for v in curve)
    assert curve[-1] > curve[1] > 0


def test_a_single_scale_does_not_give_a_nan_loss(make_trainer):
    trainer = make_trainer(PLAIN, n_stages=2)
    assert trainer.enable_deep_supervision is False
    trainer.run_training()
    assert np.isfinite(trainer.logger.get_value("train_losses", step=None)).all()


@pytest.mark.parametrize("wrong", ["channels", "scales"])
def test_loss_refuses_outputs_that_do_not_fit(wrong):
    loss = CheckedLoss(torch.nn.MSELoss(), n_heads=2)
    output = torch.zeros(1, 1 if wrong == "channels" else 2, 4, 4)
    target = torch.zeros(1, 1, 4, 4) if wrong == "channels" else [torch.zeros(1, 1, 4, 4)] * 2
    with pytest.raises(ValueError, match="do not fit the targets"):
        loss(output, target)


# -------------------------------------------------------------------------------------------------- resuming


def test_resume_continues_where_it_stopped(make_trainer):
    first = make_trainer("nnUNetTrainerSLUNet_5L1Res_3epochs_2iters")
    first.num_epochs = 2  # stop early, as a kill after the second epoch would
    first.save_every = 1
    first.run_training()
    second = make_trainer("nnUNetTrainerSLUNet_5L1Res_3epochs_2iters")
    second.load_checkpoint(f"{first.output_folder}/checkpoint_final.pth")
    assert second.current_epoch == 2
    assert torch.equal(second.network.selection.mean_loss, first.network.selection.mean_loss)
    second.run_training()
    assert len(second.logger.get_value("train_losses", step=None)) == 3
    manifest = json.loads(Path(second.output_folder, "nnunet_ext_manifest.json").read_text())
    assert [r["first_epoch"] for r in [*manifest["continues"], manifest]] == [0, 2]


def test_what_a_kill_leaves_behind_is_removed(make_trainer):
    trainer = make_trainer(SL)
    leftover = Path(trainer.output_folder, "checkpoint_latest.pth.4711.tmp")
    leftover.write_bytes(b"half")
    trainer.run_training()
    assert not leftover.exists()
    assert Path(trainer.output_folder, "checkpoint_final.pth").is_file()


def test_a_resumed_paper_recipe_is_where_it_would_have_been(make_trainer):
    name = "nnUNetTrainerSLUNet_5L1Res_8epochs_2iters_paper"
    first = make_trainer(name)
    first.initialize()
    for epoch in range(3):
        first.lr_scheduler.step(epoch)
        for p in first.network.parameters():
            p.grad = torch.ones_like(p)
        first.optimizer.step()
    first.current_epoch = 2
    first.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    path = f"{first.output_folder}/checkpoint_latest.pth"
    first.save_checkpoint(path)
    second = make_trainer(name)
    second.load_checkpoint(path)
    for trainer in (first, second):
        trainer.lr_scheduler.step(3)
        for p in trainer.network.parameters():
            p.grad = torch.full_like(p, 9.0)
        trainer.optimizer.step()
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(first.optimizer.param_groups[0]["lr"], rel=1e-12)
    assert second.optimizer.param_groups[0]["weight_decay"] == 1e-4
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert b.grad.max() == 0.5
        assert torch.equal(a, b)


@pytest.mark.parametrize("epochs", [1, 4, 12, 40])
def test_the_papers_schedule_ends_low(epochs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = warm_restarts(optimizer, 1e-3, epochs)
    rates = []
    for epoch in range(epochs):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == min(rates)


def test_a_new_training_is_never_continued_from_an_earlier_one(make_trainer):
    first = make_trainer(SL)
    first.run_training()
    folder = Path(first.output_folder)
    kept = (folder / "checkpoint_final.pth").read_bytes()
    second = make_trainer(SL)
    second.on_train_start()  # and then it is killed
    assert not list(folder.glob("checkpoint_*.pth"))
    (aside,) = folder.glob("earlier_*")
    assert (aside / "checkpoint_final.pth").read_bytes() == kept
    assert (aside / "checkpoint_best.pth").is_file()


def test_pretrained_weights_do_not_decide_how_outputs_are_read(make_trainer):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    trainer = make_trainer(SL, "regions")
    trainer.initialize()
    labels = trainer.spec.build(None, 3, 2, False)  # as a training with labels leaves it: softmax
    path = f"{trainer.output_folder}/other.pth"
    torch.save({"network_weights": labels.state_dict()}, path)
    load_pretrained_weights(trainer.network, path)
    assert trainer.network.selection._sigmoid is False
    trainer.on_train_start()
    assert trainer.network.selection._sigmoid is True
    assert trainer.network.selection.uses_sigmoid


def test_half_written_checkpoint_never_replaces_a_good_one(make_trainer, monkeypatch):
    trainer = make_trainer(SL)
    trainer.initialize()
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.save_checkpoint(path)
    before = Path(path).read_bytes()

    def break_off(checkpoint, filename):
        with open(filename, "wb") as f:
            f.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(OSError, match="No space left"):
        trainer.save_checkpoint(path)
    assert Path(path).read_bytes() == before
    assert not list(Path(trainer.output_folder).glob("*.tmp"))


def test_foreign_checkpoints_are_refused_with_a_remedy(make_trainer):
    other = make_trainer("nnUNetTrainerSLUNet_5L2Res_2epochs_2iters")
    other.initialize()
    path = f"{other.output_folder}/checkpoint_final.pth"
    other.save_checkpoint(path)
    trainer = make_trainer(SL)
    with pytest.raises(CheckpointError, match=r"res_units: 2 there, 1 here.*-tr nnUNetTrainerSLUNet_5L2Res"):
        trainer.load_checkpoint(path)


def test_newer_format_and_broken_files_are_refused_with_a_remedy(make_trainer):
    trainer = make_trainer(SL)
    trainer.initialize()
    path = f"{trainer.output_folder}/checkpoint_final.pth"
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["init_args"]["nnunet_ext"] |= {"format": 99, "version": "9.9"}
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"9\.9.*pip install --upgrade nnunet-ext"):
        trainer.load_checkpoint(path)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="Move it away"):
        trainer.load_checkpoint(path)


# -------------------------------------------------------------------------------------------------- refusals


def test_refusals_come_before_anything_is_written(make_trainer, nnunet_folders):
    with pytest.raises(ValueError, match=r"nnUNetTrainerSLUNet_5L1Res.*3D.*2D only.*configuration 2d"):
        make_trainer("nnUNetTrainerSLUNet_5L1Res", patch_size=[16, 16, 16])
    assert not list((nnunet_folders / "nnUNet_results").iterdir())


def test_indivisible_patch_names_the_nearest(make_trainer, nnunet_folders):
    with pytest.raises(
        ValueError, match=r"\[30, 32\] is not a multiple of the plan's total stride \[4, 4\].*\[32, 32\]"
    ):
        make_trainer(PLAIN, patch_size=[30, 32])
    assert not list((nnunet_folders / "nnUNet_results").iterdir())


def test_bottleneck_of_one_voxel_names_a_patch_that_fits(make_trainer, nnunet_folders):
    with pytest.raises(ValueError, match=r"\[4, 4\] equals the plan's total stride.*\[8, 8\] or more"):
        make_trainer(PLAIN, patch_size=[4, 4])
    assert not list((nnunet_folders / "nnUNet_results").iterdir())


def test_results_folder_must_be_set(make_trainer, monkeypatch):
    make_trainer(SL)
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(RuntimeError, match="export nnUNet_results="):
        make_trainer(SL)


def test_too_few_cases_for_five_folds(make_trainer):
    trainer = make_trainer(SL, n_cases=3)
    with pytest.raises(RuntimeError, match=r"3 training cases.*fold 'all'"):
        trainer.run_training()


def test_unknown_network_class_is_refused(make_trainer):
    from support import make_plans

    from nnunet_ext.architectures.topology import Topology

    architecture = make_plans([32, 32])["configurations"]["2d"]["architecture"]
    architecture["network_class_name"] = "somewhere.Primus"
    with pytest.raises(ValueError, match=r"somewhere\.Primus.*nnUNetv2_plan_experiment"):
        Topology.from_plan(architecture, [32, 32])


@pytest.mark.parametrize("trainer", [nnUNetTrainerExt, SpatialLiftingTrainer])
def test_overridden_hooks_have_the_installed_nnunets_signatures(trainer):
    checked = 0
    for name, method in vars(trainer).items():
        host = getattr(nnUNetTrainer, name, None)
        if inspect.isfunction(method) and host is not None and not name.startswith("__"):
            assert list(inspect.signature(method).parameters) == list(inspect.signature(host).parameters), name
            checked += 1
    assert checked >= 3


def test_what_else_of_nnunet_the_base_trainer_builds_upon_is_there():
    wrapped = DeepSupervisionWrapper(torch.nn.MSELoss(), [0.75, 0.25])
    assert tuple(wrapped.weight_factors) == (0.75, 0.25)
    assert list(inspect.signature(PolyLRScheduler).parameters)[:3] == ["optimizer", "initial_lr", "max_steps"]
    assert "ema_fg_dice" in LocalLogger().my_fantastic_logging
    own = {"spec", "recipe", "paper_recipe", "describe_network", "describe_method", "unwrapped_network"}
    own |= {"continues"}
    ours = set(vars(nnUNetTrainerExt)) - own
    new = [n for n in ours if not n.startswith("_") and not hasattr(nnUNetTrainer, n)]
    assert not new, "a public hook that the installed nnU-Net does not have is never called"


def test_the_signature_of_the_constructor_and_of_the_builder():
    ours = inspect.signature(nnUNetTrainerExt.__init__)
    assert list(ours.parameters) == list(inspect.signature(nnUNetTrainer.__init__).parameters)
    build = inspect.signature(nnUNetTrainerExt.build_network_architecture)
    assert list(build.parameters) == list(inspect.signature(nnUNetTrainer.build_network_architecture).parameters)
