"""When an encoder's weights are loaded, when they are not, and what the run's records say."""

import json
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from nnunetv2.run.run_training import maybe_load_checkpoint
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.trainers import naming, pretrained
from nnunet_ext.trainers.pretrained import PretrainedEncoderTrainer
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.weights import FOLDER, WeightsError

TINY = "test_resnet"
NAME, SCRATCH = "nnUNetTrainerTinyMSNet_2epochs_2iters", "nnUNetTrainerTinyMSNet_scratch_2epochs_2iters"
SHORT = Recipe(num_epochs=2, num_iterations_per_epoch=2, num_val_iterations_per_epoch=1)


@pytest.fixture
def make(make_trainer, monkeypatch):
    """Returns `make(name)`, which constructs a small pretrained trainer on patches of 64 pixels."""
    for name, wanted in ((NAME, True), (SCRATCH, False)):
        content = {"spec": MSNetSpec(backbone=TINY), "recipe": SHORT, "pretrained": wanted}
        trainer = type(name, (PretrainedEncoderTrainer,), {"__module__": naming.__name__, **content})
        monkeypatch.setitem(naming._resolved, name, trainer)
    return lambda name=NAME: make_trainer(name, patch_size=[64, 64])


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The state dict of a classifier that stands in the user's folder."""
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(7)
    model = timm.create_model(TINY)
    model.train()(torch.randn(2, 3, 64, 64))
    torch.save(model.state_dict(), folder / f"{TINY}.pth")
    monkeypatch.setenv(FOLDER, str(folder))
    return model.state_dict()


@pytest.fixture
def no_weights(monkeypatch):
    """Loading weights fails."""

    def fail(*_):
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(pretrained, "load_pretrained", fail)


def has(trainer, weights):
    state = trainer.unwrapped_network.encoder.model.state_dict()
    return all(torch.equal(v, weights[k]) for k, v in state.items())


def manifest(trainer):
    return json.loads(Path(trainer.output_folder, "nnunet_ext_manifest.json").read_text())


def test_a_new_training_begins_at_the_weights_and_says_so(make, weights):
    trainer = make()
    trainer.initialize()
    assert has(trainer, weights)
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in trainer.network.parameters()}
    trainer.run_training()
    assert not has(trainer, weights)
    line = f"{TINY} from {Path(trainer.output_folder_base).parents[2] / 'weights' / TINY}.pth"
    assert manifest(trainer)["method"] == {"pretrained": line}
    assert f"pretrained encoder: {line}" in Path(trainer.log_file).read_text()


def test_a_continued_training_has_its_own_weights(make, weights, monkeypatch):
    first = make()
    first.num_epochs, first.save_every = 1, 1
    first.run_training()
    trained = {k: v.clone() for k, v in first.network.state_dict().items()}
    monkeypatch.delenv(FOLDER)
    monkeypatch.setattr(pretrained, "load_pretrained", lambda *_: pytest.fail("weights are loaded"))
    second = make()
    maybe_load_checkpoint(second, continue_training=True, validation_only=False)
    assert all(torch.equal(v, trained[k]) for k, v in second.network.state_dict().items())
    second.run_training()
    content = manifest(second)
    assert content["method"] == {"pretrained": "the checkpoint that is continued"}
    assert content["continues"][0]["method"]["pretrained"].startswith(f"{TINY} from ")


def test_continuing_without_a_checkpoint_is_a_new_training(make, weights):
    trainer = make()
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    trainer.on_train_start()
    assert has(trainer, weights)


def test_a_checkpoint_loaded_after_training_does_not_change_the_record(make, weights):
    trainer = make()
    trainer.initialize()
    path = f"{trainer.output_folder}/checkpoint_best.pth"
    trainer.save_checkpoint(path)
    trainer.load_checkpoint(path)  # as --val_best does
    assert trainer.describe_method()["pretrained"].startswith(f"{TINY} from ")


def test_validation_and_prediction_load_nothing(make, weights, monkeypatch):
    first = make()
    first.initialize()
    first.save_checkpoint(f"{first.output_folder}/checkpoint_final.pth")
    monkeypatch.setattr(pretrained, "load_pretrained", lambda *_: pytest.fail("weights are loaded"))
    second = make()
    maybe_load_checkpoint(second, continue_training=False, validation_only=True)
    assert has(second, weights)
    network = type(first).build_network_architecture(first.plans_manager, first.configuration_manager, 3, 2, False)
    assert not torch.equal(network.encoder.model.conv1[0].weight, weights["conv1.0.weight"])


def test_from_scratch_nothing_is_loaded_and_the_record_says_so(make, no_weights):
    trainer = make(SCRATCH)
    trainer.on_train_start()
    assert manifest(trainer)["method"]["pretrained"].startswith("no ImageNet weights")


def test_weights_that_cannot_be_had_stop_the_training_and_name_the_trainer_without(make, monkeypatch):
    from timm.models import _builder

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", fail)
    trainer = make()
    for _ in range(2):  # neither does trying once more train at random weights
        with pytest.raises(WeightsError, match=rf"no route to host.*-tr {SCRATCH}$"):
            trainer.run_training()
    assert not list(Path(trainer.output_folder).glob("checkpoint_*"))


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_downloads_before_the_others(make, monkeypatch, rank):
    trainer, events = make(), []
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 3, 2, False
    )
    monkeypatch.setattr(pretrained, "load_pretrained", lambda *_: events.append("load") or "somewhere")
    monkeypatch.setattr(dist, "barrier", lambda: events.append("barrier"))
    wrapped = DistributedDataParallel.__new__(DistributedDataParallel)  # without a group of processes
    torch.nn.Module.__init__(wrapped)
    wrapped.module = trainer.network
    trainer.network, trainer.is_ddp, trainer.local_rank = wrapped, True, rank
    assert trainer._load_encoder() == "somewhere"
    assert events == (["load", "barrier"] if rank == 0 else ["barrier", "load"])


def test_a_network_that_normalises_over_the_batch_refuses_single_images(make_trainer):
    with pytest.raises(ValueError, match=r'needs 2 or more; configuration .2d. has "batch_size": 1\. Set another'):
        make_trainer("nnUNetTrainerDeepLabV3Plus", patch_size=[64, 64], batch_size=1)
    assert make_trainer("nnUNetTrainerDeepLabV3Plus", patch_size=[64, 64], batch_size=2)
