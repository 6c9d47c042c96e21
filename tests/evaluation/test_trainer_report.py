"""The report's page and files: their numbers are those of summary.json, and what must be said beside them is said."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_results import DATASET, write_fold
from PIL import Image

from nnunet_ext.evaluation.case_scores import METRICS, case_scores, metric_named, with_metrics
from nnunet_ext.evaluation.collect import CollectError, find_models
from nnunet_ext.evaluation.collected import collect
from nnunet_ext.evaluation.comparison_figures import bar_figure
from nnunet_ext.evaluation.long_table import long_table
from nnunet_ext.evaluation.statistics import ONE_TRAINING
from nnunet_ext.evaluation.trainer_report import write_trainer_report
from nnunet_ext.evaluation.trainer_results import Material, Results
from nnunet_ext.evaluation.trainer_tables import Size, duration, p_value

STOCK, OURS = "nnUNetTrainer_2epochs", "nnUNetTrainerOurs_2epochs"
CASES = [f"c{i}" for i in range(12)]
NASTY = '<script>alert("x")</script>'
MANIFEST = {
    "parameters": 4321,
    "iterations_per_epoch": 7,
    "command": "/a/bin/nnUNetv2_train 901 2d 0",
    "versions": {"torch": "9.9"},
    "device_name": "a GPU",
    "training": {"seconds": 99.0, "peak_memory_bytes": 3 * 2**20, "peak_memory_of": "tensors on the GPU"},
    "validation": {"seconds_per_case": 0.25, "peak_memory_bytes": 2**20, "peak_memory_of": "tensors on the GPU"},
}


def counts(rng):
    return tuple(int(n) for n in rng.integers(20, 60, 3))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(0)
    for fold in range(3):
        cases = CASES[4 * fold : 4 * fold + 4]
        write_fold(place, STOCK, fold, {c: counts(rng) for c in cases})
        quality = {c: 0.5 + 0.04 * CASES.index(c) for c in cases}
        write_fold(place, OURS, fold, {c: counts(rng) for c in cases}, manifest=MANIFEST, quality=quality, seconds=6.0)
    return place


def material_of(place, **options):
    found = collect([find_models(place / DATASET)], "901")
    runs = sorted(found.runs, key=lambda run: run.name != STOCK)
    material = {"baseline": STOCK, "table": with_metrics(long_table(runs)), "classes": {"1": "polyp"}}
    return Material(dataset=DATASET, runs=runs, **{**material, **options})


def dices(place, trainer, score="Dice"):
    """A trainer's scores, straight from its summaries."""
    files = sorted((place / DATASET).glob(f"{trainer}__*/fold_*/validation/summary.json"))
    folds = [[case["metrics"]["1"][score] for case in json.loads(f.read_text())["metric_per_case"]] for f in files]
    return folds


def cells(page, heading, index=0):
    """The rows of a section's table as dicts."""
    section = page.split(f"<h2>{heading}</h2>")[1].split("<h2>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section)
    head, *body = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [dict(zip(head, row, strict=True)) for row in body]


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    overlay = (f"{NASTY}: worst", Image.new("RGB", (30, 20)))
    options = {
        "overlays": [overlay],
        "sizes": {OURS: Size(1234567, 8.5e9, "64 x 64")},
        "warnings": [f"fold 9 is missing {NASTY}"],
        "about": {"Command": "nnunet_ext report -d 901", "What ran": "a\nb\n"},
        "by": ("structure", {case: "cell" if i % 2 else "polyp" for i, case in enumerate(CASES)}),
    }
    page = write_trainer_report(out, material_of(results, **options))
    return out, page.read_text(encoding="utf-8")


def test_the_scores_are_those_of_summary_json(results, written):
    rows = {row["trainer"]: row for row in cells(written[1], "Scores")}
    assert list(rows) == [STOCK, OURS]
    for trainer, row in rows.items():
        folds = dices(results, trainer)
        assert row["Dice, mean"] == f"{np.mean(folds):.3f}"
        assert row["sd over cases"] == f"{np.std(np.ravel(folds), ddof=1):.3f}"
        assert row["sd over folds"] == f"{np.std(np.mean(folds, axis=1), ddof=1):.3f}"
        assert row["IoU"] == f"{np.mean(dices(results, trainer, 'IoU')):.3f}"
        low, high = map(float, row["95 % interval"].split(" to "))
        assert low < np.mean(folds) < high
        assert (row["cases"], row["undefined"]) == ("12", "0")


def test_the_difference_is_that_of_the_means_and_its_limits_are_said(results, written):
    (row,) = cells(written[1], f"Compared with {STOCK}")
    assert row["trainer"] == OURS
    difference = np.array(dices(results, OURS)) - np.array(dices(results, STOCK))
    assert row["difference in Dice"] == f"{difference.mean():+.3f}"
    better = (difference > 0).sum()
    assert row["better / equal / worse cases"] == f"{better} / 0 / {12 - better}"
    assert ONE_TRAINING in written[1]
    assert ONE_TRAINING in (written[0] / "report.md").read_text()


def test_costs_come_from_logs_manifests_and_networks_and_dashes_from_nowhere(written):
    stock, ours = cells(written[1], "Cost")
    assert (ours["parameters"], ours["GMACs a patch"], ours["patch"]) == ("1,234,567", "8.50", "64 x 64")
    assert (ours["epochs"], ours["iterations an epoch"], ours["training a fold"]) == ("2", "7", "12.0 s")
    assert (stock["training a fold"], stock["epochs"]) == ("6.0 s", "2")
    assert stock["validation, s/case"] == ours["validation, s/case"] == "2.50"  # 10 s, 4 cases
    assert ours["peak memory, training"] == "3 MiB (tensors on the GPU)"
    missing = ("parameters", "GMACs a patch", "patch", "iterations an epoch", "peak memory, training")
    assert {stock[name] for name in missing} == {"-"}


def test_the_page_needs_nothing_but_itself_and_escapes_everything(written):
    out, page = written
    assert sorted(p.name for p in out.iterdir()) == ["comparisons.csv", "report.csv", "report.html", "report.md"]
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) >= 7  # cases, folds, scatter, structures, overlay, curves, quality
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 3  # the warning; the picture's caption and its alternative text


def test_what_was_left_out_stands_before_the_numbers(written):
    page = written[1]
    assert page.index("fold 9 is missing") < page.index("<h2>Scores</h2>")
    assert "fold 9 is missing" in (written[0] / "report.md").read_text()


def test_classes_structures_and_quality_scores(results, written):
    assert {row["class"] for row in cells(written[1], "Classes")} == {"polyp"}
    rows = cells(written[1], "By structure")
    assert [(r["structure"], r["trainer"]) for r in rows] == [(s, t) for s in ("cell", "polyp") for t in (STOCK, OURS)]
    assert rows[1]["Dice, mean"] == f"{np.mean(np.ravel(dices(results, OURS))[1::2]):.3f}"
    (row,) = cells(written[1], "Quality scores beside true Dice")
    expected = np.corrcoef(np.arange(12), np.ravel(dices(results, OURS)))[0, 1]
    assert (row["trainer"], row["cases"]) == (OURS, "12")
    assert row["Pearson (95 % interval)"].startswith(f"{expected:.2f} (")


def test_the_files_can_be_gone_on_with(results, written):
    table = pd.read_csv(written[0] / "report.csv")
    assert len(table) == 24
    ours = table[table["trainer"] == OURS]
    assert ours["Dice"].tolist() == pytest.approx(np.ravel(dices(results, OURS)))
    assert {"fold", "repeat", "case", "group", "label", "TP", *METRICS, "conformity"} <= set(table.columns)
    compared = pd.read_csv(written[0] / "comparisons.csv")
    assert compared[["a", "b"]].values.tolist() == [[OURS, STOCK]]
    lines = (written[0] / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1


def test_a_single_trainer_is_described_and_not_compared(results, tmp_path):
    whole = material_of(results)
    runs = [run for run in whole.runs if run.name == OURS]
    table = whole.table[whole.table["trainer"] == OURS]
    text = write_trainer_report(tmp_path, Material(DATASET, runs, table, OURS)).read_text()
    assert "One trainer only" in text
    assert pd.read_csv(tmp_path / "comparisons.csv").empty


def write_two(place, ours, theirs):
    for trainer, cases in ((OURS, ours), (STOCK, theirs)):
        write_fold(place, trainer, 0, cases)
    return Results(material_of(place))


def test_undefined_cases_are_counted_named_and_left_out_of_both(tmp_path):
    good = {"a": (8, 2, 2), "b": (6, 1, 1), "c": (5, 1, 0)}
    found = write_two(tmp_path, {**good, "empty": (0, 0, 0)}, {**good, "empty": (0, 3, 0)})
    notes = " ".join(found.notes)
    assert f"Dice is undefined (0 / 0) in 1 case (empty) of {OURS}" in notes
    assert found.scores.set_index("trainer")["undefined"].to_dict() == {STOCK: 0, OURS: 1}
    assert found.compared["left_out"].tolist() == [1]
    assert found.compared["difference"].tolist() == [0]


def test_means_over_different_classes_are_named(tmp_path):
    both = {"1": (8, 2, 2), "2": (3, 1, 1)}
    found = write_two(tmp_path, {"a": both, "b": both | {"2": (0, 0, 0)}}, {"a": both, "b": both | {"2": (0, 4, 0)}})
    (note,) = [n for n in found.notes if "for some trainers only" in n]
    assert note.startswith("1 of 4 classes of cases")
    assert note.endswith(f"Not scored are {STOCK}: 0; {OURS}: 1.")


def test_different_budgets_are_named(results, tmp_path):
    write_fold(tmp_path, STOCK, 0, {"a": (8, 2, 2), "b": (8, 2, 1)}, epochs=3)
    write_fold(tmp_path, OURS, 0, {"a": (8, 2, 2), "b": (8, 2, 1)}, epochs=2)
    notes = Results(material_of(tmp_path)).notes
    assert notes == [f"Trainings differ in epochs: 3 ({STOCK}), 2 ({OURS})."]


def test_lower_is_better_of_errors(tmp_path):
    write_fold(tmp_path, STOCK, 0, {"a": (8, 2, 2), "b": (8, 2, 1)})
    write_fold(tmp_path, OURS, 0, {"a": (8, 1, 1), "b": (8, 1, 1)})
    found = Results(material_of(tmp_path, metric="MAE"))
    assert found.compared["difference"].item() < 0
    assert found.compared["better"].item() == 2


def test_curves_are_means_of_folds(results):
    means, bands = Results(material_of(results)).curves
    assert means[OURS] == pytest.approx([0.1, 0.2])
    assert bands[OURS][0] == pytest.approx([0.1, 0.2])


def test_metrics_are_known_by_any_of_their_names():
    assert [metric_named(n) for n in ("dice", "IOU", "jaccard", "mae", "F0.3")] == ["Dice", "IoU", "IoU", "MAE", "F0.3"]
    with pytest.raises(CollectError, match=r"--metric hd95: not known.*Dice, IoU"):
        metric_named("hd95")


def test_scores_of_a_case_are_means_over_its_defined_classes():
    row = {"trainer": "t", "fold": "all", "repeat": 0, "case": "a", "group": "a"}
    table = pd.DataFrame([row | {"Dice": 0.5}, row | {"Dice": np.nan}, row | {"Dice": 0.9, "case": "b", "group": "b"}])
    found = case_scores(table)
    assert found["score"].tolist() == [0.5, 0.9]
    assert found["fold"].unique().tolist() == [-1]


def test_many_bars_are_cut_to_the_largest_groups():
    groups = [f"g{i:02d}" for i in range(40)]
    table = pd.DataFrame({"by": groups, "trainer": "t", "v": 0.5, "cases": range(40)})
    few = pd.DataFrame({"by": groups[:20], "trainer": "t", "v": 0.5, "cases": range(20)})
    assert bar_figure(table, "by", "v").size == bar_figure(few, "by", "v").size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (59, "59.0 s"), (90, "1.5 min"), (7200, "2.0 h"), (2e5, "2.3 d"), (np.nan, "-")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("p", "text"), [(1e-9, "< 0.001"), (0.0123, "0.012"), (0.456, "0.46"), (1, "1.00"), (np.nan, "-")]
)
def test_p_values(p, text):
    assert p_value(p) == text
