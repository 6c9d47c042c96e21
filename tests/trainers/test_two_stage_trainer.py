"""A training that is the second of two stages: validated selectively, with the coarse network of its own fold."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host  # noqa: N813  (the module)
from support import make_dataset_json, make_plans, write_preprocessed

from nnunet_ext.cascade.settings import SelectiveRefinement, TwoStageError
from nnunet_ext.environment import plugin_folder
from nnunet_ext.inference import trained_model
from nnunet_ext.inference.trained_model import TrainedModelError
from nnunet_ext.trainers import two_stage
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.naming import resolve

NAME = "nnUNetTrainerTwoStage_1epochs_1iters"
AREA = {"is_seg": False, "force_separate_z": None, "memefficient_seg_resampling": False, "mode": "area"}


@pytest.fixture
def make_stage(nnunet_folders, monkeypatch):
    """Returns `make(configuration, trainer=NAME, fold=0, ...) -> trainer` of a dataset of 10 images of 48 pixels."""
    monkeypatch.setenv("nnUNet_extTrainer", str(plugin_folder()))
    preprocessed = nnunet_folders / "nnUNet_preprocessed"
    plans = make_plans([16, 16])
    fine = plans["configurations"]["2d"]
    area = {"resampling_fn_data": "resample_torch_fornnunet", "resampling_fn_data_kwargs": AREA}
    dataset_json = make_dataset_json({"background": 0, "a": 1, "b": 2}, n_cases=10)
    write_preprocessed(preprocessed, plans, dataset_json, (48, 48), 10, 2)
    folder = preprocessed / plans["dataset_name"]
    (folder / "low").mkdir()
    data = nnUNetDatasetBlosc2(str(folder / fine["data_identifier"]))
    for name in data.identifiers:
        x, seg, _, properties = data.load_case(name)
        small = F.adaptive_avg_pool2d(torch.from_numpy(x[:, 0]), 12)[:, None].numpy()
        nnUNetDatasetBlosc2.save_case(small, seg[:, :, ::4, ::4], properties, str(folder / "low" / name))

    def make(configuration, trainer=NAME, fold=0, **settings):
        settings = SelectiveRefinement("2d_lowres", **({"budget": 0.25} | settings))
        plans["configurations"] = {
            "2d": fine,
            "2d_lowres": {**fine, **area, "spacing": [4.0, 4.0], "data_identifier": "low"},
            "2d_selective": {"inherits_from": "2d", "selective_refinement": settings.as_plan()},
            "2d_cascade_fullres": {
                "inherits_from": "2d", "previous_stage": "2d_lowres", "previous_stage_trainer": "nnUNetTrainerM2SNet",
            },
        }  # fmt: skip
        copy = {**json.loads(json.dumps(plans)), "continue_training": False}
        return resolve(trainer)(copy, configuration, fold, dataset_json, torch.device("cpu"))

    return make


def test_validation_is_selective_and_of_the_same_fold(make_stage, monkeypatch, tmp_path):
    make_stage("2d_lowres", fold=0).run_training()
    make_stage("2d_lowres", fold=1).run_training()
    fine = make_stage("2d_selective", fold=1)
    fine.run_training()
    loaded = []
    initialize = trained_model.nnUNetPredictor.initialize_from_trained_model_folder

    def spied(self, folder, folds, name):
        loaded.append((Path(folder).name, tuple(folds)))
        return initialize(self, folder, folds, name)

    monkeypatch.setattr(trained_model.nnUNetPredictor, "initialize_from_trained_model_folder", spied)
    before = host.nnUNetPredictor
    fine.perform_actual_validation(save_probabilities=True)
    assert loaded == [(f"{NAME}__nnUNetPlans__2d_lowres", ("1",))]
    assert host.nnUNetPredictor is before
    folder = Path(fine.output_folder, "validation")
    cases = sorted(fine.do_split()[1])
    with open(folder / "two_stage.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["case"] for r in rows] == cases
    assert {(r["windows"], r["selected"], r["fine_forwards"]) for r in rows} == {("25", "7", "28")}
    for case in cases:
        assert np.load(folder / f"{case}.npz")["probabilities"].sum(0) == pytest.approx(1, abs=1e-3)
    assert len(json.loads((folder / "summary.json").read_text())["metric_per_case"]) == 2


def test_nnunet_is_as_before_after_a_failure(make_stage):
    make_stage("2d_lowres").run_training()
    fine = make_stage("2d_selective")
    before = host.nnUNetPredictor
    seen = []

    def fail():
        with two_stage.selective_validation(fine):
            seen.append(host.nnUNetPredictor)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert seen[0] is not before
    assert host.nnUNetPredictor is before


def test_a_training_without_its_coarse_network_does_not_begin(make_stage):
    fine = make_stage("2d_selective", coarse_trainer="nnUNetTrainerSLUNet_3epochs")
    with pytest.raises(TwoStageError, match=r"nnUNetv2_train .*2d_lowres 0 .*-tr nnUNetTrainerSLUNet_3epochs"):
        fine.run_training()
    with pytest.raises(TrainedModelError, match="nnUNetTrainerSLUNet_3epochs__nnUNetPlans__2d_lowres"):
        fine.perform_actual_validation()


def test_a_coarse_network_in_training_is_waited_for(make_stage):
    coarse = make_stage("2d_lowres")
    Path(coarse.output_folder).mkdir(parents=True, exist_ok=True)
    assert "no checkpoint_final.pth yet" in two_stage.look_for_coarse(make_stage("2d_selective"))
    assert two_stage.look_for_coarse(make_stage("2d")) is None


def test_nnunets_own_cascade_of_two_trainers(make_stage):
    other = make_stage("2d_cascade_fullres").folder_with_segs_from_previous_stage
    assert Path(other).parts[-3:] == (
        "nnUNetTrainerM2SNet__nnUNetPlans__2d_lowres", "predicted_next_stage", "2d_cascade_fullres",
    )  # fmt: skip


def test_a_lifted_second_stage_leaves_no_scores_of_an_earlier_validation(make_stage, monkeypatch):
    validated = []
    monkeypatch.setattr(nnUNetTrainerExt, "perform_actual_validation", lambda *arguments: validated.append(arguments))
    fine = make_stage("2d_selective", "nnUNetTrainerSLUNet_5L1Res_1epochs_1iters")
    stale = Path(fine.output_folder, "validation", "quality.csv")
    stale.parent.mkdir(parents=True)
    stale.write_text("case,quality\n")
    fine.perform_actual_validation(True)
    assert validated == [(fine, True)]
    assert not stale.exists()
