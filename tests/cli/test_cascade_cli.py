"""`nnunet_ext cascade`: what is typed, and what comes of it."""

from pathlib import Path

import pytest

from nnunet_ext import environment
from nnunet_ext.cascade import curve_run
from nnunet_ext.cli import main
from nnunet_ext.run import cascade


@pytest.fixture
def called(monkeypatch):
    """Stands for both commands' work; returns what they were called with."""
    calls = []
    monkeypatch.setenv(environment.DISCOVERY, "")
    monkeypatch.setattr(curve_run, "validate", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(cascade, "train_both", lambda *arguments: calls.append(arguments))
    return calls


def test_validate_takes_nnunets_flags(called):
    flags = "-f 1 3 --budgets 0.5 1 --coarse C --disable_tta -step_size 0.7 -chk checkpoint_best.pth -device cpu"
    assert main(["cascade", "validate", "-d", "501", *flags.split(), "-o", "out", "--overwrite"]) == 0
    ((request, out, overwrite, _),) = called
    assert (request.dataset, request.configuration, request.trainer, request.plans) == (
        "501", "2d_selective", "nnUNetTrainerTwoStage", "nnUNetTwoStagePlans",
    )  # fmt: skip
    assert (request.folds, request.budgets, request.coarse, request.fine) == (("1", "3"), (0.5, 1), Path("C"), None)
    assert (request.mirroring, request.step_size, request.checkpoint) == (False, 0.7, "checkpoint_best.pth")
    assert (request.device, request.criterion, out, overwrite) == ("cpu", None, Path("out"), True)
    assert environment.os.environ[environment.DISCOVERY] == str(environment.plugin_folder())


def test_validate_refuses_wrong_budgets(called, capsys):
    with pytest.raises(SystemExit):
        main(["cascade", "validate", "-d", "501", "-o", "out", "--budgets", "2"])
    assert "'2' is not a number from 0 to 1" in capsys.readouterr().err
    assert main(["cascade", "validate", "-d", "501", "-o", "out", "--budgets", "1", "1"]) == 1
    assert "--budgets has 1 more than once" in capsys.readouterr().err
    assert main(["cascade", "validate", "-o", "out"]) == 1
    assert "Type -d DATASET" in capsys.readouterr().err
    assert called == []


def test_train_takes_the_plans_word_for_what_is_left_away(called):
    assert main(["cascade", "train", "-d", "501", "--npz", "--dry-run"]) == 0
    ((request, dry_run, _),) = called
    assert (request.dataset, request.configuration, request.plans, request.trainer) == (
        "501", "2d_selective", "nnUNetTwoStagePlans", "nnUNetTrainerTwoStage",
    )  # fmt: skip
    assert (request.coarse_trainer, request.folds, request.npz, request.device, dry_run) == (
        None,
        None,
        True,
        None,
        True,
    )


def test_errors_have_no_traceback(nnunet_folders, capsys):
    assert main(["cascade", "train", "-d", "Dataset501_None"]) == 1
    assert capsys.readouterr().err.startswith("nnunet_ext: -d Dataset501_None: no such dataset")
