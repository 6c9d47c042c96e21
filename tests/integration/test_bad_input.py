"""What a user sees after a mistake: the message, the exit code, and that nothing was made."""

import json
import os
import re

import pytest
from PIL import Image

SHORT = "_1epochs_2iters"
LIFTED, COMPOSED = "nnUNetTrainerSLUNet_5L1Res", "nnUNetTrainerExt_Plain_UNet"
CRAFTED = ("-p", "nnUNetCraftedPlans")


def slow(*values):
    """Another mistake of the same kind; what each is answered with is tested without nnU-Net, too."""
    return pytest.param(*values, marks=pytest.mark.slow)


def refusal(host, trainer, *flags, configuration="2d", **changes):
    """The output of a training that must fail before it makes a folder."""
    output = host.refuse(*host.train_command(trainer, 0, *flags, configuration=configuration), **changes)
    assert list(host.results.iterdir()) == []
    return output


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (f"nnUNetTrainerSLUNnet_5L1Res{SHORT}", f"Did you mean {LIFTED}{SHORT}?"),
        slow(f"{LIFTED}_0epochs", "the suffix _<N>epochs is allowed once, with N of at least 1; got _0epochs"),
        slow(f"{LIFTED}_2iters_1epochs", f"Type: -tr {LIFTED}_1epochs_2iters"),
        slow(f"nnUNetTrainerExt_Plaim_UNet{SHORT}", "there is no part 'Plaim'. Did you mean Plain?"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(fresh_host, trainer, message):
    output = refusal(fresh_host, trainer)
    assert message in output.splitlines()[-1]
    assert "TrainerNameError" in output.splitlines()[-1]


def test_without_a_results_folder_the_export_line_is_named(fresh_host):
    output = refusal(fresh_host, LIFTED + SHORT, nnUNet_results=None)
    assert "export nnUNet_results=" in output.splitlines()[-1]


def test_a_3d_configuration_is_refused_by_a_2d_network(fresh_host):
    output = refusal(fresh_host, LIFTED + SHORT, *CRAFTED, configuration="3d_fake")
    last = output.splitlines()[-1]
    assert "UnsupportedPlanError" in last
    assert LIFTED + SHORT in last
    assert "'3d_fake'" in last
    assert "2D only. Use the configuration 2d" in last


def test_a_patch_that_does_not_divide_is_refused_with_the_nearest_that_does(fresh_host):
    output = refusal(fresh_host, COMPOSED + SHORT, *CRAFTED, configuration="2d_odd")
    last = output.splitlines()[-1]
    assert "UnsupportedPlanError" in last
    assert "[60, 60]" in last
    assert "[64, 64]" in last


def test_the_same_patch_trains_where_the_network_pads(fresh_host):
    fresh_host.train(LIFTED + SHORT, 0, *CRAFTED, configuration="2d_odd")
    fold = fresh_host.model(LIFTED + SHORT, "2d_odd", CRAFTED[1]) / "fold_0"
    assert json.loads((fold / "nnunet_ext_manifest.json").read_text())["patch_size"] == [60, 60]
    labels = sorted((fold / "validation").glob("*.png"))
    assert len(labels) == 4
    assert {Image.open(label).size for label in labels} == {(64, 64)}


# --- discovery


def test_without_the_discovery_variable_nnunet_names_it(fresh_host):
    output = refusal(fresh_host, LIFTED + SHORT, nnUNet_extTrainer=None)
    assert "nnUNet_extTrainer" in output.splitlines()[-1]


FIND = """
import sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
for name in sys.argv[1:]:
    found = find(name)
    print("FOUND", found.__module__, found.__name__)
"""
FOREIGN = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

class nnUNetTrainerForeign(nnUNetTrainer):
    pass

class nnUNetTrainerExternal(nnUNetTrainer):
    pass
"""


@pytest.mark.parametrize("ours_first", [True, False])
def test_another_package_s_trainers_are_found_beside_ours(bare_host, tmp_path, ours_first):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "foreign_trainers.py").write_text(FOREIGN)
    (tmp_path / "find.py").write_text(FIND)
    folders = [bare_host.plugin, str(tmp_path / "foreign")]
    both = os.pathsep.join(folders if ours_first else folders[::-1])
    names = ("nnUNetTrainerForeign", "nnUNetTrainerExternal", LIFTED, COMPOSED + SHORT)
    done = bare_host.forked(tmp_path / "find.py", *names, nnUNet_extTrainer=both)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"FOUND (\S+) (\S+)", done.stdout) == [
        ("foreign_trainers", "nnUNetTrainerForeign"),
        ("foreign_trainers", "nnUNetTrainerExternal"),
        ("nnunet_ext.trainers.presets", LIFTED),
        ("nnunet_ext.trainers.naming", COMPOSED + SHORT),
    ]


# --- doctor and info


def test_doctor_is_content_with_a_right_environment(bare_host):
    done = bare_host.run("nnunet_ext", "doctor")
    assert done.stdout.splitlines()[-1] == "all works"
    assert "ERROR" not in done.stdout


def test_doctor_names_the_line_that_mends_the_discovery(bare_host, tmp_path):
    done = bare_host.attempt("nnunet_ext", "doctor", nnUNet_extTrainer=str(tmp_path / "moved"))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("ERROR   nnUNet_extTrainer"))
    assert lines[at + 1].strip() == '-> export nnUNet_extTrainer="$(nnunet_ext path)"'
    assert lines[-1] == "2 to mend"  # the variable, and nnU-Net's own look-up


def test_doctor_tells_as_json_which_folder_is_missing(bare_host, tmp_path):
    done = bare_host.attempt("nnunet_ext", "doctor", "--json", nnUNet_raw=str(tmp_path / "nowhere"))
    assert done.returncode == 1
    errors = [check for check in json.loads(done.stdout) if check["status"] == "error"]
    assert [check["name"] for check in errors] == ["nnUNet_raw"]
    assert errors[0]["remedy"].startswith("mkdir -p ")


def test_info_lists_everything_without_importing_anything_heavy(bare_host):
    code = (
        "import sys; from nnunet_ext.cli import main; code = main(['info']);"
        "heavy = {'torch', 'nnunetv2', 'monai', 'numpy', 'matplotlib', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    output = bare_host.python(code)
    assert LIFTED in output
    assert "_<N>epochs" in output


def test_info_of_a_trainer_on_a_planned_dataset_parses(host):
    done = host.run("nnunet_ext", "info", COMPOSED, "--json", "-d", 901)
    found = json.loads(done.stdout)
    assert found["trainer"] == COMPOSED
    assert (found["patch_size"], found["input_channels"], found["output_channels"]) == ([64, 64], 3, 2)
    assert found["parameters"] > 1e6
    assert found["macs"] > 1e6


def test_info_of_an_unknown_trainer_is_one_line_without_a_traceback(bare_host):
    output = bare_host.refuse("nnunet_ext", "info", "nnUNetTrainerSLUNnet_5L1Res")
    assert "Did you mean nnUNetTrainerSLUNet_5L1Res?" in output
    assert "Traceback" not in output
