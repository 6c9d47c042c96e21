import re

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image
from selecting import Model, SelectingToy

from nnunet_ext.cli import main
from nnunet_ext.inference.channel_case import view_case
from nnunet_ext.inference.inspect_ife import Wanted, inspect, prepare
from nnunet_ext.inference.inspection import InspectionError

NAMES = ["enhancement.selections.0", "enhancement.selections.1"]
STATISTICS = ["channels.csv", "frequencies.csv", "frequencies.png"]
UNKNOWN = {"foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(3)}}


@pytest.fixture
def model(predictor_of):
    """Returns `make(network, patch) -> Model`."""

    def make(network=None, patch=(16, 16)):
        network = network or SelectingToy(len(patch))
        axes = tuple(range(len(patch)))
        predictor = predictor_of([network], patch, "binary", stock=True, plans=UNKNOWN, mirror_axes=axes)
        if len(patch) == 3:
            predictor.dataset_json["file_ending"] = ".nii.gz"
        return Model(predictor)

    return make


@pytest.fixture
def images(tmp_path):
    """Two images, of six windows and of one with padding."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("a", (24, 32, 3)), ("b", (10, 16, 3))):
        values = np.random.default_rng(ord(name)).integers(1, 255, size, dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{name}_0000.png")
    return folder


def test_a_picture_a_case_and_what_they_say_together(model, images, tmp_path):
    out, said = tmp_path / "out", []
    out.mkdir()
    (out / "mine.png").write_text("stays")
    (out / "a_channels.png").write_text("is replaced")
    written = inspect(model(), images, out, Wanted(), "cpu", said.append)
    assert [path.name for path in written] == ["a_channels.png", "b_channels.png", *STATISTICS]
    assert {p.name for p in out.iterdir()} == {"mine.png", *(path.name for path in written)}
    assert (out / "mine.png").read_text() == "stays"
    for path in written:
        if path.suffix == ".png":
            assert np.asarray(Image.open(path).convert("L")).std() > 10
    assert said[:2] == ["case 1 of 2: a", "case 2 of 2: b"]
    assert [line.split(":")[0] for line in said[2:4]] == [
        f"{n} (stage {s})" for n, s in zip(NAMES, (1, 2), strict=True)
    ]

    check_channels(pd.read_csv(out / "channels.csv"))
    check_frequencies(pd.read_csv(out / "frequencies.csv"), pd.read_csv(out / "channels.csv"))


def check_channels(rows):
    assert list(rows) == ["case", "selection", "stage", "channel", "score", "chosen", "windows", "shown_score", "rank"]
    assert len(rows) == 2 * (8 + 6)
    assert rows.groupby("case").windows.unique().map(list).to_dict() == {"a": [6], "b": [1]}
    shares = rows.groupby(["case", "selection"]).chosen.sum()
    assert shares.xs(NAMES[0], level=1).tolist() == pytest.approx([4, 4], abs=1e-4)
    assert shares.xs(NAMES[1], level=1).tolist() == pytest.approx([3, 3], abs=1e-4)
    for (_, name), part in rows.groupby(["case", "selection"]):
        assert sorted(part["rank"]) == list(range(1, len(part) + 1))
        assert part.sort_values("rank").shown_score.is_monotonic_decreasing
        assert set(part.stage) == {1 if name == NAMES[0] else 2}
    one = rows[rows.case == "b"]  # of one window, the mean is that window's
    np.testing.assert_allclose(one.score, one.shown_score)
    assert ((one["rank"] <= one.selection.map({NAMES[0]: 4, NAMES[1]: 3})) == (one.chosen == 1)).all()


def check_frequencies(found, rows):
    assert list(found) == ["selection", "stage", "channel", "chosen", "lowest", "highest", "expected", "kind"]
    by_case = rows.pivot(index=["selection", "channel"], columns="case", values="chosen")
    found = found.set_index(["selection", "channel"]).loc[by_case.index]
    np.testing.assert_allclose(found.chosen, (6 * by_case.a + by_case.b) / 7, atol=1e-5)
    np.testing.assert_allclose(found.lowest, by_case.min(axis=1), atol=1e-5)
    np.testing.assert_allclose(found.highest, by_case.max(axis=1), atol=1e-5)
    assert (found.expected == 0.5).all()
    kinds = ["always" if c == 1 else "never" if c == 0 else "depends" for c in found.chosen]
    assert found.kind.tolist() == kinds


def test_what_is_shown_of_a_case_fits_together(model, images):
    subject = prepare(model(), Wanted(n_channels=2), "cpu")
    statistics, view = view_case(subject, "b", [str(images / "b_0000.png")])
    assert view.where == "the whole image"
    assert view.image.shape == (10, 16, 3)  # without the padding to 16 x 16
    assert view.predicted.shape == (10, 16)
    assert view.limits == (0, 16, 13, 3)
    for numbers, selection in zip(statistics.selections, view.selections, strict=True):
        k = numbers.selection.module.k
        scores = numbers.shown_scores
        order = sorted(range(len(scores)), key=lambda c: -scores[c])
        assert [p.channel for p in selection.chosen] == order[:2]
        assert [p.channel for p in selection.others] == order[k:][::-1][:2]
        assert [p.score for p in selection.chosen] == [scores[c] for c in order[:2]]
        assert selection.curvature.channel == order[0]
        assert "by curvature" in selection.title
    first = view.selections[0].chosen[0]
    assert first.values.shape == (6, 8)  # cells 1 to 6 of 8 overlap rows 3 to 12
    assert first.extent == (0, 16, 14, 2)


def test_the_image_is_that_of_the_shown_window(model, images):
    """A network that predicts what is bright in the first colour."""

    class Bright(SelectingToy):
        def forward(self, x):
            super().forward(x)
            return torch.cat([torch.zeros_like(x[:, :1]), x[:, :1] - 1], 1)

    values = np.full((24, 32, 3), 20, np.uint8)
    values[10:20, 18:30] = 200
    values[::7, ::5] = 90
    Image.fromarray(values).save(images / "c_0000.png")
    subject = prepare(model(Bright()), Wanted(), "cpu")
    _, view = view_case(subject, "c", [str(images / "c_0000.png")])
    assert view.where == "rows 8 to 23, columns 16 to 31, window 6 of 6 (most predicted foreground)"
    shown = values[8:24, 16:32, 0]
    assert np.corrcoef(view.image[..., 0].ravel(), shown.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(view.predicted, shown == 200)


@pytest.mark.parametrize("score", ["entropy", "random"])
def test_other_scores_have_no_map_of_curvature(model, images, tmp_path, score):
    said = []
    made = model(SelectingToy(score=score))
    inspect(made, images, tmp_path / "out", Wanted(["b"], 100), "cpu", said.append)
    _, view = view_case(prepare(made, Wanted(n_channels=100)), "b", [str(images / "b_0000.png")])
    assert [len(s.chosen) for s in view.selections] == [len(s.others) for s in view.selections] == [4, 3]
    assert {s.curvature for s in view.selections} == {None}
    warned = [line for line in said if "its scores have no meaning" in line]
    assert len(warned) == (2 if score == "random" else 0)
    if score == "random":  # one draw for all windows
        kinds = pd.read_csv(tmp_path / "out" / "frequencies.csv").kind
        assert kinds.value_counts().to_dict() == {"always": 7, "never": 7}


def test_every_channel_can_be_chosen(model, images, tmp_path):
    network = SelectingToy()
    for selection in network.enhancement.selections:
        selection.k = selection.channels
    network.out = torch.nn.ModuleList([torch.nn.Conv2d(16, 2, 1), torch.nn.Conv2d(12, 2, 1)])
    inspect(model(network), images, tmp_path / "out", Wanted(["b"]), "cpu")
    assert set(pd.read_csv(tmp_path / "out" / "frequencies.csv").kind) == {"always"}


def test_a_plane_of_a_volume_is_shown(model, tmp_path):
    class Lower(SelectingToy):
        def forward(self, x):
            logits = super().forward(x) * 1e-3
            logits[:, 1] -= 4
            logits[:, 1, 5, 2:9] += 9  # foreground in one plane of every window
            return logits

    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).normal(size=(8, 16, 12)).astype(np.float32) + np.arange(8)[:, None, None]
    for channel in range(3):
        file = tmp_path / "images" / f"v_000{channel}.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(values), str(file))
    made = model(Lower(3), (8, 16, 16))
    said = []
    inspect(made, tmp_path / "images", tmp_path / "out", Wanted(), "cpu", said.append)
    assert any("of one window alone" in line for line in said)
    files = [str(f) for f in sorted((tmp_path / "images").iterdir())]
    _, view = view_case(prepare(made, Wanted()), "v", files)
    assert (view.case, view.where) == ("v", "plane 5 of 8")
    assert view.predicted.all(1).tolist() == [2 <= row < 9 for row in range(16)]
    grey = np.moveaxis(view.image, -1, 0)[0]
    assert np.corrcoef(grey.ravel(), values[5].ravel())[0, 1] > 0.98
    assert view.selections[0].chosen[0].values.shape == (8, 6)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(Wanted(n_channels=0), "--channels 0: how many maps to show, 1 or more"), (Wanted(["z"]), "--cases z: not in")],
)
def test_bad_input_is_refused_before_anything_is_written(model, images, tmp_path, wanted, message):
    with pytest.raises((InspectionError, ValueError), match=message):
        inspect(model(), images, tmp_path / "out", wanted, "cpu")
    assert not (tmp_path / "out").exists()


def test_a_network_without_selections_is_refused(write_model, images, tmp_path):
    with pytest.raises(InspectionError, match=r"-tr nnUNetTrainer: its network selects no channels.*IFECurvature"):
        inspect(write_model("nnUNetTrainer"), images, tmp_path / "out", Wanted(), "cpu")


@pytest.mark.parametrize("score", ["Curvature", "Random"])
def test_the_command_takes_our_trainers(write_model, images, tmp_path, capsys, score):
    trainer = f"nnUNetTrainerExt_IFE{score}S0R50S1R75"
    model = write_model(trainer, patch=(16, 16))
    words = [
        "-d",
        model.dataset,
        "-c",
        "2d",
        "-tr",
        trainer,
        "-i",
        str(images),
        "-device",
        "cpu",
        "--cases",
        "b",
        "--channels",
        "1",
    ]
    assert main(["inspect", "ife", *words, "-f", "0", "-o", str(tmp_path / "out")]) == 0
    assert ("its scores have no meaning" in capsys.readouterr().out) == (score == "Random")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"b_channels.png", *STATISTICS}
    rows = pd.read_csv(tmp_path / "out" / "channels.csv")
    assert rows.groupby("selection").stage.unique().map(list).tolist() == [[0], [1]]
    assert rows.groupby("selection").chosen.sum().tolist() == [2, 4]  # floor(0.5 * 4), floor(0.75 * 6)


def test_the_command_takes_a_fold_that_is_there(write_model, images, tmp_path, capsys):
    model = write_model("nnUNetTrainer")
    words = ["-d", model.dataset, "-c", "2d", "-tr", "nnUNetTrainer", "-i", str(images), "-o", str(tmp_path / "out")]
    assert main(["inspect", "ife", *words, "-f", "3", "-device", "cpu"]) == 1
    assert re.search(r"nnunet_ext: -f 3: .* has no such fold. Its folds are: 0.", capsys.readouterr().err)


def test_the_second_of_a_cascade_is_refused(model, images, tmp_path):
    made = model()
    made.loaded.configuration_manager.configuration["previous_stage"] = "3d_lowres"
    with pytest.raises(InspectionError, match=r"takes predictions of 3d_lowres beside the images.*Type: -c 3d_lowres"):
        inspect(made, images, tmp_path / "out", Wanted(), "cpu")


def test_pictures_are_not_written_among_the_images(model, images):
    with pytest.raises(InspectionError, match="nnU-Net would take pictures there for images"):
        inspect(model(), images, images / ".." / "images", Wanted(), "cpu")
    assert len(list(images.iterdir())) == 2
