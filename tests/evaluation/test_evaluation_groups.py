"""Groups by cases.csv, and the files and messages of the command."""

import csv
import json
import math

import pandas as pd
import pytest
from evaluation_folders import make_folders

from nnunet_ext.cli import main
from nnunet_ext.evaluation.folders import evaluate_folders

TABLE = """case,split,group,structure,modality
case_0,test,001,polyp,
case_1,test,001,polyp,
case_2,test,002,polyp,
case_3,test,002,NA,
case_4,test,003,NA,
"""


@pytest.fixture
def folders(tmp_path):
    r, p = make_folders(tmp_path)
    (tmp_path / "cases.csv").write_text(TABLE)
    return r, p


def test_groups_macro_and_micro(folders):
    found = evaluate_folders(*folders, metrics=["dice", "hd95"], by=["structure", "group"])
    rows = found.per_case
    assert list(rows.columns[:6]) == ["case", "label", "class", "split", "group", "structure"]  # modality is empty
    assert rows.loc[rows["case"] == "case_4", "group"].tolist() == ["003"] * 2
    groups = found.groups.set_index(["by", "group", "class"])
    assert len(groups) == (3 + 4) * 2  # polyp, NA, not known; 001, 002, 003, not known
    polyps = rows[rows["case"].isin(["case_0", "case_1", "case_2"]) & (rows["class"] == "core")]
    row = groups.loc[("structure", "polyp", "core")]
    assert row["n_cases"] == 3
    assert (row["dice_n"], row["dice_undefined"], row["hd95_infinite"]) == (2, 1, 1)
    assert row["dice_mean"] == pytest.approx(polyps["dice"].mean())
    total = polyps[["TP", "FP", "FN"]].sum()
    assert row["dice_pooled"] == pytest.approx(2 * total["TP"] / (2 * total["TP"] + total["FP"] + total["FN"]))
    assert row["hd95_penalised"] == pytest.approx((polyps["hd95"].iloc[2] + math.hypot(40, 48)) / 2)
    (problem,) = found.problems
    assert (problem.code, problem.case) == ("row-missing", "case_5")
    assert found.summary["cases"]["evaluated"] == 6


def test_the_command(folders, tmp_path, capsys):
    r, p = folders
    assert main(["evaluate", "-r", str(r), "-p", str(p), "--by", "structure", "-np", "1"]) == 1
    text = capsys.readouterr().out
    assert "evaluated 6 of 6 cases; 1 problem\n" in text
    assert "[row-missing] a case has no row in the table of cases (1):\n    case_5" in text
    assert "hd95 [px]" in text
    assert "dice: 2 undefined" in text
    out = p / "evaluation"
    assert sorted(path.name for path in out.iterdir()) == [
        *("confusion.csv", "groups.csv", "per_case.csv", "summary.json")
    ]
    summary = json.loads((out / "summary.json").read_text())
    table = pd.read_csv(out / "per_case.csv", dtype={"group": str, "label": str})
    assert summary["classes"]["edge"]["metrics"]["dice"]["mean"] == pytest.approx(
        table.loc[table["class"] == "edge", "dice"].mean()
    )
    with (out / "per_case.csv").open() as file:
        first, second = list(csv.DictReader(file))[:3:2]
    assert (first["hd95"], second["hd95"], second["dice"]) == ("inf", "nan", "nan")
    assert main(["evaluate", "-r", str(r), "-p", str(p), "-np", "1", "--metrics", "dice"]) == 0
    assert not (out / "groups.csv").exists()  # of the evaluation before


def test_the_command_on_nnunets_summary(tmp_path, capsys):
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "polyp": 1}}')
    counts = {"TP": 10, "FP": 5, "FN": 5, "TN": 80, "n_pred": 15, "n_ref": 15, "Dice": 2 / 3, "IoU": 0.5}
    none = {"TP": 0, "FP": 0, "FN": 4, "TN": 96, "n_pred": 0, "n_ref": 4, "Dice": 0, "IoU": 0}
    cases = [{"prediction_file": f"x/{n}.png", "metrics": {"1": c}} for n, c in (("a", counts), ("b", none))]
    folder = tmp_path / "fold_0" / "validation"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
    assert main(["evaluate", "--summary", str(folder / "summary.json")]) == 0
    text = capsys.readouterr().out
    assert "evaluated 2 of 2 cases; 0 problems" in text
    assert "conformity: 1 infinite, left out" in text
    table = pd.read_csv(folder / "evaluation" / "per_case.csv").set_index("case")
    six = ["conformity", "dice", "jaccard", "f_beta03", "mae", "rvd"]  # by hand
    assert table.loc["a", six].tolist() == pytest.approx([0, 2 / 3, 0.5, 13 / 19.5, 0.1, 0])
    assert table.loc["b", six].tolist() == pytest.approx([-math.inf, 0, 0, 0, 0.04, -100])
    assert table.loc["a", "class"] == "polyp"
    assert json.loads((folder / "summary.json").read_text())["metric_per_case"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-r", "x"], "-p PREDICTIONS is missing"),
        (["-r", "x", "-p", "y", "-np", "0"], "at least one process"),
        (["-r", "x", "-p", "y", "--spacing", "0", "1"], "above 0"),
        (["-r", "x", "-p", "y"], "x is no folder"),
        (["--summary", "s.json", "-r", "x"], "leave -r out"),
        (["--summary", "s.json", "--metrics", "hd"], "needs the images"),
        (["--summary", "s.json"], "No summary.json"),
    ],
)
def test_calls_that_say_too_little_or_too_much(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 1
    assert says in capsys.readouterr().err
