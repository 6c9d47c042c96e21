"""The command line, in this process."""

import json
import sys
from pathlib import Path

import pytest

from nnunet_ext import cli, environment
from nnunet_ext.environment import Check, check_discovery, check_folder, check_lookup, check_nnunet, plugin_folder


def run(capsys, *argv):
    """Exit code, standard output, standard error."""
    code = cli.main([str(a) for a in argv])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_path_is_the_folder_of_the_shim(capsys):
    code, out, _ = run(capsys, "path")
    assert code == 0
    assert (Path(out.strip()) / "nnunet_ext_trainers.py").is_file()


def test_info_lists_all_and_is_machine_readable(capsys):
    from nnunet_ext.trainers import naming

    code, out, _ = run(capsys, "info")
    assert code == 0
    assert all(name in out for name in [*naming.PRESETS, *(p.name for p in naming.PARTS), "_<N>epochs", "_paper"])
    code, out, _ = run(capsys, "info", "--json")
    assert json.loads(out)["trainers"] == naming.PRESETS


def test_info_counts_parameters_and_macs_at_a_plans_patch(capsys, nnunet_folders):
    from support import make_dataset_json, make_plans

    code, out, _ = run(capsys, "info", "nnUNetTrainerSLUNet_5L1Res", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["parameters"], found["patch_size"]) == (30_052, [512, 512])
    folder = nnunet_folders / "nnUNet_preprocessed" / "Dataset900_Tiny"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(make_plans([32, 64])))
    (folder / "dataset.json").write_text(json.dumps(make_dataset_json()))
    code, out, _ = run(capsys, "info", "nnUNetTrainerSLUNet_5L1Res", "-d", "Dataset900_Tiny", "--json")
    smaller = json.loads(out)
    assert smaller["patch_size"] == [32, 64]
    assert smaller["macs"] * 128 == found["macs"]
    code, out, _ = run(capsys, "info", "nnUNetTrainer", "-d", "Dataset900_Tiny")
    assert code == 0
    assert "the plan's own" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nnUNetTrainerSLUNnet"], "Did you mean nnUNetTrainerSLUNet?"),
        (["info", "nnUNetTrainerSLUNet", "-c", "3d_fullres"], "-c 3d_fullres is not in nnU-Net's plan"),
        (["info", "nnUNetTrainerSLUNet", "-d", "123"], "-d 123"),
        (["info", "nnUNetTrainerSLUNet", "-d", "Dataset123_None"], "nnUNetv2_plan_and_preprocess -d Dataset123_None"),
    ],
)
def test_errors_have_no_traceback_and_say_what_to_type(capsys, nnunet_folders, arguments, message):
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert err.startswith("nnunet_ext: ")
    assert message in err
    assert "Traceback" not in err


@pytest.fixture
def predict_of_nnunet(monkeypatch):
    """Stands for nnU-Net's entry point; returns what it was called with."""
    from nnunetv2.inference import predict_from_raw_data as host

    called = []
    predictor = host.nnUNetPredictor
    monkeypatch.setattr(host, "predict_entry_point", lambda: called.append((sys.argv, host.nnUNetPredictor)))
    yield called
    assert host.nnUNetPredictor is predictor


def test_predict_passes_nnunets_flags_on(capsys, monkeypatch, predict_of_nnunet):
    monkeypatch.setenv(environment.DISCOVERY, "")
    argv = list(sys.argv)
    flags = ["-i", "in", "-o", "out", "-f", "0", "1", "-step_size", "0.7", "--disable_tta", "-p", "P", "--pic"]
    code, _, err = run(capsys, "predict", *flags[:6], "--min-quality", "0.25", *flags[6:])
    assert (code, err) == (0, "")
    ((passed, predictor),) = predict_of_nnunet
    assert passed == ["nnunet_ext predict", *flags]
    assert (predictor.listeners[0].min_quality, predictor.listeners[0].pictures) == (0.25, False)
    assert sys.argv == argv
    assert environment.os.environ[environment.DISCOVERY] == str(plugin_folder())
    run(capsys, "predict", "-i", "in", "--pictures")
    assert predict_of_nnunet[1][1].listeners[0].pictures


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "high"])
def test_predict_refuses_a_wrong_quality_before_work(capsys, predict_of_nnunet, value):
    with pytest.raises(SystemExit) as stop:
        run(capsys, "predict", "-i", "in", f"--min-quality={value}")
    assert stop.value.code == 2
    assert (
        f"argument --min-quality: '{value}' is not a number from 0 to 1; type for example 0.8"
        in capsys.readouterr().err
    )
    assert predict_of_nnunet == []


@pytest.mark.parametrize("value", ["0", "-1", "9", "inf", "nan", "large"])
def test_predict_refuses_a_wrong_scale_before_work(capsys, predict_of_nnunet, value):
    with pytest.raises(SystemExit) as stop:
        run(capsys, "predict", "-i", "in", "--scales", "1", value)
    assert stop.value.code == 2
    message = f"argument --scales: '{value}' is not a number above 0, up to 8; type for example --scales 0.5 0.75 1"
    assert message in capsys.readouterr().err
    assert predict_of_nnunet == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scales", "1", "0.5", "1.0"], "name each scale once; type --scales 1 0.5"),
        (["--scales-sum", "exp"], "there is no --scales. Type for example --scales 0.75 1 1.25 --scales-sum exp"),
    ],
)
def test_predict_refuses_scales_that_mean_nothing(capsys, predict_of_nnunet, flags, message):
    code, _, err = run(capsys, "predict", *flags, "-i", "in")
    assert (code, predict_of_nnunet) == (1, [])
    assert message in err


def test_predict_hands_scales_and_offsets_to_the_predictor(capsys, predict_of_nnunet):
    from nnunet_ext.inference.offset_report import OffsetReport
    from nnunet_ext.inference.scales import Scales

    assert run(capsys, "predict", "-i", "in", "--scales", "0.5", "1", "--scales-sum", "exp", "-o", "out")[0] == 0
    assert run(capsys, "predict", "--save-offsets", "-i", "in", "--scales", "1")[0] == 0
    assert run(capsys, "predict", "-i", "in")[0] == 0
    (passed, first), (_, second), (_, third) = predict_of_nnunet
    assert passed == ["nnunet_ext predict", "-i", "in", "-o", "out"]
    assert first.scales == Scales((0.5, 1.0), "exp")
    assert [p.scales for p in (second, third)] == [None, None]
    assert [isinstance(p.listeners[0], OffsetReport) for p in (first, second, third)] == [False, True, False]


def test_predict_names_itself_when_nnunets_flags_are_wrong(capsys):
    with pytest.raises(SystemExit) as stop:
        run(capsys, "predict", "-i", "in")
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "usage: nnunet_ext predict" in err
    assert "the following arguments are required: -o, -d, -c" in err


def test_predict_help_says_where_the_rest_is(capsys):
    with pytest.raises(SystemExit):
        run(capsys, "predict", "--help")
    out = capsys.readouterr().out
    assert "--min-quality" in out
    assert "nnUNetv2_predict -h" in out


def test_other_commands_still_refuse_flags_that_they_do_not_know(capsys):
    with pytest.raises(SystemExit):
        run(capsys, "doctor", "--pictures")
    assert "unrecognized arguments: --pictures" in capsys.readouterr().err


def test_convert_needs_a_raw_folder(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    code, _, err = run(capsys, "convert", "-i", tmp_path, "-m", tmp_path, "-d", 501, "-n", "X")
    assert (code, "export nnUNet_raw=" in err) == (1, True)


def test_convert_writes_a_dataset_and_says_what_is_next(capsys, nnunet_folders, tmp_path):
    from nnunet_ext.dataset_conversion.synthetic import write_synthetic_dataset

    write_synthetic_dataset(tmp_path / "made", n_train=5, n_test=1)
    code, out, _ = run(
        capsys, "convert", "-i", tmp_path / "made/train/images", "-m", tmp_path / "made/train/masks",
        "--mask-suffix", "_mask", "-d", 501, "-n", "Made",
    )  # fmt: skip
    assert code == 0
    assert (nnunet_folders / "nnUNet_raw" / "Dataset501_Made" / "dataset.json").is_file()
    assert "next: nnUNetv2_plan_and_preprocess -d 501" in out


def class_pairs(folder):
    """Five pairs whose masks hold 0, 4 and 9."""
    import numpy as np
    from PIL import Image

    mask = np.repeat(np.array([0, 4, 9, 4], np.uint8), 5)[:, None].repeat(16, axis=1)
    for index in range(5):
        for kind, content in (("images", mask * 20 + index), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(content).save(folder / kind / f"c{index}.png")
    return ["-i", folder / "images", "-m", folder / "masks", "-d", 502, "-n", "Streets"]


def test_convert_takes_named_classes_and_prints_their_shares(capsys, nnunet_folders, tmp_path):
    flags = class_pairs(tmp_path)
    code, out, _ = run(capsys, "convert", *flags, "--labels", "field=0", "road=4", "--ignore", 9)
    assert code == 0
    written = nnunet_folders / "nnUNet_raw" / "Dataset502_Streets" / "dataset.json"
    assert json.loads(written.read_text())["labels"] == {"background": 0, "field": 1, "road": 2, "ignore": 3}
    table = [line.split() for line in out.splitlines() if line.endswith(" %")]
    assert table == [
        ["0", "background", "-", "0.000", "%"],
        ["1", "field", "0", "25.000", "%"],
        ["2", "road", "4", "50.000", "%"],
        ["3", "ignore", "9", "25.000", "%"],
    ]
    assert "note: no class is called background" in out
    assert "5 training and 0 test images (0 with masks), L, 2 classes\n" in out


def test_convert_says_which_classes_to_type(capsys, nnunet_folders, tmp_path):
    flags = class_pairs(tmp_path)
    code, _, err = run(capsys, "convert", *flags)
    assert code == 1
    assert "name them all: --labels background=0 class4=4 class9=9" in err
    typed = err.strip().rpartition("--labels ")[2].split()
    code, out, _ = run(capsys, "convert", *flags, "--labels", *typed)
    assert code == 0
    assert "note:" not in out


def test_convert_refuses_an_id_that_another_of_nnunets_folders_knows(capsys, nnunet_folders, tmp_path):
    (nnunet_folders / "nnUNet_results" / "Dataset501_Other").mkdir()
    code, _, err = run(capsys, "convert", "-i", tmp_path, "-m", tmp_path, "-d", 501, "-n", "Made")
    assert code == 1
    assert "Dataset501_Other" in err


def test_interrupts_and_wrong_calls_have_their_exit_codes(capsys, monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "path", interrupt)
    assert run(capsys, "path")[0] == 130
    with pytest.raises(SystemExit) as stop:
        cli.main(["no-such-command"])
    assert stop.value.code == 2


def test_every_expected_error_exists():
    import importlib

    for module, name in cli.USER_ERRORS.items():
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_programming_errors_are_not_hidden(monkeypatch):
    def broken(args):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "path", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["path"])


# ---------------------------------------------------------------------------------------------- doctor


def test_doctor_exit_code_counts_errors_only(capsys, monkeypatch):
    checks = [Check("a", "ok", "fine"), Check("b", "warning", "hm", "look at it")]
    monkeypatch.setattr(environment, "examine", lambda: iter(checks))
    code, out, _ = run(capsys, "doctor")
    assert (code, "-> look at it" in out) == (0, True)
    checks.append(Check("c", "error", "broken", "mend it"))
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 1
    assert json.loads(out)[2] == {"name": "c", "status": "error", "found": "broken", "remedy": "mend it"}


def test_a_right_environment_has_no_errors(nnunet_folders, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(plugin_folder()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    found = list(environment.examine())
    assert not [c for c in found if c.status == "error"]
    assert {c.name for c in found} >= {"python", "torch", "device", "nnunetv2", "nnUNet_raw", "look-up"}
    assert all(c.remedy for c in found if c.status != "ok")


def test_folders_are_examined(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert check_folder("nnUNet_raw").remedy.startswith("export nnUNet_raw=")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "missing"))
    assert check_folder("nnUNet_raw").remedy.startswith("mkdir -p")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert check_folder("nnUNet_raw").status == "ok"
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: type("U", (), {"free": 10**9})())
    assert check_folder("nnUNet_raw").status == "warning"

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(environment.tempfile, "TemporaryFile", refuse)
    assert "Permission denied" in check_folder("nnUNet_raw").found


def test_discovery_is_examined(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert check_discovery().remedy == 'export nnUNet_extTrainer="$(nnunet_ext path)"'
    monkeypatch.setenv("nnUNet_extTrainer", str(plugin_folder().parent / "trainers"))
    assert check_discovery().status == "error"
    monkeypatch.setenv("nnUNet_extTrainer", f"{plugin_folder()}:{tmp_path / 'typo'}")
    assert check_discovery().status == "warning"
    assert check_discovery().remedy == 'export nnUNet_extTrainer="$(nnunet_ext path)"'
    monkeypatch.setenv("nnUNet_extTrainer", f"{tmp_path}:{plugin_folder()}")
    assert check_discovery().status == "ok"
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))  # another package's folder stays in the remedy
    assert check_discovery().remedy == f'export nnUNet_extTrainer="$(nnunet_ext path):{tmp_path}"'


def test_lookup_asks_nnunet_itself(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(plugin_folder()))
    assert check_lookup().status == "ok"
    monkeypatch.delenv("nnUNet_extTrainer")
    assert check_lookup().status == "error"


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("2.8.1", "ok"),
        ("2.7.0", "error"),
        ("2.8rc1", "ok"),
        ("2.8.1.post1+local", "ok"),
        ("2.9", "error"),
        ("3.0", "error"),
    ],
)
def test_nnunets_version_is_examined(monkeypatch, version, status):
    monkeypatch.setattr(environment.metadata, "version", lambda _: version)
    assert check_nnunet().status == status


def test_a_worker_count_that_breaks_planning_is_named(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    assert environment.check_workers().status == "warning"
    assert "nnUNetv2_plan" in environment.check_workers().found
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    assert environment.check_workers().status == "ok"
    monkeypatch.setenv("nnUNet_n_proc_DA", "many")
    assert environment.check_workers().status == "error"


def test_old_python_is_named(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 0, "final", 0))
    assert environment.check_python().status == "error"


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        (None, "ok", "not set"),
        ((), "warning", "no file of vgg16, res2net50d, hrnet_w48, resnet101.tv_in1k"),
        (("vgg16-397923af.pth", "vgg16_bn.pth"), "warning", "vgg16-397923af.pth; no file of res2net50d, hrnet"),
        (
            ("vgg16.pth", "res2net50d.safetensors", "hrnet_w48.ms_in1k.pth", "resnet101.tv_in1k.pth"),
            "ok",
            "vgg16.pth, res2net50d.safetensors, hrnet_w48.ms_in1k.pth, resnet101.tv_in1k.pth",
        ),
        (("vgg16.pth", "vgg16-397923af.pth"), "error", "several files of vgg16"),
    ],
)
def test_doctor_tells_which_pretrained_weights_are_there(monkeypatch, tmp_path, files, status, said):
    from nnunet_ext.environment import check_weights

    monkeypatch.delenv("nnUNet_ext_weights", raising=False)
    if files is not None:
        monkeypatch.setenv("nnUNet_ext_weights", str(tmp_path))
    for name in files or ():
        (tmp_path / name).touch()
    check = check_weights()
    assert check.status == status
    assert said in f"{check.found} {check.remedy}"
