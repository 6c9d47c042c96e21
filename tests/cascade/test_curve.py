"""All budgets in one pass beside one prediction a budget, nnU-Net's own, and the coarse map alone."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image
from support import architecture, make_dataset_json, make_plans, write_preprocessed
from torch.nn.functional import interpolate

from nnunet_ext.cascade.coarse import CoarseModel
from nnunet_ext.cascade.curve import curve_predictor
from nnunet_ext.cascade.curve_plan import Request, plan_curve
from nnunet_ext.cascade.curve_run import validate, written_at_once
from nnunet_ext.cascade.predictor import refining
from nnunet_ext.cascade.record import Record
from nnunet_ext.cascade.settings import SelectiveRefinement, TwoStageError
from nnunet_ext.inference.trained_model import TrainedModelError, trained_model_in

LABELS = {"background": 0, "a": 1, "b": 2}
DATASET, TRAINER, PLANS = "Dataset900_Tiny", "nnUNetTrainer", "nnUNetTwoStagePlans"
SIZE, BUDGETS = (32, 40), (0.0, 0.1, 0.3, 0.7, 1.0)
SPLITS = [{"train": ["case_2", "case_3"], "val": ["case_0", "case_1"]},
          {"train": ["case_0", "case_1"], "val": ["case_3", "case_2"]}]  # fmt: skip


def two_stage_plans(**selective):
    plans = make_plans([16, 16], n_stages=2) | {"plans_name": PLANS}
    fine = plans["configurations"]["2d"]
    plans["foreground_intensity_properties_per_channel"] = {str(channel): {} for channel in range(3)}
    plans["configurations"] |= {
        "2d_lowres": fine | {"data_identifier": "low", "spacing": [4.0, 4.0], "patch_size": [8, 8],
                             "architecture": architecture(2, 2)},
        "2d_selective": {"inherits_from": "2d", "selective_refinement": SelectiveRefinement(
            "2d_lowres", **selective).as_plan()},
    }  # fmt: skip
    return plans


def write_model(folder, plans, configuration, folds=("0", "1")):
    """Write a model whose weights are random, and differ by fold and configuration."""
    manager, dataset_json = PlansManager(plans), make_dataset_json(LABELS)
    folder.mkdir(parents=True)
    for fold in folds:
        torch.manual_seed(int(fold) + 10 * len(configuration))
        network = nnUNetTrainer.build_network_architecture(
            manager, manager.get_configuration(configuration), 3, 3, enable_deep_supervision=False
        )
        for p in network.parameters():
            p.data += 0.2 * torch.randn_like(p)
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "trainer_name": TRAINER, "init_args": {"configuration": configuration},
            "inference_allowed_mirroring_axes": (0, 1), "network_weights": network.state_dict(),
        }  # fmt: skip
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    return folder


@pytest.fixture
def place(nnunet_folders):
    """Returns the folder that holds nnU-Net's: preprocessed images, folds, and both trained models."""
    plans = two_stage_plans()
    only_full = plans | {"configurations": {"2d": plans["configurations"]["2d"]}}
    preprocessed = nnunet_folders / "nnUNet_preprocessed"
    write_preprocessed(preprocessed, only_full, make_dataset_json(LABELS), SIZE, n_cases=4, n_labels=2)
    (preprocessed / DATASET / "splits_final.json").write_text(json.dumps(SPLITS))
    for configuration in ("2d_lowres", "2d_selective"):
        write_model(model(nnunet_folders, configuration), plans, configuration)
    return nnunet_folders


def model(place, configuration):
    return place / "nnUNet_results" / DATASET / f"{TRAINER}__{PLANS}__{configuration}"


def request(**changes):
    return Request(**{"dataset": DATASET, "trainer": TRAINER, "folds": ("0", "1"), "device": "cpu"} | changes)


@pytest.mark.parametrize("criterion", ["mean_prob", "pixel_margin", "random"])
@torch.inference_mode()
def test_one_pass_is_what_each_budget_gives_alone(place, criterion):
    fine, coarse = (trained_model_in(model(place, c), ("0",)) for c in ("2d_selective", "2d_lowres"))
    settings = SelectiveRefinement("2d_lowres", criterion=criterion)
    image, loaded = torch.randn(3, 1, *SIZE), CoarseModel(coarse, "cpu")
    found = {}
    predictor = curve_predictor(
        fine, loaded, settings, BUDGETS, lambda point, logits: found.update({point.budget: (point, logits)}),
        device="cpu",
    )  # fmt: skip
    predictor.curve("case", image, {"spacing": [999.0, 1.0, 1.0]})
    plain = fine.predictor("cpu")
    windows = len(plain._internal_get_sliding_window_slicers((1, *SIZE)))
    assert windows == 3 * 4
    for budget in BUDGETS:
        record = Record()
        alone = refining(record, fixed=(loaded, replace(settings, budget=budget)), names=["case"])(
            device=torch.device("cpu"), allow_tqdm=False
        )
        alone.manual_initialization(
            plain.network, plain.plans_manager, plain.configuration_manager, plain.list_of_parameters,
            plain.dataset_json, TRAINER, plain.allowed_mirroring_axes,
        )  # fmt: skip
        expected = alone.predict_logits_from_preprocessed_data(image)
        point, logits = found[budget]
        torch.testing.assert_close(logits, expected, atol=5e-3, rtol=5e-3)
        assert (point.selected, point.fine_forwards) == (record.rows[0].selected, record.rows[0].fine_forwards)
        assert (point.windows, point.stock_forwards) == (windows, 4 * windows)
        assert point.coarse_forwards == record.rows[0].coarse_forwards == 4 * 2
    selected = [found[budget][0].selected for budget in BUDGETS]
    assert selected == [0, 2, 4, 9, 12]  # ceil of 0, 1.2, 3.6, 8.4, 12
    assert found[1.0][0].fine_seconds > found[0.1][0].fine_seconds > 0


@torch.inference_mode()
def test_the_ends_are_nnunets_own_prediction_and_the_coarse_map(place):
    fine, coarse = (trained_model_in(model(place, c), ("0",)) for c in ("2d_selective", "2d_lowres"))
    image, loaded, found = torch.randn(3, 1, 64, 80), CoarseModel(coarse, "cpu"), {}
    predictor = curve_predictor(
        fine, loaded, SelectiveRefinement("2d_lowres"), (1.0, 0.0),
        lambda point, logits: found.update({point.budget: logits}), device="cpu",
    )  # fmt: skip
    predictor.curve("case", image, {"spacing": [999.0, 1.0, 1.0]})
    stock = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(fine.folder), ("0",))
    labels = stock.predict_logits_from_preprocessed_data(image).argmax(0)
    assert len(labels.unique()) > 1
    assert (found[1.0].argmax(0) == labels).float().mean() >= 0.9999
    small = loaded.low_resolution(image, fine.predictor("cpu").configuration_manager)
    maps = interpolate(loaded.logits(small)[:, 0][None], (64, 80), mode="bilinear")[0].softmax(0)
    best = maps.topk(2, 0).values
    sure = best[0] - best[1] > 2e-3  # half precision
    assert sure.float().mean() > 0.9
    assert torch.equal(found[0.0].argmax(0)[0][sure], maps.argmax(0)[sure])


def dice(place, out, budget, case, label):
    truth = np.asarray(Image.open(place / "nnUNet_preprocessed" / DATASET / "gt_segmentations" / f"{case}.png"))
    predicted = np.asarray(Image.open(out / f"budget_{budget}" / f"{case}.png"))
    a, b = truth == label, predicted == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def rows(path):
    with path.open() as f:
        return list(csv.DictReader(f))


def test_a_curve_is_written_as_a_whole(place):
    out, said = place / "out", []
    validate(request(budgets=(1.0, 0.5, 0.25)), out, False, said.append)
    assert sorted(p.name for p in place.iterdir() if p.name.startswith((".", "out"))) == ["out"]
    curve, cases = rows(out / "curve.csv"), rows(out / "cases.csv")
    assert list(curve[0]) == [
        "budget", "cases", "dice", "dice_sd", "dice_lowest", "dice_a", "dice_b", "selected", "fine_forwards",
        "coarse_forwards", "share_of_stock", "share_of_pixels", "seconds", "times_faster",
    ]  # fmt: skip
    assert [r["budget"] for r in curve] == ["1", "0.5", "0.25", "0"]
    assert [float(r["fine_forwards"]) for r in curve] == [48, 24, 12, 0]
    assert [float(r["share_of_stock"]) for r in curve] == pytest.approx([56 / 48, 32 / 48, 20 / 48, 8 / 48], rel=1e-5)
    assert [float(r["share_of_pixels"]) for r in curve] == pytest.approx([50 / 48, 26 / 48, 14 / 48, 2 / 48], rel=1e-5)
    assert len(cases) == 4 * 4
    assert {(r["case"], r["fold"]) for r in cases} == {(f"case_{i}", "01"[i // 2]) for i in range(4)}
    for row in cases:
        assert float(row["seconds"]) > 0
        single = [dice(place, out, row["budget"], row["case"], label) for label in (1, 2)]
        assert [float(row["dice_a"]), float(row["dice_b"])] == pytest.approx(single, rel=1e-5)
        assert float(row["dice"]) == pytest.approx(sum(single) / 2, rel=1e-5)
        assert float(row["seconds"]) == pytest.approx(float(row["coarse_seconds"]) + float(row["fine_seconds"]), 1e-3)
    for row in curve:
        own = [float(r["dice"]) for r in cases if r["budget"] == row["budget"]]
        assert float(row["dice"]) == pytest.approx(np.mean(own), rel=1e-5)
        assert float(row["dice_sd"]) == pytest.approx(np.std(own, ddof=1), rel=1e-4)
        summary = json.loads((out / f"budget_{row['budget']}" / "summary.json").read_text())
        assert summary["foreground_mean"]["Dice"] == pytest.approx(float(row["dice"]), rel=1e-5)
        assert all((out / e["prediction_file"]).is_file() for e in summary["metric_per_case"])
    assert Image.open(out / "curve.png").size[0] > 500
    assert any(line.split()[:2] == ["budget", "dice"] for line in said)
    with pytest.raises(TwoStageError, match="--overwrite"):
        validate(request(), out, False, said.append)


@pytest.mark.parametrize(("mirroring", "passes"), [(True, 4), (False, 1)])
def test_only_the_fine_network_is_not_mirrored(place, mirroring, passes):
    """As in a prediction: the plan says whether the coarse one is."""
    path = model(place, "2d_selective") / "plans.json"
    path.write_text(json.dumps(two_stage_plans(coarse_mirroring=mirroring)))
    validate(request(folds=("0",), budgets=(1.0,), mirroring=False), place / "out", False, said_nothing)
    full = rows(place / "out" / "curve.csv")[0]
    assert (float(full["fine_forwards"]), float(full["coarse_forwards"])) == (12, passes * 2)


def said_nothing(_):
    """Stands for what takes lines for the user."""


def test_two_models_that_no_plan_joins(place):
    plans = two_stage_plans()
    fine = write_model(model(place, "2d"), plans, "2d", ("1",))
    low = model(place, "2d_lowres")
    plan = plan_curve(request(dataset=None, fine=fine, coarse=low, folds=("1",), criterion="random"))
    (fold,) = plan.folds
    assert (fold.fine.folder, fold.coarse.folder, fold.cases) == (fine, low, ("case_2", "case_3"))
    assert (plan.settings.coarse_configuration, plan.settings.criterion) == ("2d_lowres", "random")
    assert plan.budgets == (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0)
    with pytest.raises(TwoStageError, match="--coarse FOLDER"):
        plan_curve(request(fine=fine, folds=("1",)))
    with pytest.raises(TwoStageError, match="both the fine and the coarse"):
        plan_curve(request(fine=fine, coarse=fine, folds=("1",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": (0.5, 1.5)}, "from 0 to 1; got 1.5"),
        ({"budgets": (0.5, 1.0, 0.5)}, "--budgets has 0.5 more than once"),
        ({"folds": ("0", "0")}, "-f has 0 more than once"),
        ({"step_size": 0.0}, "-step_size 0"),
        ({"dataset": None}, "-d DATASET"),
        ({"dataset": "Dataset901_None"}, "In .* there are: Dataset900_Tiny"),
        ({"folds": ("all",)}, "trained on all cases"),
        ({"folds": ("2",)}, "has 2 folds, so no such one. Type: -f 0 1"),
        ({"configuration": "3d_selective"}, "no such trained model"),
    ],
)
def test_refused_before_work(place, changes, message):
    with pytest.raises((TwoStageError, TrainedModelError), match=message):
        plan_curve(request(**changes))


def test_what_is_missing_is_named_before_work(place):
    data = place / "nnUNet_preprocessed" / DATASET
    (data / "nnUNetPlans_tiny" / "case_1.pkl").rename(data / "case_1.pkl")
    with pytest.raises(TwoStageError, match=r"1 of 4 .*\(case_1\).*nnUNetv2_preprocess -d 900 -plans_name nnUNetTwoSt"):
        plan_curve(request())
    (data / "case_1.pkl").rename(data / "nnUNetPlans_tiny" / "case_1.pkl")
    (data / "gt_segmentations" / "case_2.png").unlink()
    with pytest.raises(TwoStageError, match="reference labels of 1 of 4"):
        plan_curve(request())
    (data / "splits_final.json").write_text(json.dumps([SPLITS[0], SPLITS[0]]))
    with pytest.raises(TwoStageError, match="case_0, case_1: validation cases of several of these folds"):
        plan_curve(request())
    (model(place, "2d_lowres") / "fold_1" / "checkpoint_final.pth").unlink()
    with pytest.raises(TrainedModelError, match=r"checkpoint_final.pth: not in .*2d_lowres/fold_1"):
        plan_curve(request())
    (data / "splits_final.json").unlink()
    with pytest.raises(TwoStageError, match="not known which cases"):
        plan_curve(request())


def test_nothing_is_left_of_a_curve_that_failed(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError), written_at_once(out) as folder:
        (folder / "no" / "such" / "folder").touch()
    assert list(tmp_path.iterdir()) == []
    for text in ("old", "new"):
        with written_at_once(out) as folder:
            (folder / "curve.csv").write_text(text)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (out / "curve.csv").read_text() == "new"


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(TwoStageError, match="no curve made it"):
        validate(request(), tmp_path, True, print)
