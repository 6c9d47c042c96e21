import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from nnunet_ext.inference.attribution import AttributionError
from nnunet_ext.inference.inspect_lifting import InspectionError, Wanted, inspect

LOSSES = [0.9 - 0.01 * d for d in range(16)]


def with_losses(weights):
    weights["selection.mean_loss"].copy_(torch.tensor(LOSSES))
    weights["selection.selected"].copy_(torch.tensor([15, 14, 13, 12, 11]))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        values = np.random.default_rng(ord(name)).integers(1, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{name}_0000.png")
    return folder


def test_a_picture_a_case_a_chart_and_a_table(write_model, images, tmp_path):
    out, said = tmp_path / "out", []
    out.mkdir()
    (out / "mine.png").write_text("stays")
    (out / "a_slices.png").write_text("is replaced")
    written = inspect(write_model(change=with_losses), images, out, Wanted(), "cpu", said.append)
    names = ["slices.csv", "slice_losses.png", "a_slices.png", "b_slices.png"]
    assert [path.name for path in written] == names
    assert {p.name for p in out.iterdir()} == {*names, "mine.png"}
    assert (out / "mine.png").read_text() == "stays"
    for name in names[1:]:
        assert np.asarray(Image.open(out / name)).std() > 10
    rows = list(csv.DictReader((out / "slices.csv").open()))
    assert [int(row["slice"]) for row in rows] == list(range(16))
    assert [float(row["mean_loss"]) for row in rows] == pytest.approx(LOSSES)
    assert [row["selected"] for row in rows] == ["False"] * 11 + ["True"] * 5
    assert not any("warning" in line for line in said)


def test_only_the_cases_asked_for(write_model, images, tmp_path):
    inspect(write_model(change=with_losses), images, tmp_path / "out", Wanted(cases=["b"]), "cpu")
    assert [p.name for p in (tmp_path / "out").glob("*_slices.png")] == ["b_slices.png"]


def test_a_checkpoint_without_losses_warns(write_model, images, tmp_path):
    said = []
    inspect(write_model(), images, tmp_path / "out", Wanted(cases=["a"]), "cpu", said.append)
    assert "holds no slice losses: the middle slices predict" in said[0]
    rows = list(csv.DictReader((tmp_path / "out" / "slices.csv").open()))
    assert all(math.isnan(float(row["mean_loss"])) for row in rows)
    assert [row["slice"] for row in rows if row["selected"] == "True"] == ["5", "6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("trainer", "wanted", "error", "message"),
    [
        ("nnUNetTrainer", Wanted(), InspectionError, "-tr nnUNetTrainer: its network is not lifted"),
        (None, Wanted(class_name="cel"), InspectionError, "--class cel: .* Its classes are: background, cell$"),
        (None, Wanted(attribution="gradcam", layer="7"), AttributionError, r"--layer 7: .*\n  model\.0"),
        (None, Wanted(layer="model.1"), InspectionError, "only Grad-CAM has a layer. Type: --attribution gradcam"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    write_model, images, tmp_path, trainer, wanted, error, message
):
    model = write_model(**({"trainer": trainer} if trainer else {}))
    with pytest.raises(error, match=message):
        inspect(model, images, tmp_path / "out", wanted, "cpu")
    assert not (tmp_path / "out").exists()


def test_pictures_are_not_written_among_the_images(write_model, images):
    with pytest.raises(InspectionError, match="nnU-Net would take pictures there for images"):
        inspect(write_model(), images, images / ".." / "images", Wanted(), "cpu")
    assert len(list(images.iterdir())) == 2
