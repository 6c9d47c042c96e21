"""Two stages from the plan to the curve, by the commands that a user types."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

PLANS = "nnUNetTwoStagePlans"
TRAINER = "nnUNetTrainerTwoStage_1epochs_2iters"
FLAGS = ("-d", 901, "-p", PLANS, "-tr", TRAINER)


@pytest.fixture(scope="module")
def trained(host, tmp_path_factory):
    """A host with a copy of the dataset, on which fold 0 of both stages is trained."""
    base = tmp_path_factory.mktemp("two_stages")
    shutil.copytree(host.preprocessed, base / "preprocessed")
    own = replace(host, preprocessed=base / "preprocessed").with_results(base / "results")
    said = own.run("nnunet_ext", "plan", "--two-stage", "-d", 901, "--windows", 2, nnUNet_n_proc_DA="1").stdout
    assert "<- chosen" in said
    assert f"nnUNetv2_preprocess -d 901 -plans_name {PLANS} -c 2d_lowres" in said
    own.run("nnUNetv2_preprocess", "-d", 901, "-plans_name", PLANS, "-c", "2d_lowres", "-np", 1)
    for configuration in ("2d_lowres", "2d_selective"):
        own.train(TRAINER, 0, "-p", PLANS, "--npz", configuration=configuration)
    return own


def rows_of(file):
    with open(file, newline="") as f:
        return list(csv.DictReader(f))


def test_the_second_stage_is_validated_selectively(trained):
    validation = trained.model(TRAINER, "2d_selective", PLANS) / "fold_0" / "validation"
    rows = rows_of(validation / "two_stage.csv")
    assert len(rows) == 4
    assert {row["windows"] for row in rows} == {"9"}
    assert all(0 < int(row["selected"]) < 9 for row in rows)
    assert len(json.loads((validation / "summary.json").read_text())["metric_per_case"]) == 4


def test_prediction_with_both_networks(trained, tmp_path):
    images = trained.raw / trained.dataset / "imagesTs"
    trained.run(
        "nnunet_ext", "predict", "--two-stage", *FLAGS, "-c", "2d_selective", "-i", images, "-o", tmp_path, "-f", 0,
        "-device", "cpu", "--disable_progress_bar", "--save_probabilities", "-npp", 0, "-nps", 0,
    )  # fmt: skip
    names = sorted(f.name for f in tmp_path.glob("*.png"))
    assert names == sorted(f.name.replace("_0000", "") for f in images.glob("*.png"))
    for name in names:
        assert np.array(Image.open(tmp_path / name)).shape == (64, 64)
        found = np.load(tmp_path / name.replace(".png", ".npz"))["probabilities"]
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-3)
    rows = rows_of(tmp_path / "two_stage.csv")
    assert [f"{row['case']}.png" for row in rows] == names
    assert all(0 < int(row["selected"]) < int(row["windows"]) for row in rows)
    manifest = json.loads((tmp_path / "nnunet_ext_manifest.json").read_text())
    assert (manifest["cases"], manifest["folds"]) == (len(names), ["0"])
    assert manifest["two_stage"]["coarse_model"].endswith("__2d_lowres")
    assert "--two-stage" in manifest["command"]


def test_the_curve_and_what_is_left_to_train(trained, tmp_path):
    out = tmp_path / "curve"
    trained.run("nnunet_ext", "cascade", "validate", *FLAGS, "-f", 0, "--budgets", 1, 0.25, "-device", "cpu", "-o", out)
    whole = json.loads((out / "budget_1" / "summary.json").read_text())["foreground_mean"]["Dice"]
    assert [float(r["budget"]) for r in rows_of(out / "curve.csv")] == [1, 0.25, 0]
    assert float(rows_of(out / "curve.csv")[0]["dice_foreground"]) == pytest.approx(whole, abs=1e-4)
    assert (out / "curve.png").stat().st_size > 10_000
    said = trained.run("nnunet_ext", "cascade", "train", *FLAGS, "--npz", "--dry-run").stdout
    assert "2d_lowres" in said
