"""Plans for two stages, from plans that nnU-Net made in this process."""

import json
import shlex
import shutil

import numpy as np
import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncM,
)
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image
from planning_support import plan_stock, said_nothing, write_flat, write_volumes

from nnunet_ext import cli
from nnunet_ext.cascade.settings import SelectiveRefinement
from nnunet_ext.cli.cascade import add_cascade
from nnunet_ext.cli.parser import Parser
from nnunet_ext.planning import labels
from nnunet_ext.planning.lowres import factor_per_axis
from nnunet_ext.planning.planner import window_starts
from nnunet_ext.planning.two_stage import Request, plan_two_stage


def plan(*flags):
    return cli.main(["plan", "--two-stage", *map(str, flags)])


def written(folder, name="nnUNetTwoStagePlans"):
    return json.loads((folder / f"{name}.json").read_text())


def next_training(said):
    """What the command understands of the line that planning says last."""
    (line,) = (line for line in said.splitlines() if "cascade train" in line)
    sub = Parser()
    add_cascade(sub)
    return sub.parse_args(shlex.split(line)[2:])


def test_flat_plans_are_a_copy_with_four_configurations(flat, capsys):
    before = (flat / "nnUNetPlans.json").read_text()
    assert plan("-d", 501, "--factor", 8, "--budget", 0.25) == 0
    said = capsys.readouterr().out
    stock, plans = json.loads(before), written(flat)
    assert (flat / "nnUNetPlans.json").read_text() == before
    own = plans["configurations"]
    assert set(own) == {"2d", "2d_lowres", "2d_fine", "2d_selective", "2d_cascade_fullres"}
    assert own["2d"] == stock["configurations"]["2d"]
    assert plans["plans_name"] == "nnUNetTwoStagePlans"
    low = own["2d_lowres"]
    assert (low["spacing"], low["median_image_size_in_voxels"]) == ([8.0, 8.0], [32, 40])
    assert low["patch_size"] == [32, 40]
    assert (low["batch_dice"], low["next_stage"]) == (True, "2d_cascade_fullres")
    assert low["data_identifier"] != own["2d"]["data_identifier"]
    kwargs = {"is_seg": True, "force_separate_z": None, "memefficient_seg_resampling": False, "mode": "area"}
    assert low["resampling_fn_seg"] == low["resampling_fn_data"] == "resample_torch_fornnunet"
    assert low["resampling_fn_seg_kwargs"] == kwargs
    assert low["resampling_fn_data_kwargs"] == {**kwargs, "is_seg": False}
    assert own["2d_fine"]["patch_size"] == [64, 80]  # a quarter of 256 x 320
    assert own["2d_fine"]["inherits_from"] == "2d"
    assert own["2d_cascade_fullres"] == {"inherits_from": "2d", "previous_stage": "2d_lowres"}
    selective = PlansManager(plans).get_configuration("2d_selective")
    assert SelectiveRefinement.of(selective.configuration) == SelectiveRefinement("2d_lowres", budget=0.25)
    assert "previous_stage" not in selective.configuration
    assert selective.data_identifier == own["2d"]["data_identifier"]
    assert "-plans_name nnUNetTwoStagePlans -c 2d_lowres 2d\n" in said
    assert "nnUNetv2_train 501 2d_lowres FOLD -p nnUNetTwoStagePlans -tr nnUNetTrainerTwoStage" in said
    assert "nnunet_ext cascade train -d 501\n" in said
    assert next_training(said).c in own


def test_planned_networks_take_their_patches(flat):
    assert plan("-d", 501, "--factor", 4, "--budget", 0.25) == 0
    for name in ("2d_lowres", "2d_selective"):
        found = PlansManager(written(flat)).get_configuration(name)
        network = get_network_from_plans(
            found.network_arch_class_name, found.network_arch_init_kwargs, found.network_arch_init_kwargs_req_import,
            3, 3, deep_supervision=False,
        )  # fmt: skip
        with torch.no_grad():
            assert network(torch.zeros(1, 3, *found.patch_size)).shape[2:] == torch.Size(found.patch_size)
        assert 2 <= found.batch_size <= 32


def test_again_changes_nothing_and_keeps_other_configurations(flat):
    arguments = ("-d", 501, "--factor", 8, "--budget", 0.25)
    plan(*arguments)
    first = written(flat)
    own = {**first, "configurations": {**first["configurations"], "2d_mine": {"inherits_from": "2d", "batch_size": 3}}}
    (flat / "nnUNetTwoStagePlans.json").write_text(json.dumps(own))
    plan(*arguments)
    assert written(flat) == own
    plan("-d", 501, "--factor", 4, "--budget", 0.5)
    changed = written(flat)["configurations"]
    assert changed["2d_lowres"]["spacing"] == [4.0, 4.0]
    assert changed["2d_lowres"]["data_identifier"] != own["configurations"]["2d_lowres"]["data_identifier"]
    assert changed["2d_mine"] == own["configurations"]["2d_mine"]
    assert not list(flat.glob("*.tmp"))


def test_a_coarse_trainer_is_named_in_both_second_stages(flat, capsys):
    plan("-d", "Dataset501_Flat", "--factor", 8, "--budget", 0.25, "--coarse-trainer", "nnUNetTrainer")
    own = written(flat)["configurations"]
    assert own["2d_selective"]["selective_refinement"]["coarse_trainer"] == "nnUNetTrainer"
    assert own["2d_cascade_fullres"]["previous_stage_trainer"] == "nnUNetTrainer"
    assert "2d_lowres FOLD -p nnUNetTwoStagePlans -tr nnUNetTrainer " in capsys.readouterr().out


def test_many_stock_windows_keep_the_stock_patch(flat):
    plans = json.loads((flat / "nnUNetPlans.json").read_text())
    plans["configurations"]["2d"]["patch_size"] = [64, 64]  # less than a quarter of 256 x 320
    (flat / "nnUNetPlans.json").write_text(json.dumps(plans))
    plan("-d", 501, "--factor", 8, "--budget", 0.25)
    assert written(flat)["configurations"]["2d_fine"] == {"inherits_from": "2d"}


def test_factor_and_budget_are_chosen_from_the_labels(flat, capsys):
    assert plan("-d", 501) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if "x  " in line and line.strip()[0].isdigit()]
    assert [(r[0], r[1]) for r in rows] == [(f, b) for f in "248" for b in ("0.0625", "0.125", "0.25", "0.5")]
    dice = {(int(r[0]), float(r[1])): float(r[3]) for r in rows}
    (chosen,) = (r for r in rows if "chosen" in r)
    assert dice[int(chosen[0]), float(chosen[1])] >= 0.97
    cheaper = [k for k in dice if 1 / k[0] ** 2 + k[1] < 1 / int(chosen[0]) ** 2 + float(chosen[1])]
    assert cheaper
    assert all(dice[k] < 0.97 for k in cheaper)
    own = written(flat)["configurations"]
    assert own["2d_selective"]["selective_refinement"]["budget"] == float(chosen[1])
    assert own["2d_lowres"]["spacing"] == [float(chosen[0])] * 2
    assert "overstates" in said
    assert "understates" in said
    assert "WARNING" not in said


def test_one_of_both_is_chosen_and_no_reach_is_said_loudly(flat, capsys):
    assert plan("-d", 501, "--budget", 0.01, "--tau", 1) == 0
    said = capsys.readouterr().out
    assert "WARNING: no factor and budget reach a Dice of 1.0" in said
    assert written(flat)["configurations"]["2d_lowres"]["spacing"] == [2.0, 2.0]
    assert plan("-d", 501, "--factor", 8, "--tau", 0.4) == 0
    assert written(flat)["configurations"]["2d_selective"]["selective_refinement"]["budget"] == 1 / 16


def test_more_than_enough_labels_are_sampled_evenly(flat, capsys, monkeypatch):
    assert labels.evenly(5, 200) == [0, 1, 2, 3, 4]
    found = labels.evenly(1000, 200)
    assert (len(found), set(np.diff(found))) == (200, {5})
    monkeypatch.setattr(labels, "MOST", 2)
    assert plan("-d", 501, "--factor", 8) == 0
    assert "reading 2 of 4 training labels" in capsys.readouterr().out


def test_residual_encoder_plans(flat, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    plan_stock("Dataset501_Flat", nnUNetPlannerResEncM)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    assert plan("-d", 501, "-p", "nnUNetResEncUNetMPlans", "--factor", 4, "--budget", 0.25) == 0
    low = written(flat)["configurations"]["2d_lowres"]
    assert low["architecture"]["network_class_name"].endswith("ResidualEncoderUNet")


def case_of(folder, configuration):
    """A case as stock nnU-Net preprocesses it."""
    manager = PlansManager(written(folder))
    found = manager.get_configuration(configuration)
    raw = folder.parent.parent / "nnUNet_raw" / folder.name
    image, label = raw / "imagesTr" / "case_0_0000.png", raw / "labelsTr" / "case_0.png"
    content = json.loads((raw / "dataset.json").read_text())
    data, seg, properties = found.preprocessor_class(verbose=False).run_case(
        [str(image)], str(label), manager, found, content
    )
    return data, seg, properties, found


def test_low_resolution_is_the_mean_of_blocks_and_the_majority_and_is_made_from_the_full_one(flat):
    plan("-d", 501, "--factor", 8, "--budget", 0.25)
    full, truth, properties, _ = case_of(flat, "2d")
    low, seg, _, configuration = case_of(flat, "2d_lowres")
    assert low.shape == (3, 1, 32, 40)
    blocks = full.reshape(3, 1, 32, 8, 40, 8)
    np.testing.assert_allclose(low, blocks.mean((3, 5), dtype=np.float64), atol=1e-6, rtol=0)
    spacing = properties["spacing"]
    again = configuration.resampling_fn_data(full, low.shape[1:], spacing, [spacing[0], *configuration.spacing])
    np.testing.assert_array_equal(again, low)
    counts = np.stack([(truth == k).reshape(1, 1, 32, 8, 40, 8).sum((3, 5)) for k in range(3)])
    best = np.sort(counts, 0)
    decided = best[-1] > best[-2]
    np.testing.assert_array_equal(seg[decided], counts.argmax(0)[decided])
    assert (np.bincount(seg.ravel()) > 1).all()


def test_maps_of_low_resolution_go_back_linearly(flat):
    plan("-d", 501, "--factor", 8, "--budget", 0.25)
    configuration = PlansManager(written(flat)).get_configuration("2d_lowres")
    maps = np.random.default_rng(0).random((3, 1, 32, 40), np.float32)
    found = configuration.resampling_fn_probabilities(maps, (1, 250, 318), [999, 8.0, 8.0], [999, 1.0, 1.0])
    wanted = torch.nn.functional.interpolate(torch.from_numpy(maps[:, 0])[None], (250, 318), mode="bilinear")[0]
    np.testing.assert_allclose(np.asarray(found)[:, 0], wanted, atol=2e-6, rtol=0)


def test_windows_are_nnunets_own():
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.configuration_manager = type("Patch", (), {"patch_size": [32, 48]})
    slices = predictor._internal_get_sliding_window_slicers((3, 70, 100))
    starts = window_starts((3, 70, 100), [32, 48])
    assert [(z, y.start, x.start) for _, z, y, x in slices] == [
        (z, y, x) for z in starts[0] for y in starts[1] for x in starts[2]
    ]
    assert window_starts((20, 100), [32, 48]) == [[-6], *window_starts((100,), [48])]


def refusal(capsys, *flags):
    assert plan(*flags) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-d", 7], ["-d 7", "Dataset501_Flat"]),
        (["-d", "some"], ["-d some", "Dataset501_Flat"]),
        (["-d", 501, "-p", "nnUNetPlanz"], ["nnUNetPlanz", "nnUNetv2_plan_and_preprocess -d 501", "nnUNetPlans"]),
        (["-d", 501, "--factor", 16], ["--factor 16", "256 x 320", "allowed here: 2, 4, 8"]),
        (["-d", 501, "--factor", 0], ["--factor 0", "allowed here: 2, 4, 8"]),
        (["-d", 501, "--budget", 1.5], ["--budget 1.5", "from 0 to 1"]),
        (["-d", 501, "--budget", -0.1], ["--budget -0.1", "from 0 to 1"]),
        (["-d", 501, "--budget", "nan"], ["--budget nan", "from 0 to 1"]),
        (["-d", 501, "--tau", 0], ["--tau 0", "up to 1"]),
        (["-d", 501, "--tau", 1.01], ["--tau 1.01", "up to 1"]),
        (["-d", 501, "--windows", 1], ["--windows 1", "at least 2"]),
        (["-d", 501, "--plans-name", "nnUNetPlans"], ["--plans-name nnUNetPlans", "other than -p"]),
        (["-d", 501, "--plans-name", "a__b"], ["--plans-name a__b"]),
        (["-d", 501, "--plans-name", "../a"], ["--plans-name ../a"]),
    ],
)
def test_refusals_say_what_is_allowed(flat, capsys, flags, words):
    said = refusal(capsys, *flags)
    assert all(word in said for word in words), said
    assert not (flat / "nnUNetTwoStagePlans.json").exists()


def test_small_images_allow_few_factors(nnunet_folders, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    plan_stock(write_flat(nnunet_folders, (64, 100), 504, cases=2))
    assert "allowed here: 2, 4" in refusal(capsys, "-d", 504, "--factor", 8)
    assert plan("-d", 504) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("     8")]
    plan_stock(write_flat(nnunet_folders, (30, 100), 505, cases=2))
    assert "none is allowed" in refusal(capsys, "-d", 505)


def test_broken_files_and_missing_parts_are_named(flat, nnunet_folders, monkeypatch, capsys):
    raw = nnunet_folders / "nnUNet_raw" / "Dataset501_Flat"
    (raw / "labelsTr" / "case_2.png").write_text("none")
    assert "case_2.png cannot be read" in refusal(capsys, "-d", 501)
    for i in range(4):
        Image.fromarray(np.zeros((256, 320), np.uint8)).save(raw / "labelsTr" / f"case_{i}.png")
    assert "has foreground" in refusal(capsys, "-d", 501)
    (flat / "nnUNetTwoStagePlans.json").write_text("{}")
    assert "nnUNetTwoStagePlans.json holds no plans" in refusal(capsys, "-d", 501, "--factor", 8, "--budget", 0)
    (flat / "dataset_fingerprint.json").unlink()
    (flat / "nnUNetTwoStagePlans.json").unlink()
    assert "nnUNetv2_extract_fingerprint -d 501" in refusal(capsys, "-d", 501)
    shutil.rmtree(raw)
    assert "dataset.json" in refusal(capsys, "-d", 501)
    monkeypatch.delenv("nnUNet_raw")
    assert "nnUNet_raw is not set" in refusal(capsys, "-d", 501)


def test_plans_of_an_unknown_planner(flat, capsys):
    plans = json.loads((flat / "nnUNetPlans.json").read_text()) | {"experiment_planner_used": "MyPlanner"}
    (flat / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert "MyPlanner" in refusal(capsys, "-d", 501)


def test_a_trained_model_is_not_orphaned(flat, nnunet_folders, capsys):
    arguments = ("-d", 501, "--factor", 8, "--budget", 0.25)
    plan(*arguments)
    before = (flat / "nnUNetTwoStagePlans.json").read_text()
    results = nnunet_folders / "nnUNet_results" / "Dataset501_Flat"
    model = results / "nnUNetTrainerTwoStage__nnUNetTwoStagePlans__2d_lowres"
    (model / "fold_0").mkdir(parents=True)
    (model / "plans.json").write_text(before)
    assert plan("-d", 501, "--factor", 4, "--budget", 0.25) == 0  # nothing was trained yet
    (model / "fold_0" / "checkpoint_best.pth").touch()
    said = refusal(capsys, "-d", 501, "--factor", 4, "--budget", 0.25)
    assert str(model) in said
    assert "--plans-name nnUNetTwoStagePlans2" in said
    assert plan(*arguments) == 0
    assert (flat / "nnUNetTwoStagePlans.json").read_text() == before
    assert plan("-d", 501, "--factor", 8, "--budget", 0.5) == 0  # the coarse network stays what it is
    assert plan("-d", 501, "--factor", 4, "--budget", 0.25, "--plans-name", "other") == 0


def test_a_trained_fine_network_takes_another_budget_but_no_other_coarse_network(flat, nnunet_folders, capsys):
    arguments = ("-d", 501, "--factor", 8, "--budget")
    plan(*arguments, 0.25)
    trained = written(flat)
    trained["configurations"]["2d_selective"]["selective_refinement"]["criterion"] = "pixel_margin"
    name = "nnUNetTrainerTwoStage__nnUNetTwoStagePlans__2d_selective"
    model = nnunet_folders / "nnUNet_results" / "Dataset501_Flat" / name
    (model / "fold_0").mkdir(parents=True)
    (model / "fold_0" / "checkpoint_final.pth").touch()
    (model / "plans.json").write_text(json.dumps(trained))
    assert plan(*arguments, 0.5) == 0
    assert written(flat)["configurations"]["2d_selective"]["selective_refinement"]["budget"] == 0.5
    assert str(model) in refusal(capsys, *arguments, 0.5, "--coarse-trainer", "nnUNetTrainer")
    assert str(model) in refusal(capsys, *arguments, 0.5, "--windows", 2)
    trained["configurations"]["2d_selective"]["selective_refinement"]["coarse_configuration"] = "2d_other"
    (model / "plans.json").write_text(json.dumps(trained))
    assert str(model) in refusal(capsys, *arguments, 0.5)


@pytest.fixture
def solid(nnunet_folders, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    name = write_volumes(nnunet_folders, (80, 96, 112))
    plan_stock(name)
    return nnunet_folders / "nnUNet_preprocessed" / name


def test_volumes_get_a_low_resolution_if_they_have_none(solid, capsys):
    assert plan("-d", 503, "--budget", 0.25, "--factor", 2) == 0
    said = capsys.readouterr().out
    own = written(solid)["configurations"]
    assert {"3d_lowres", "3d_selective", "3d_cascade_fullres"} <= set(own)
    assert not [c for c in own if c.startswith("2d_")]
    assert own["3d_lowres"]["spacing"] == [2.0, 2.0, 2.0]
    assert own["3d_lowres"]["resampling_fn_data"] == "resample_data_or_seg_to_shape"
    assert own["3d_lowres"]["next_stage"] == "3d_cascade_fullres"
    assert own["3d_cascade_fullres"] == {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    assert own["3d_selective"]["selective_refinement"]["coarse_configuration"] == "3d_lowres"
    assert "nothing to select from" in said
    assert "-c 3d_lowres 3d_fullres" in said
    assert next_training(said).c == "3d_selective"


def test_volumes_keep_nnunets_own_low_resolution_and_choose_the_budget(solid, capsys):
    plans = json.loads((solid / "nnUNetPlans.json").read_text())
    full = plans["configurations"]["3d_fullres"]
    plans["configurations"]["3d_lowres"] = {**full, "spacing": [1.5, 1.5, 1.5], "data_identifier": "own_lowres"}
    full["patch_size"] = [16, 32, 32]
    (solid / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert plan("-d", 503) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if "x  " in line] == ["own"] * 4
    assert f"{1 / (1.5**-3 + 1 / 16):.1f}x" in said
    assert written(solid)["configurations"]["3d_lowres"] == plans["configurations"]["3d_lowres"]
    request = Request("503", factor=2, budget=0.5)
    assert plan_two_stage(request, said_nothing).plans["configurations"]["3d_lowres"]["spacing"] == [2.0, 2.0, 2.0]


def test_only_the_fine_axes_of_thick_slices_get_coarser():
    assert factor_per_axis(4, [5.0, 1.0, 1.0]) == [1, 4, 4]
    assert factor_per_axis(4, [1.5, 1.0, 1.0]) == [4, 4, 4]
    assert factor_per_axis(4, [3.0, 1.0]) == [4, 4]
