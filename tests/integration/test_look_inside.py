"""A trained lifted network inspected and exported by the real commands."""

import csv
import json
import shutil

import numpy as np
import onnxruntime
import pytest
from PIL import Image

LIFTED = "nnUNetTrainerSLUNet_5L1Res_1epochs_2iters"
MODEL = ("-d", 901, "-c", "2d", "-tr", LIFTED)


@pytest.fixture(scope="module")
def trained(host, tmp_path_factory):
    own = host.with_results(tmp_path_factory.mktemp("look_inside") / "nnUNet_results")
    own.train(LIFTED, 0)
    return own


@pytest.fixture(scope="module")
def images(trained):
    return trained.raw / trained.dataset / "imagesTs"


def test_inspect_draws_every_test_image(trained, images, tmp_path):
    # without nnUNet_extTrainer: our own commands know where our trainers are
    done = trained.run(
        "nnunet_ext", "inspect", "lifting", *MODEL, "-f", 0, "-i", images, "-o", tmp_path / "out",
        "--attribution", "gradcam", "-device", "cpu", nnUNet_extTrainer=None,
    )  # fmt: skip
    cases = {file.name.removesuffix("_0000.png") for file in images.iterdir()}
    drawn = {file.name.removesuffix("_slices.png") for file in (tmp_path / "out").glob("*_slices.png")}
    assert drawn == cases
    assert "warning" not in done.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "slices.csv").open()))
    lowest = sorted(rows, key=lambda row: float(row["mean_loss"]))[:5]
    assert {row["slice"] for row in lowest} == {row["slice"] for row in rows if row["selected"] == "True"}


def test_the_exported_file_predicts_what_nnunet_predicts(trained, images, tmp_path):
    trained.run("nnunet_ext", "export", *MODEL, "-f", 0, "-o", tmp_path / "model.onnx", nnUNet_extTrainer=None)
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["input"]["shape"] == ["batch", 3, 64, 64]  # the images' size: one window a picture
    one = sorted(images.iterdir())[0]
    (tmp_path / "in").mkdir()
    shutil.copy(one, tmp_path / "in")
    trained.run(
        "nnUNetv2_predict", *MODEL, "-f", 0, "-i", tmp_path / "in", "-o", tmp_path / "out", "-device", "cpu",
        "--disable_tta", "--save_probabilities", "-npp", 0, "-nps", 0,
    )  # fmt: skip
    (file,) = (tmp_path / "out").glob("*.npz")
    expected = np.load(file)["probabilities"][:, 0]
    image = np.asarray(Image.open(one)).astype(np.float32).transpose(2, 0, 1)
    image = (image - image.mean((1, 2), keepdims=True)) / image.std((1, 2), keepdims=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (logits,) = session.run(["logits"], {"image": image[None]})
    found = np.exp(logits[0]) / np.exp(logits[0]).sum(0)
    np.testing.assert_allclose(found, expected, atol=2e-2)  # nnU-Net sums in half precision, coarse in corners
    assert np.abs(found - expected).mean() < 1e-3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["export", "-f", 1, "-o", "model.onnx"], "-f 1: "),
        (["export", "-f", 0, "-o", "model.onnx", "-chk", "none.pth"], "-chk none.pth: not in "),
        (["inspect", "lifting", "-f", 0, "-i", "nowhere", "-o", "out"], "-i nowhere: no such folder"),
    ],
)
def test_mistakes_are_answered_in_a_line(trained, command, message):
    position = 2 if command[0] == "inspect" else 1
    output = trained.refuse("nnunet_ext", *command[:position], *MODEL, *command[position:])
    assert output.splitlines()[-1].startswith(f"nnunet_ext: {message}")
