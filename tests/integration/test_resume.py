"""Trainings that are killed go on where they were; checkpoints that cannot be used say so."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

EPOCHS = 4
TRAINER = f"nnUNetTrainerSLUNet_5L1Res_{EPOCHS}epochs_2iters"
OTHER = "nnUNetTrainerSLUNet_5L2Res_1epochs_1iters"


def epochs_begun(lines):
    """Numbers of the epochs whose begin a training's output shows."""
    return [int(m[1]) for m in (re.search(r": Epoch (\d+)\s*$", line) for line in lines) if m]


def begins_epoch_2(lines):
    return 2 in epochs_begun(lines[-1:])


def ends_epoch_1(lines):
    """The last line before epoch 1's checkpoints are written."""
    return "Epoch time:" in lines[-1] and epochs_begun(lines)[-1] == 1


def read(checkpoint):
    return torch.load(checkpoint, map_location="cpu", weights_only=False)


def logged(checkpoint, curve="train_losses"):
    return read(checkpoint)["logging"][curve]


def kill_in_training(host, trainer, reached):
    """Kill a training of fold 0; return its folder."""
    host.kill_when(reached, *host.train_command(trainer, 0))
    return host.model(trainer) / "fold_0"


@pytest.fixture(scope="module")
def killed(host, tmp_path_factory):
    """A training killed in epoch 2: never written to, each test takes a copy."""
    own = host.with_results(tmp_path_factory.mktemp("killed") / "nnUNet_results")
    fold = kill_in_training(own, TRAINER, begins_epoch_2)
    assert (fold / "checkpoint_latest.pth").is_file()
    assert not (fold / "checkpoint_final.pth").exists()
    return own


@pytest.fixture
def copy_of_killed(killed, tmp_path):
    """A host with its own copy of the killed training, and the training's folder."""
    shutil.copytree(killed.results, tmp_path / "copy")
    own = replace(killed, results=tmp_path / "copy")
    return own, own.model(TRAINER) / "fold_0"


def assert_finished(fold, resumed_at):
    final = read(fold / "checkpoint_final.pth")
    assert final["current_epoch"] == EPOCHS
    assert len(final["logging"]["train_losses"]) == EPOCHS
    assert not (fold / "checkpoint_latest.pth").exists()
    assert (fold / "validation" / "summary.json").is_file()
    manifest = json.loads((fold / "nnunet_ext_manifest.json").read_text())
    assert manifest["first_epoch"] == resumed_at
    assert manifest["finished"]


@pytest.mark.slow
def test_a_training_killed_while_it_ends_an_epoch_goes_on(fresh_host):
    fold = kill_in_training(fresh_host, TRAINER, ends_epoch_1)
    checkpoints = sorted(fold.glob("*.pth"))
    assert checkpoints
    for checkpoint in checkpoints:
        assert read(checkpoint)["trainer_name"] == TRAINER
    reached = read(fold / "checkpoint_latest.pth")["current_epoch"]
    losses = logged(fold / "checkpoint_latest.pth")
    assert reached in (1, 2)  # the kill came before or after epoch 1's checkpoint was whole
    done = fresh_host.train(TRAINER, 0, "--c", fresh=True)
    assert epochs_begun(done.stdout.splitlines()) == list(range(reached, EPOCHS))
    assert_finished(fold, reached)
    assert logged(fold / "checkpoint_final.pth")[:reached] == losses[:reached]


def test_a_half_written_checkpoint_does_no_harm(copy_of_killed):
    host, fold = copy_of_killed
    whole = (fold / "checkpoint_latest.pth").read_bytes()
    for file in ("checkpoint_latest", "checkpoint_best"):
        (fold / f"{file}.pth.1234567.tmp").write_bytes(whole[: len(whole) // 2])
    done = host.train(TRAINER, 0, "--c")
    assert epochs_begun(done.stdout.splitlines()) == [2, 3]
    assert_finished(fold, 2)
    assert not list(fold.glob("*.tmp"))


def test_a_truncated_checkpoint_is_refused_and_the_remedy_works(copy_of_killed):
    host, fold = copy_of_killed
    latest = fold / "checkpoint_latest.pth"
    best_epoch = read(fold / "checkpoint_best.pth")["current_epoch"]
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])
    output = host.refuse(*host.train_command(TRAINER, 0, "--c"))
    said = output[output.rindex("CheckpointError") :]
    assert f"{latest} cannot be read as a checkpoint" in said
    assert "Move it away and run the training's command with --c" in said
    assert not (fold / "checkpoint_final.pth").exists()
    latest.rename(fold.parent / "away.pth")
    done = host.train(TRAINER, 0, "--c")
    assert epochs_begun(done.stdout.splitlines())[0] == best_epoch
    assert_finished(fold, best_epoch)


def test_another_network_s_checkpoint_is_refused_naming_both(copy_of_killed, tmp_path):
    host, fold = copy_of_killed
    elsewhere = host.with_results(tmp_path / "other")
    elsewhere.train(OTHER, 0)
    shutil.copy(elsewhere.model(OTHER) / "fold_0" / "checkpoint_final.pth", fold / "checkpoint_latest.pth")
    output = host.refuse(*host.train_command(TRAINER, 0, "--c"))
    last = output.splitlines()[-1]
    assert "CheckpointError" in last
    assert f"holds another network than {TRAINER} builds (res_units: 2 there, 1 here)" in last
    assert f"-tr {OTHER}" in last
    assert str(fold / "checkpoint_latest.pth") in last
    assert not (fold / "checkpoint_final.pth").exists()
