"""From training to a model on another machine, by stock nnU-Net commands only."""

import csv
import io
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image

LIFTED = "nnUNetTrainerSLUNet_5L1Res_2epochs_2iters"
# IFE, M2SNet's decoder, OVeNet's head, and LossNet, whose weights only trainings are given
COMPOSED = "nnUNetTrainerExt_IFEEntropy_M2S_OVe_LossNet_2epochs_2iters"
FOLDS = (0, 1)
SIDE = 64  # of images and patches


@pytest.fixture(scope="module")
def trained(host, tmp_path_factory):
    """A host on which both trainers can be asked for; each trains its two folds when it is first needed.

    They are started together, as users with two devices do; the first by a new interpreter, with workers of its own.
    """
    own = host.with_results(tmp_path_factory.mktemp("round_trip") / "nnUNet_results")
    weights, done = tmp_path_factory.mktemp("weights"), {}
    features = torchvision.models.vgg16().features[:23]
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, weights / "vgg16.pth")

    def train(trainer, fold):
        own.train(trainer, fold, "--npz", fresh=fold == 0, nnUNet_ext_weights=str(weights))

    def folds_of(trainer):
        if trainer not in done:
            with ThreadPoolExecutor(len(FOLDS)) as both:
                list(both.map(lambda fold: train(trainer, fold), FOLDS))
            done[trainer] = own.model(trainer)
        return done[trainer]

    return SimpleNamespace(host=own, folds_of=folds_of)


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """The test images as LIFTED's two folds predict them, through nnU-Net's workers, with probabilities."""
    trained.folds_of(LIFTED)
    out = tmp_path_factory.mktemp("predicted")
    predict(trained.host, out, "-npp", 1, "-nps", 1, "--save_probabilities", fresh=True)
    return out


def predict(host, out, *flags, images=None, folds=FOLDS, fresh=False):
    host.run(
        "nnUNetv2_predict", "-d", 901, "-c", "2d", "-tr", LIFTED, "-f", *folds,
        "-i", images or host.raw / host.dataset / "imagesTs", "-o", out,
        "-device", "cpu", "--disable_progress_bar", *flags, fresh=fresh,
    )  # fmt: skip


def probabilities(file):
    return np.load(file)["probabilities"]


def label_files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}


def mean_dice(fold):
    return json.loads((fold / "validation" / "summary.json").read_text())["foreground_mean"]["Dice"]


@pytest.mark.parametrize("trainer", [LIFTED, COMPOSED])
def test_a_training_leaves_what_nnunet_expects_and_a_manifest(trained, trainer):
    model = trained.folds_of(trainer)
    splits = json.loads((trained.host.preprocessed / trained.host.dataset / "splits_final.json").read_text())
    for fold in FOLDS:
        folder = model / f"fold_{fold}"
        checkpoint = torch.load(folder / "checkpoint_final.pth", map_location="cpu", weights_only=False)
        assert checkpoint["current_epoch"] == 2
        assert checkpoint["trainer_name"] == trainer
        assert not (folder / "checkpoint_latest.pth").exists()
        assert (folder / "progress.png").is_file()
        validated = sorted(file.stem for file in (folder / "validation").glob("*.png"))
        assert validated == sorted(splits[fold]["val"])
        assert sorted(file.stem for file in (folder / "validation").glob("*.npz")) == validated
        assert 0 <= mean_dice(folder) <= 1
        manifest = json.loads((folder / "nnunet_ext_manifest.json").read_text())
        assert (manifest["trainer"], manifest["fold"]) == (trainer, fold)
        assert (manifest["epochs"], manifest["iterations_per_epoch"], manifest["first_epoch"]) == (2, 2, 0)
        assert manifest["started"] <= manifest["finished"]
        assert manifest["dataset"] == trained.host.dataset
        assert manifest["training"]["seconds"] > 0
        assert manifest["validation"]["cases"] == len(validated)
        assert manifest["validation"]["seconds_per_case"] > 0
    assert not list(model.rglob("*.tmp"))


def test_the_report_compares_both_trainers_and_has_nnunets_numbers(trained, tmp_path):
    model, _ = (trained.folds_of(trainer) for trainer in (LIFTED, COMPOSED))
    folds = [str(fold) for fold in FOLDS]
    done = trained.host.attempt(
        "nnunet_ext", "report", "-d", 901, "-tr", LIFTED, COMPOSED, "-f", *folds, "-o", tmp_path
    )
    assert done.returncode == 0, done.stdout
    page = (tmp_path / "report.html").read_text()
    table = pd.read_csv(tmp_path / "report.csv", dtype={"fold": str})
    for fold in folds:
        own = table[(table["trainer"] == LIFTED) & (table["fold"] == fold)]
        assert own["Dice"].mean() == pytest.approx(mean_dice(model / f"fold_{fold}"))
    assert f"{table[table['trainer'] == LIFTED]['Dice'].mean():.3f}" in page
    assert page.count('<figure class="overlay">') == 5
    assert "Quality scores beside true Dice" in page
    assert "MiB (resident, the process)" in page


def test_predictions_are_labels_of_the_images_sizes(trained, predicted):
    images = {
        file.name.replace("_0000", ""): file
        for file in (trained.host.raw / trained.host.dataset / "imagesTs").iterdir()
    }
    labels = {file.name: np.asarray(Image.open(file)) for file in predicted.glob("*.png")}
    assert labels.keys() == images.keys()
    for name, label in labels.items():
        assert label.shape == np.asarray(Image.open(images[name])).shape[:2]
        assert set(np.unique(label)) <= {0, 1}


def test_probabilities_are_softmax_and_explain_the_labels(predicted):
    files = sorted(predicted.glob("*.npz"))
    assert len(files) == 2
    for file in files:
        found = probabilities(file)
        label = np.asarray(Image.open(file.with_suffix(".png")))
        assert found.shape == (2, 1, *label.shape)
        assert found.min() >= 0
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-3)
        np.testing.assert_array_equal(found[:, 0].argmax(0), label)


def test_prediction_without_workers_gives_the_same_files(trained, predicted, tmp_path):
    predict(trained.host, tmp_path, "-npp", 0, "-nps", 0)
    assert label_files(tmp_path) == label_files(predicted)


def score(host, out, *flags, trainer=LIFTED, **options):
    """`nnunet_ext predict` on the test images; what it printed."""
    command = (
        "nnunet_ext", "predict", "-d", 901, "-c", "2d", "-tr", trainer, "-f", *FOLDS,
        "-i", host.raw / host.dataset / "imagesTs", "-o", out, "-device", "cpu", "--disable_progress_bar", *flags,
    )  # fmt: skip
    return host.attempt(*command, **options)


def rows(file):
    with open(file, newline="") as f:
        return list(csv.DictReader(f))


def test_our_command_predicts_the_same_files_and_scores_them(trained, predicted, tmp_path):
    workers = ("-npp", 2, "-nps", 1)
    done = score(trained.host, tmp_path, *workers, "--min-quality", 1, "--pictures", fresh=True, nnUNet_extTrainer=None)
    assert done.returncode == 0, done.stdout
    assert label_files(tmp_path) == label_files(predicted)
    manifest = json.loads((tmp_path / "nnunet_ext_manifest.json").read_text())
    assert (manifest["trainer"], manifest["folds"]) == (LIFTED, [str(fold) for fold in FOLDS])
    assert (manifest["checkpoint"], manifest["cases"]) == ("checkpoint_final.pth", 2)
    assert manifest["command"].endswith("--min-quality 1 --pictures")
    assert 0 < manifest["seconds_per_case"] < manifest["seconds"]
    assert manifest["started"] <= manifest["finished"]
    assert manifest["peak_memory_bytes"] > 0
    found = rows(tmp_path / "quality.csv")
    assert [(r["case"], r["class"]) for r in found] == [
        (case, name) for case in ("case_12", "case_13") for name in ("all", "foreground")
    ]
    for row in found:
        assert 0 <= float(row["quality"]) <= 1
        assert row["review"] == str(float(row["quality"]) < 1).lower()
        label = np.asarray(Image.open(tmp_path / f"{row['case']}.png"))
        assert int(row["voxels"]) == np.count_nonzero(label)  # the plan's resolution is the images'
    assert "quality of 2 cases, worst first" in done.stdout
    assert len(list((tmp_path / "quality").glob("*.png"))) == 4
    # one of the two again: the other's row stays
    (tmp_path / "case_12.png").unlink()
    table = tmp_path / "quality.csv"
    table.write_text(table.read_text().replace("case_12", "case_99"))
    done = score(trained.host, tmp_path, "-npp", 0, "-nps", 0, "--continue_prediction")
    assert done.returncode == 0, done.stdout
    assert label_files(tmp_path) == label_files(predicted)
    assert [r["case"] for r in rows(table)[::2]] == ["case_99", "case_13", "case_12"]
    again = {r["case"]: r["quality"] for r in rows(table)[::2]}
    assert again["case_12"] == again["case_99"] == found[0]["quality"]


def test_our_command_predicts_with_other_networks_but_does_not_score_them(trained, tmp_path):
    trained.folds_of(COMPOSED)
    done = score(trained.host, tmp_path / "a", "--min-quality", 0.5, trainer=COMPOSED)
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith(
        f"nnunet_ext: --min-quality needs a lifted network, whose slices can be compared; {COMPOSED}"
    )
    assert list((tmp_path / "a").iterdir()) == []
    done = score(trained.host, tmp_path / "b", "-npp", 0, "-nps", 0, trainer=COMPOSED)
    assert done.returncode == 0
    assert "no quality.csv: a quality score needs a lifted network" in done.stdout
    assert len(label_files(tmp_path / "b")) == 2
    done = score(trained.host, tmp_path / "c", "-npp", 0, "-nps", 0, "--save-offsets", trainer=COMPOSED)
    assert done.returncode == 0, done.stdout
    assert label_files(tmp_path / "c") == label_files(tmp_path / "b")
    for case, label in label_files(tmp_path / "c").items():
        found = np.load(tmp_path / "c" / "offsets" / f"{case[:-4]}.npz")
        assert found["initial"].shape[1:] == Image.open(io.BytesIO(label)).size[::-1]
        assert np.abs(found["offsets"]).max() < SIDE / 4  # tau 0.5 of the patch
    assert len(list((tmp_path / "c" / "offsets").glob("*.png"))) == 2


def test_our_command_predicts_at_several_scales(trained, predicted, tmp_path):
    trained.folds_of(LIFTED)
    done = score(trained.host, tmp_path / "one", "-npp", 0, "-nps", 0, "--scales", 1)
    assert done.returncode == 0, done.stdout
    assert label_files(tmp_path / "one") == label_files(predicted)
    done = score(trained.host, tmp_path / "two", "-npp", 0, "-nps", 0, "--scales", 0.75, 1.5)
    assert done.returncode == 0, done.stdout
    assert label_files(tmp_path / "two").keys() == label_files(predicted).keys()
    done = score(trained.host, tmp_path / "bad", "--scales", 0.75, 0)
    assert done.returncode != 0
    assert "'0' is not a number above 0, up to 8" in done.stdout
    assert not (tmp_path / "bad").exists()


def test_validation_scores_its_cases(trained):
    for fold in FOLDS:
        validation = trained.folds_of(LIFTED) / f"fold_{fold}" / "validation"
        found = rows(validation / "quality.csv")
        assert [r["case"] for r in found if r["class"] == "all"] == sorted(p.stem for p in validation.glob("*.png"))
        assert not (trained.folds_of(COMPOSED) / f"fold_{fold}" / "validation" / "quality.csv").exists()


def test_an_exported_model_predicts_the_same_files_elsewhere(trained, predicted, tmp_path):
    trained.host.run(
        "nnUNetv2_export_model_to_zip", "-d", 901, "-c", "2d", "-tr", LIFTED, "-f", *FOLDS,
        "-o", tmp_path / "model.zip", fresh=True,
    )  # fmt: skip
    elsewhere = trained.host.with_results(tmp_path / "elsewhere")
    elsewhere.run("nnUNetv2_install_pretrained_model_from_zip", tmp_path / "model.zip", fresh=True)
    assert sorted(p.name for p in elsewhere.model(LIFTED).glob("fold_*")) == ["fold_0", "fold_1"]
    predict(elsewhere, tmp_path / "out", "-npp", 0, "-nps", 0)
    assert label_files(tmp_path / "out") == label_files(predicted)


def test_training_s_own_validation_is_what_predict_gives(trained, tmp_path):
    fold = trained.folds_of(LIFTED) / "fold_0"
    case = sorted((fold / "validation").glob("*.png"))[0].stem
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(trained.host.raw / trained.host.dataset / "imagesTr" / f"{case}_0000.png", images)
    predict(trained.host, tmp_path / "out", "-npp", 0, "-nps", 0, "--save_probabilities", images=images, folds=[0])
    theirs, ours = (probabilities(folder / f"{case}.npz") for folder in (fold / "validation", tmp_path / "out"))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # both sum logits in half precision
    decided = np.abs(theirs[1, 0] - 0.5) > 2e-3
    labels = [np.asarray(Image.open(folder / f"{case}.png")) for folder in (fold / "validation", tmp_path / "out")]
    np.testing.assert_array_equal(labels[0][decided], labels[1][decided])
    assert decided.mean() > 0.5


def test_val_repeats_the_validation(trained):
    fold = trained.folds_of(LIFTED) / "fold_0"
    before = {file.stem: probabilities(file) for file in (fold / "validation").glob("*.npz")}
    dice = mean_dice(fold)
    checkpoint = (fold / "checkpoint_final.pth").read_bytes()
    shutil.rmtree(fold / "validation")
    trained.host.train(LIFTED, 0, "--val", "--npz")
    assert mean_dice(fold) == pytest.approx(dice, abs=2e-3)
    assert len(before) == 4
    for case, expected in before.items():
        np.testing.assert_allclose(probabilities(fold / "validation" / f"{case}.npz"), expected, atol=2e-3)
    assert (fold / "checkpoint_final.pth").read_bytes() == checkpoint


def test_the_best_configuration_is_found_among_two_trainers(trained):
    for trainer in (LIFTED, COMPOSED):
        trained.folds_of(trainer)
    trained.host.run(
        "nnUNetv2_find_best_configuration", 901, "-c", "2d", "-f", *FOLDS, "-tr", LIFTED, COMPOSED, "-np", 1,
        fresh=True,
    )  # fmt: skip
    results = trained.host.results / trained.host.dataset
    found = json.loads((results / "inference_information.json").read_text())
    scores = found["all_results"]
    singles = {f"{trainer}__nnUNetPlans__2d": trainer for trainer in (LIFTED, COMPOSED)}
    assert singles.keys() <= scores.keys()
    assert any(name.startswith("ensemble") for name in scores)
    assert all(0 <= score <= 1 for score in scores.values())
    for name, trainer in singles.items():
        merged = results / name / "crossval_results_folds_0_1"
        assert len(list(merged.glob("case_*.png"))) == 12
        assert json.loads((merged / "summary.json").read_text())["foreground_mean"]["Dice"] == scores[name]
        assert trained.folds_of(trainer) == results / name
    assert found["best_model_or_ensemble"]["result_on_crossval_pre_pp"] == max(scores.values())
    instructions = (results / "inference_instructions.txt").read_text()
    assert re.search(r"nnUNetv2_predict .*-tr nnUNetTrainer(SLUNet|Ext)_", instructions)
