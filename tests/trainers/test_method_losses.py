"""LossNet and the structure loss in trainings: every kind of target, where LossNet's network is and where it is not."""

import re
import urllib.error

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torchvision.models import VGG16_Weights
from trainers.conftest import LABELS

from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.topology import UnsupportedPlanError
from nnunet_ext.losses.lossnet import LossNet
from nnunet_ext.losses.structure import StructureLoss
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.weights import FOLDER, WeightsError

NAME = "nnUNetTrainerM2SNet"
BUDGET = "_1epochs_1iters"


@pytest.fixture
def unreachable(monkeypatch):
    """A machine without VGG-16's weights and without a network."""
    monkeypatch.delenv(FOLDER, raising=False)

    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", fail)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        *[("_1epochs_1iters", kind) for kind in LABELS],
        *[("_StructureLoss_noLossNet_1epochs_1iters", kind) for kind in LABELS],
        ("_noLossNet_1epochs_1iters_paper", "regions_ignore"),
    ],
)
def test_trains_on_every_kind_of_target(make_trainer, vgg_weights, options, kind):
    trainer = make_trainer(f"{NAME}{options}", kind)
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert np.isfinite(log["train_losses"]).all()
    assert np.isfinite(log["val_losses"]).all()


@pytest.mark.parametrize("plan", [{"patch_size": [16, 16, 8]}, {"patch_size": [8, 16, 16], "anisotropic": True}])
@pytest.mark.parametrize("options", ["", "_StructureLoss_noLossNet"])
def test_trains_on_volumes(make_trainer, vgg_weights, options, plan):
    trainer = make_trainer(f"{NAME}{options}{BUDGET}", "labels_ignore", **plan)
    trainer.run_training()
    assert np.isfinite(trainer.logger.get_value("train_losses", step=None)).all()


def test_lossnet_is_a_tenth_of_itself_at_the_finest_scale(make_trainer, vgg_weights):
    trainer = make_trainer(NAME, "labels")
    trainer.initialize()
    plain, lossnet = trainer.loss.plain, trainer.loss.added.loss
    assert isinstance(plain.loss, DeepSupervisionWrapper)
    outputs = [torch.randn(2, 3, s, s, requires_grad=True) for s in (32, 16)]
    targets = [torch.randint(0, 3, (2, 1, s, s)).float() for s in (32, 16)]
    expected = plain(outputs, targets) + 0.1 * lossnet(outputs[0], targets[0])
    assert torch.allclose(trainer.loss(outputs, targets), expected)
    assert lossnet(outputs[0], targets[0]) > 0


def test_the_papers_recipe_compares_at_224(make_trainer, vgg_weights):
    sizes = []
    for options in ("", "_paper"):
        trainer = make_trainer(f"{NAME}{options}")
        trainer.initialize()
        (lossnet,) = [m for m in trainer.loss.modules() if isinstance(m, LossNet)]
        sizes.append(lossnet.size)
    assert sizes == ["shrink", (224, 224)]


def test_the_fixed_network_is_nowhere_but_in_the_loss(make_trainer, vgg_weights):
    trainer = make_trainer(f"{NAME}{BUDGET}")
    trainer.run_training()
    (lossnet,) = [m for m in trainer.loss.modules() if isinstance(m, LossNet)]
    assert not any(p.requires_grad for p in lossnet.parameters())
    assert all(p.grad is None for p in lossnet.parameters())
    state = torch.load(f"{trainer.output_folder}/checkpoint_final.pth", weights_only=False)
    assert set(state["network_weights"]) == set(trainer.network.state_dict())
    assert not any("features" in k for k in state["network_weights"])
    optimised = {id(p) for g in trainer.optimizer.param_groups for p in g["params"]}
    assert optimised == {id(p) for p in trainer.network.parameters()}


def test_without_weights_nothing_starts_and_both_ways_out_are_named(make_trainer, unreachable):
    trainer = make_trainer(f"{NAME}{BUDGET}")
    with pytest.raises(WeightsError) as error:
        trainer.run_training()
    for words in ("vgg16", "no route to host", f"export {FOLDER}=", f"-tr {NAME}_noLossNet{BUDGET}"):
        assert words in str(error.value)
    assert trainer.current_epoch == 0


def test_a_trainer_that_was_given_lossnet_is_sent_back_to_itself(make_trainer, unreachable):
    with pytest.raises(WeightsError, match=r"-tr nnUNetTrainer_3epochs$"):
        make_trainer("nnUNetTrainer_LossNet_3epochs").initialize()


def test_prediction_needs_no_weights(make_trainer, unreachable):
    trainer = make_trainer(NAME)
    network = type(trainer).build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 3, 3, enable_deep_supervision=False
    )
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_validating_and_ending_need_no_weights_but_going_on_does(make_trainer, vgg_weights, monkeypatch):
    finished = make_trainer(f"{NAME}{BUDGET}")
    finished.run_training()
    checkpoint = f"{finished.output_folder}/checkpoint_final.pth"
    monkeypatch.delenv(FOLDER)
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda *_, **__: pytest.fail("asked for weights"))
    again = make_trainer(f"{NAME}{BUDGET}")
    again.load_checkpoint(checkpoint)  # as --val and --c do
    again.run_training()
    again.num_epochs += 1
    with pytest.raises(pytest.fail.Exception, match="asked for weights"):
        again.run_training()


def test_structure_loss_knows_the_patch(make_trainer):
    trainer = make_trainer(f"{NAME}_StructureLoss_noLossNet", patch_size=[8, 16, 16], anisotropic=True)
    trainer.initialize()
    (loss,) = [m for m in trainer.loss.modules() if isinstance(m, StructureLoss)]
    assert list(loss.patch_size) == [8, 16, 16]


def test_a_lifted_network_has_lossnet_of_one_slice_which_does_not_judge_slices(make_trainer, vgg_weights):
    trainer = make_trainer("nnUNetTrainerExt_SL16_LossNet", "labels")
    trainer.initialize()
    seen = []
    trainer.loss.added.loss.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    slices, target = torch.randn(2, 3, 16, 32, 32), torch.randint(0, 3, (2, 1, 32, 32)).float()
    loss = trainer.loss(TrainingOutput(slices, {}), target)
    (one,) = seen
    assert any(torch.equal(one, slices[:, :, d]) for d in range(16))
    recorded = trainer.loss.method.statistics()
    assert loss > recorded[:-1].sum() / recorded[-1] / 16
    trainer.loss.added = None
    trainer.loss.method.reset()
    trainer.loss(TrainingOutput(slices, {}), target)
    assert torch.equal(trainer.loss.method.statistics(), recorded)


def test_a_users_own_class_trains_with_any_name_and_is_told_what_to_set(make_trainer, vgg_weights, monkeypatch):
    parent = resolve(NAME)
    own = type("MyNet_2epochs_small", (parent,), {"__module__": "mine"})
    trainer = construct_class(own, make_trainer(NAME))
    trainer.initialize()
    assert trainer.loss.added is not None
    monkeypatch.delenv(FOLDER)
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda *_, **__: 1 / 0)
    said = "in the class MyNet_2epochs_small of mine, set recipe = replace(recipe, added_loss=None)"
    with pytest.raises(WeightsError, match=re.escape(said)):
        construct_class(own, make_trainer(NAME)).initialize()


def construct_class(cls, like):
    """A trainer of a class that has no name of ours, on the data of another."""
    return cls(
        plans={**like.plans_manager.plans, "continue_training": False},
        configuration=like.configuration_name,
        fold=0,
        dataset_json=like.dataset_json,
        device=torch.device("cpu"),
    )


def test_a_plan_of_one_stage_is_refused_before_a_folder_is_made(make_trainer, nnunet_folders):
    with pytest.raises(UnsupportedPlanError, match=rf"{NAME} cannot be built.*1 stage.*-tr nnUNetTrainer\."):
        make_trainer(NAME, n_stages=1)
    assert not list((nnunet_folders / "nnUNet_results").iterdir())


def test_a_folder_that_lacks_the_file_is_said_to_have_been_searched(make_trainer, unreachable, monkeypatch, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "vgg-16.pth").touch()
    monkeypatch.setenv(FOLDER, str(tmp_path / "weights"))
    with pytest.raises(WeightsError, match=r"has no file vgg16\.pth, .*it holds: vgg-16\.pth\. "):
        make_trainer(NAME).initialize()
