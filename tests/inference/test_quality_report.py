"""quality.csv, the summary, the pictures, and what is said where there is no quality."""

import csv

import numpy as np
import pytest
import torch
from inference.conftest import LABELS
from PIL import Image
from support import make_dataset_json, make_plans

from nnunet_ext.inference.pictures import uncertainty
from nnunet_ext.inference.report import QualityReport
from nnunet_ext.inference.slices import SlicedPrediction
from nnunet_ext.inference.table import QualityError, QualityTable, Row
from nnunet_ext.inference.trained_model import foreground_names
from nnunet_ext.inference.validation import scored_validation


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def sliced(margins, sigmoid=False, n_selected=2):
    """A case of `(F, D, *S)` margins, predicted by the mean of its first slices."""
    found = SlicedPrediction(sigmoid, n_selected)
    found.add(margins, torch.ones(margins.shape[2:]), range(margins.shape[1]))
    found.prediction = margins[:, :n_selected].mean(1) > 0
    return found


def predict(make_predictors, folder, names=("case",), **options):
    said = []
    report = QualityReport(say=said.append, **options)
    _, ours, _, _ = make_predictors(listener=report, kind="three")
    lists = [[f"{name}_0000.png"] for name in names]
    ours._manage_input_and_output_lists(lists, str(folder), overwrite=True)
    for i, _ in enumerate(names):
        generator = torch.Generator().manual_seed(i)
        ours.predict_logits_from_preprocessed_data(torch.randn(3, 1, 16, 16, generator=generator))
    report.finish()
    return said


def test_the_table_has_a_row_for_the_case_and_each_class(make_predictors, tmp_path):
    said = predict(make_predictors, tmp_path, names=("x", "y"))
    found = rows(tmp_path / "quality.csv")
    assert [(r["case"], r["class"]) for r in found] == [(c, k) for c in "xy" for k in ("all", "a", "c", "b")]
    assert all(0 <= float(r["quality"]) <= 1 and r["review"] == "" for r in found)
    for case in "xy":
        voxels = [int(r["voxels"]) for r in found if r["case"] == case]
        assert voxels[0] == sum(voxels[1:]) > 0
    totals = {r["case"]: f"{float(r['quality']):.4f}" for r in found if r["class"] == "all"}
    listed = [line.split()[:2] for line in said if line.startswith("  ")]
    assert listed == sorted([q, c] for c, q in totals.items())


def test_low_quality_is_marked_and_counted(make_predictors, tmp_path):
    said = predict(make_predictors, tmp_path, names=("x",), min_quality=1.0)
    assert {r["review"] for r in rows(tmp_path / "quality.csv")} <= {"true", "false"}
    assert rows(tmp_path / "quality.csv")[0]["review"] == "true"
    assert said[-1] == "1 of 1 cases are below 1: look at these"
    said = predict(make_predictors, tmp_path, names=("x",), min_quality=0.0)
    assert rows(tmp_path / "quality.csv")[0]["review"] == "false"
    assert said[-1].startswith("0 of 1 cases")


def test_pictures_go_to_a_folder_of_their_own(make_predictors, tmp_path):
    predict(make_predictors, tmp_path, pictures=True)
    assert list(tmp_path.glob("*.png")) == []
    names = sorted(p.name for p in (tmp_path / "quality").iterdir())
    assert names == ["case_slices.png", "case_uncertainty.png"]
    for name in names:
        pixels = np.asarray(Image.open(tmp_path / "quality" / name))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


def test_uncertainty_is_the_share_of_slices_with_another_label():
    maps = torch.zeros(2, 4, 1, 1, 3, dtype=torch.bool)
    maps[0, 0, ..., 0] = maps[0, :, ..., 1] = True
    maps[1, 3, ..., 0] = True
    prediction = torch.zeros(2, 1, 1, 3, dtype=torch.bool)
    prediction[0, ..., 1] = True
    assert uncertainty(maps, prediction).flatten().tolist() == [0.5, 0, 0]


def test_a_volume_is_drawn_at_its_least_certain_plane(tmp_path, monkeypatch):
    from nnunet_ext.inference import pictures

    margins = torch.ones(1, 4, 3, 8, 8)
    margins[:, 2:, 1] = -1
    titles = []
    monkeypatch.setattr(pictures, "_finish", lambda figure, axes, title, file: titles.append(title))
    pictures.write(tmp_path, "scan", sliced(margins), torch.randn(1, 3, 8, 8))
    assert all(title.startswith("scan, plane 1") for title in titles)


def test_earlier_rows_are_kept_on_demand_and_judged_anew(tmp_path):
    path = tmp_path / "quality.csv"
    QualityTable(path).add("old, with comma", [Row("all", 0.5, 3), Row("a", float("nan"), 0)])
    kept = QualityTable(path, min_quality=0.6, keep=True)
    kept.add("new", [Row("all", 0.7, 4)])
    found = rows(path)
    assert [(r["case"], r["quality"], r["review"]) for r in found] == [
        ("old, with comma", "0.500000", "true"), ("old, with comma", "", "false"), ("new", "0.700000", "false"),
    ]  # fmt: skip
    assert [case for case, _ in kept.totals()] == ["old, with comma", "new"]
    assert [p.name for p in tmp_path.iterdir()] == ["quality.csv"]


def test_a_foreign_table_is_not_overwritten(tmp_path):
    path = tmp_path / "quality.csv"
    for content in ("name,score\nx,1\n", "name,score\n", ""):
        path.write_text(content)
        for keep in (True, False):
            with pytest.raises(QualityError, match=r"quality\.csv is not a table of qualities.*Move it away"):
                QualityTable(path, keep=keep)
        assert path.read_text() == content


def test_an_earlier_table_stays_until_a_case_has_a_new_score(tmp_path):
    path = tmp_path / "quality.csv"
    table = QualityTable(path)
    assert not path.exists()
    for case in "xyz":
        table.add(case, [Row("all", 0.5, 3)])
    before = path.read_text()
    again = QualityTable(path)
    assert path.read_text() == before
    assert again.totals() == []
    again.add("x", [Row("all", 0.7, 4)])
    again.drop("y")
    assert [(r["case"], r["quality"]) for r in rows(path)] == [("z", "0.500000"), ("x", "0.700000")]
    assert again.totals() == [("x", Row("all", 0.7, 4))]


def test_a_foreign_table_is_refused_before_work_and_stays(make_predictors, tmp_path):
    (tmp_path / "quality.csv").write_text("name,score\nx,1\n")
    with pytest.raises(QualityError, match="Move it away"):
        predict(make_predictors, tmp_path)
    assert (tmp_path / "quality.csv").read_text() == "name,score\nx,1\n"


def test_a_case_that_cannot_be_scored_is_named_and_the_next_one_scored(make_predictors, tmp_path, monkeypatch):
    scored = SlicedPrediction.agreement

    def fail_once(sliced, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        return scored(sliced)

    QualityTable(tmp_path / "quality.csv").add("x", [Row("all", 0.5, 3)])
    monkeypatch.setattr(SlicedPrediction, "agreement", fail_once)
    said = predict(make_predictors, tmp_path, names=("x", "y"))
    why = "OutOfMemoryError: CUDA out of memory."
    assert said[0] == f"warning: no quality of x ({why}); its prediction is not affected"
    assert "warning: 1 cases have no quality: x" in said
    assert {r["case"] for r in rows(tmp_path / "quality.csv")} == {"y"}


def test_pictures_that_cannot_be_drawn_leave_the_score(make_predictors, tmp_path, monkeypatch):
    from nnunet_ext.inference import pictures

    def fail(*_):
        raise ValueError("no fonts")

    monkeypatch.setattr(pictures, "write", fail)
    said = predict(make_predictors, tmp_path, pictures=True)
    assert said[0] == "warning: no pictures of case (ValueError: no fonts)"
    assert {r["case"] for r in rows(tmp_path / "quality.csv")} == {"case"}


def test_an_interrupted_write_leaves_the_table_before(tmp_path, monkeypatch):
    table = QualityTable(tmp_path / "quality.csv")
    table.add("x", [Row("all", 0.5, 3)])
    before = table.path.read_text()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        table.add("y", [Row("all", 0.6, 3)])
    assert table.path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["quality.csv"]


def test_parts_have_files_of_their_own(make_predictors, tmp_path):
    report = QualityReport()
    make_predictors(listener=report)
    report.folder(str(tmp_path), keep=False, part=1, n_parts=3)
    report.table.add("x", [Row("all", 0.5, 3)])
    assert [p.name for p in tmp_path.iterdir()] == ["quality_part1.csv"]


class Host:
    """Stands for nnU-Net's module."""

    nnUNetPredictor = None  # noqa: N815


def validate(make_predictors, folder, written, world=2, quality=0.5, cases=("a", "b", "c")):
    """Rank 0's validation: its predictor writes its own part while `written` says what other ranks write."""
    said = []
    with scored_validation(Host, str(folder), cases, 0, world, said.append):
        report = Host.nnUNetPredictor.listeners[0]
        make_predictors(listener=report)
        for rank, names in written.items():
            table = report.table if rank == 0 else QualityTable(folder / f"quality_rank{rank}.csv")
            for name in names:
                table.add(name, [Row("all", quality, rank), Row("x", quality, rank)])
    return said


def test_the_ranks_tables_become_one(make_predictors, tmp_path):
    (tmp_path / "quality_rank7.csv").write_text("of another time")
    QualityTable(tmp_path / "quality_rank0.csv").add("of another time", [Row("all", 1, 1)])
    assert validate(make_predictors, tmp_path, {0: "ac", 1: "b"}) == []
    assert [(r["case"], r["voxels"]) for r in rows(tmp_path / "quality.csv")] == [
        ("a", "0"), ("a", "0"), ("b", "1"), ("b", "1"), ("c", "0"), ("c", "0"),
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["quality.csv"]


def test_a_rank_without_a_table_is_mentioned(make_predictors, tmp_path):
    said = validate(make_predictors, tmp_path, {0: "ac"})
    assert said[0] == "warning: process 1 wrote no quality_rank1.csv: its cases have no quality"
    assert said[1] == "warning: 1 of 3 cases have no quality: b"
    assert {r["case"] for r in rows(tmp_path / "quality.csv")} == {"a", "c"}


@pytest.mark.parametrize(("world", "written"), [(1, {0: "abc"}), (2, {0: "ac", 1: "b"})])
def test_validation_says_when_the_scores_tell_nothing(make_predictors, tmp_path, world, written):
    (line,) = validate(make_predictors, tmp_path, written, world, quality=1)
    assert line.startswith("warning: the quality of every case is 1")


@pytest.mark.parametrize("world", [1, 2])
def test_a_foreign_table_does_not_stop_a_validation(make_predictors, tmp_path, world):
    (tmp_path / "quality.csv").write_text("name,score\n")
    said = validate(make_predictors, tmp_path, {0: "ac", 1: "b"} if world == 2 else {}, world)
    assert len(said) == 1
    assert "is not a table of qualities" in said[0]
    assert (tmp_path / "quality.csv").read_text() == "name,score\n"


@pytest.mark.parametrize(
    ("options", "flag"), [({"min_quality": 0.5}, "--min-quality"), ({"pictures": True}, "--pictu")]
)
def test_quality_of_another_network_is_refused_before_work(make_predictors, options, flag):
    with pytest.raises(QualityError, match=rf"{flag}.* nnUNetTrainerExt_Plain_UNet has none.*SLUNet"):
        make_predictors(trainer="nnUNetTrainerExt_Plain_UNet", listener=QualityReport(**options))


def test_without_a_wish_for_quality_another_network_predicts_with_a_line(make_predictors, tmp_path):
    said = []
    report = QualityReport(say=said.append)
    make_predictors(trainer="nnUNetTrainerExt_Plain_UNet", listener=report)
    assert len(said) == 1
    assert said[0].startswith("no quality.csv: a quality score needs a lifted network")
    (tmp_path / "quality.csv").write_text("old")
    report.folder(str(tmp_path), keep=False)
    assert said[1] == f"{tmp_path / 'quality.csv'} is of an earlier prediction"
    report.finish()
    assert len(said) == 2


def manually(ours, network):
    ours.manual_initialization(network, ours.plans_manager, ours.configuration_manager, [network.state_dict()],
                               ours.dataset_json, ours.trainer_name, None)  # fmt: skip


def test_all_slices_selected_leaves_nothing_to_compare(make_predictors):
    said = []
    _, ours, _, (network,) = make_predictors(listener=QualityReport(say=said.append))
    network.selection.selected = torch.arange(16)
    manually(ours, network)
    assert "selects all 16 of its 16 slices" in said[-1]
    ours.listeners[0].min_quality = 0.5
    with pytest.raises(QualityError, match="selects all 16"):
        manually(ours, network)


def test_a_checkpoint_without_statistics_is_mentioned(make_predictors):
    said = []
    _, ours, _, (network,) = make_predictors(listener=QualityReport(say=said.append))
    assert said == []
    network.selection.mean_loss.fill_(float("nan"))
    manually(ours, network)
    assert said[-1].startswith("warning: 1 of 1 checkpoints hold no slice statistics")
    assert "middle slices" in said[-1]


def test_slices_that_never_differ_are_mentioned(make_predictors, tmp_path):
    said = []
    report = QualityReport(say=said.append, output=str(tmp_path))
    make_predictors(listener=report)
    report.case("x", sliced(-torch.ones(1, 4, 1, 3, 3)), torch.zeros(3, 1, 3, 3))
    report.finish()
    assert "the quality of every case is 1" in said[-1]
    assert "no foreground at all" in said[-1]
    half = torch.ones(1, 4, 1, 3, 3)
    half[:, 3] = -1
    report.case("y", sliced(half), torch.zeros(3, 1, 3, 3))
    report.finish()
    assert "every case is 1" not in said[-1]
    assert rows(tmp_path / "quality.csv")[2]["quality"] == "0.500000"


def test_long_summaries_are_cut(tmp_path, make_predictors):
    said = []
    report = QualityReport(say=said.append, output=str(tmp_path))
    make_predictors(listener=report)
    for i in range(30):
        report.table.add(f"case{i}", [Row("all", (i * 7 % 30) / 40, 1)])
    said.clear()
    report.finish()
    assert len(said) == 12
    assert said[1].split() == ["0.0000", "case0"]
    assert said[-1].startswith("the other 20 and every class: ")


@pytest.mark.parametrize(("kind", "names"), [("three", ["a", "c", "b"]), ("regions", ["whole", "core"])])
def test_classes_are_named_as_in_dataset_json(kind, names):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    content = make_dataset_json({**LABELS[kind], "ignore": 4 if kind == "three" else 3})
    manager = PlansManager(make_plans([16, 16])).get_label_manager(content)
    assert foreground_names(content["labels"], manager.has_regions) == names
