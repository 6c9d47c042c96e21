"""`nnunet_ext report` on made folders: from results to a page, and what it says when it cannot."""

import json

import numpy as np
import pytest
from made_results import DATASET, write_fold, write_pictures
from support import make_dataset_json, make_plans

from nnunet_ext import cli
from nnunet_ext.run.report_request import Request, typed

STOCK, OURS = "nnUNetTrainer", "nnUNetTrainerExt_Plain_UNet_2epochs"
FOLDS = {0: ["a", "b", "c"], 1: ["d", "e", "f"]}
COUNTS = {STOCK: (56, 8, 8), OURS: (60, 4, 4)}


@pytest.fixture
def place(nnunet_folders):
    """Two trainers, two folds, six images with predictions, plans that can be built, splits."""
    results = nnunet_folders / "nnUNet_results"
    for trainer, counts in COUNTS.items():
        for fold, cases in FOLDS.items():
            scores = {case: (counts[0] - i - 2 * fold, counts[1], counts[2] + i) for i, case in enumerate(cases)}
            write_fold(results, trainer, fold, scores)
        model = results / DATASET / f"{trainer}__nnUNetPlans__2d"
        (model / "plans.json").write_text(json.dumps(make_plans([32, 32], n_channels=1, dataset_name=DATASET)))
        (model / "dataset.json").write_text(json.dumps(make_dataset_json(n_channels=1)))
    write_pictures(nnunet_folders / "nnUNet_raw", results, list(COUNTS), FOLDS)
    preprocessed = nnunet_folders / "nnUNet_preprocessed" / DATASET
    preprocessed.mkdir(parents=True)
    splits = [{"train": FOLDS[1 - fold], "val": cases} for fold, cases in FOLDS.items()]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return nnunet_folders


def page_of(place):
    return (place / "nnUNet_results" / DATASET / "nnunet_ext_report" / "report.html").read_text(encoding="utf-8")


def refused(capsys, *flags):
    assert cli.main(["report", "-d", "901", *flags]) == 1
    return capsys.readouterr().err


def test_from_results_to_a_page(place, capsys):
    table = "case,group,structure\n" + "".join(f"{c},p{i // 2},{'xy'[i % 2]}\n" for i, c in enumerate("abcdef"))
    (place / "nnUNet_raw" / DATASET / "cases.csv").write_text(table)
    assert cli.main(["report", "-d", "901"]) == 0
    said = capsys.readouterr().out
    assert f"{DATASET}: 4 folds of 2 trainers" in said
    assert "note:" not in said
    page = page_of(place)
    assert f"Compared with {STOCK}" in page
    assert page.count('<figure class="overlay">') == 5
    assert "a: best of 6 by mean Dice" in page
    assert "f: worst of 6 by mean Dice" in page
    assert "<h2>By structure</h2>" in page
    assert "nnunet_ext report -d 901" in page
    assert "32 x 32" in page
    assert "Not counted" not in page


def test_a_problem_is_refused_and_with_partial_stands_on_the_page(place, capsys):
    model = place / "nnUNet_results" / DATASET / f"{OURS}__nnUNetPlans__2d"
    (model / "fold_1" / "validation" / "summary.json").unlink()
    said = refused(capsys)
    assert f"nnUNetv2_train 901 2d 1 -tr {OURS} --val" in said
    assert "nnunet_ext report -d 901 --partial" in said
    assert not (model.parent / "nnunet_ext_report").exists()
    assert cli.main(["report", "-d", "901", "--partial"]) == 0
    page = page_of(place)
    assert "Read this first" in page
    assert f"lacks fold 1, which others have. Type:\n    nnUNetv2_train 901 2d 1 -tr {OURS} --val" in page
    assert "2 trainers, 3 cases, fold 0." in page


def test_without_images_and_known_trainers_the_rest_is_written(place, capsys, monkeypatch):
    monkeypatch.delenv("nnUNet_raw")
    results = place / "nnUNet_results"
    for fold, cases in FOLDS.items():
        write_fold(results, "nnUNetTrainerOfAUser", fold, dict.fromkeys(cases, (40, 3, 3)))
    assert cli.main(["report", "-d", DATASET, "-tr", "nnUNetTrainerOfAUser", OURS, "--metric", "iou"]) == 0
    said = capsys.readouterr().out
    assert "note: No pictures of cases: nnUNet_raw is not set." in said
    assert "note: multiply-accumulates of nnUNetTrainerOfAUser" in said
    page = page_of(place)
    assert "Highest mean IoU" in page
    assert f"Compared with {OURS}" in page


def test_a_picture_that_is_missing_is_named_and_the_others_drawn(place, capsys):
    folder = place / "nnUNet_results" / DATASET / f"{OURS}__nnUNetPlans__2d" / "fold_0" / "validation"
    (folder / "a.png").unlink()
    assert cli.main(["report", "-d", "901"]) == 0
    assert "note: No picture of a:" in capsys.readouterr().out
    assert page_of(place).count('<figure class="overlay">') == 4


def test_what_the_user_gets_wrong_is_said(place, capsys, monkeypatch):
    (place / "file").touch()
    assert f"{place / 'file'} is a file. Name another folder" in refused(capsys, "-o", str(place / "file" / "out"))
    assert "--baseline nope is not among the trainers" in refused(capsys, "--baseline", "nope")
    assert "--metric hd: not known" in refused(capsys, "--metric", "hd")
    assert "--by structure needs cases.csv" in refused(capsys, "--by", "structure")
    (place / "nnUNet_raw" / DATASET / "cases.csv").write_text("case,group\na,1\n")
    assert "--by organ: no such column" in refused(capsys, "--by", "organ")
    assert "-tr nnUNetTrainerX: not trained" in refused(capsys, "-tr", "nnUNetTrainerX")
    assert cli.main(["report", "-d", "77"]) == 1
    assert f"-d 77: no such dataset. In {place / 'nnUNet_results'} there are: {DATASET}" in capsys.readouterr().err
    monkeypatch.delenv("nnUNet_results")
    assert "nnUNet_results is not set. Type: export" in refused(capsys)


def test_repeats_enter_the_comparison(place, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for trainer, counts in COUNTS.items():
        for fold, cases in FOLDS.items():
            scores = {c: (counts[0] - int(rng.integers(0, 9)), counts[1], counts[2]) for c in cases}
            write_fold(tmp_path / "again", trainer, fold, scores)
    flags = ["--repeats", str(tmp_path / "again"), "-o", str(tmp_path / "out")]
    assert cli.main(["report", "-d", "901", *flags]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "sd over repeats" in page
    assert "repeated trainings" in page
    assert "One training per fold cannot" not in page


def test_the_command_on_the_page_is_the_one_that_was_typed():
    flags = ["-d", "5", "-c", "2d", "-tr", "A", "B", "-p", "P", "-f", "0", "1", "--repeats", "/r", "-o", "/o"]
    flags += ["--baseline", "A", "--by", "group", "--metric", "IoU", "--partial"]
    args = cli._parser().parse_args(["report", *flags])
    request = Request(
        "5", ("2d",), ("A", "B"), ("P",), ("0", "1"), args.o, "A", "IoU", "group", True, tuple(args.repeats)
    )
    assert typed(request) == ["nnunet_ext", "report", *flags]
