"""`nnunet_ext convert` as a user types it: where data are, dry run, report, published datasets, folds."""

import argparse
import csv
import errno
import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_ext import cli
from nnunet_ext.cli.convert_flags import add_convert, options_of
from nnunet_ext.cli.convert_report import refuse_unusable_report
from nnunet_ext.cli.errors import CommandLineError
from nnunet_ext.dataset_conversion.datasets import find_layout


@pytest.fixture
def typed(capsys, monkeypatch, tmp_path):
    """Return a function that runs `convert` in a folder with nnU-Net's variables set; it gives code, out, err."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = cli.main(["convert", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def patients(folder, n=6, images="p{p}/img/{i}.png", masks="p{p}/seg/{i}_{k}.png"):
    """Two images of each patient, with two mask files each, as a tree."""
    for p in range(n):
        for i in range(2):
            save(folder / images.format(p=p, i=i), np.random.default_rng([p, i]).integers(0, 255, (40, 32), np.uint8))
            for k in range(2):
                mask = np.zeros((40, 32), np.uint8)
                mask[10 * k : 10 * k + 5, 4:9] = 255
                save(folder / masks.format(p=p, i=i, k=k), mask)
    return folder


TREE = (
    *("--image-regex", r"(?P<case>(?P<group>p\d))/img/(?P<case2>\d+)\.png"),
    *("--mask-regex", r"(?P<case>p\d)/seg/(?P<case2>\d+)_\d\.png"),
)


def test_a_tree_of_patients_with_several_masks(typed, tmp_path):
    patients(tmp_path / "data")
    code, out, err = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees", "-np", 1)
    assert (code, "Traceback" in err) == (0, False)
    folder = tmp_path / "nnUNet_raw" / "Dataset501_Trees"
    label = np.asarray(Image.open(folder / "labelsTr" / "p3_1.png"))
    assert (label.sum(), label[2, 5], label[12, 5], label[7, 5]) == (50, 1, 1, 0)
    splits = json.loads((tmp_path / "nnUNet_preprocessed" / "Dataset501_Trees" / "splits_final.json").read_text())
    for fold in splits:
        assert not {n[:2] for n in fold["train"]} & {n[:2] for n in fold["val"]}
    assert "groups:      6: p0 2, p1 2" in out
    rows = list(csv.DictReader((folder / "cases.csv").open()))
    tree = tmp_path / "data" / "p0"
    assert rows[0]["image"] == str(tree / "img" / "0.png")
    assert rows[0]["mask"] == f"{tree / 'seg' / '0_0.png'};{tree / 'seg' / '0_1.png'}"
    assert [(r["case"], r["group"], r["split"]) for r in rows[:2]] == [("p0_0", "p0", "train"), ("p0_1", "p0", "train")]


def test_the_pages_example_of_regular_expressions_pairs(typed, tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "convert.md"
    (line,) = re.findall(r"`-i DATA (--image-regex .+?)`", page.read_text(encoding="utf-8"))
    patients(tmp_path / "data", images="p{p:02d}/img/x{i}.png", masks="p{p:02d}/seg/x{i}_{k}.png")
    code, out, err = typed("-i", "data", *shlex.split(line), "-d", 501, "-n", "Trees", "-np", 1)
    assert (code, "missing]" in err) == (0, False)
    assert "12 train; 12 with annotation" in out
    assert "groups:      6: p00 2" in out
    assert (tmp_path / "nnUNet_raw" / "Dataset501_Trees" / "labelsTr" / "p03_x1.png").is_file()


def test_a_dry_run_writes_nothing_and_tells_all(typed, tmp_path):
    patients(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees", "--dry-run")
    assert (code, sorted(tmp_path.rglob("*"))) == (0, before)
    assert "dry run: nothing was written; there is no error" in out
    (tmp_path / "data/p0/img/0.png").write_bytes(b"no image")
    code, out, _ = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees", "--dry-run", "--report", "problems.csv")
    assert code == 1
    assert "[unreadable] files that cannot be read (1):" in out
    assert "1 error:" in out
    rows = list(csv.DictReader((tmp_path / "problems.csv").open()))
    assert [(r["severity"], r["code"]) for r in rows] == [("error", "unreadable")]
    assert not (tmp_path / "nnUNet_raw" / "Dataset501_Trees").exists()


def test_errors_go_to_stderr_with_exit_code_1(typed, tmp_path):
    patients(tmp_path / "data")
    (tmp_path / "data/p0/seg/0_0.png").unlink()
    (tmp_path / "data/p0/seg/0_1.png").unlink()
    code, out, err = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees")
    assert code == 1
    assert "[mask-missing]" in err
    assert "cases:" in out


def test_published_datasets_are_listed_and_shown(typed):
    code, out, _ = typed("--list")
    assert code == 0
    assert {"chase_db1", "cityscapes", "cosmos55k", "monusac", "busi"} <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = typed("--list", "CHASE-DB1")
    assert (code, "Image_01L_1stHO.png" in out, "CC BY 4.0" in out) == (0, True, True)
    code, _, err = typed("--list", "chase_db")
    assert (code, "Nearest: chase_db1" in err) == (1, True)


def test_a_published_dataset_brings_its_split_and_groups(typed, tmp_path):
    for child in (1, 2, 11):
        for eye in "LR":
            stem = f"Image_{child:02d}{eye}"
            pixels = np.random.default_rng([child, ord(eye)]).integers(0, 255, (40, 32, 3), np.uint8)
            save(tmp_path / "chase" / f"{stem}.jpg", pixels)
            save(tmp_path / "chase" / f"{stem}_1stHO.png", np.arange(1280).reshape(40, 32) % 9 == 0)
    words = ("--dataset", "chase_db1", "-i", "chase", "-d", 502)
    code, _, err = typed(*words)
    assert (code, "train: 4 cases; the complete data set has 20" in err, "--partial" in err) == (1, True, True)
    code, out, _ = typed(*words, "--partial", "--folds", 2)
    assert code == 0
    assert "4 training and 2 test images (2 with masks)" in out
    folder = tmp_path / "nnUNet_raw" / "Dataset502_chase_db1"
    assert json.loads((folder / "dataset.json").read_text())["licence"].startswith("CC BY 4.0")
    splits = json.loads((folder / "splits_final.json").read_text())
    assert sorted(fold["val"] for fold in splits) == [["Image_01L", "Image_01R"], ["Image_02L", "Image_02R"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "X", "-i", "data", "-m", "data"], "-d ID is missing"),
        (["-d", "1", "-i", "data", "-m", "data"], "-n NAME is missing"),
        (["-d", "1", "-n", "X"], "-i is missing. Say where the data are"),
        (["-d", "1", "-n", "X", "-i", "data"], "-m is missing. Say where the data are"),
        (["-d", "1", "-n", "X", "-i", "data", "--image-regex", "(?P<case>.)"], "--image-regex and --mask-regex"),
        (["-d", "1", "-n", "X", "--manifest", "a.csv", "--train-list", "b.txt"], "different ways"),
        (["-d", "1", "-n", "X", "-i", "data", "-m", "data", "-np", "0"], "-np 0: allowed are 1 and more"),
        (["-d", "1", "-n", "X", "--dataset", "nothing", "-i", "data"], "not one of the"),
    ],
)
def test_incomplete_calls_say_what_is_missing(typed, words, message):
    code, _, err = typed(*words)
    assert (code, message in err) == (1, True)


PAIRS = ("-i", "data", "-m", "data")


@pytest.mark.parametrize(
    ("words", "unread", "reader"),
    [
        ([*PAIRS, "--val-list", "v.txt"], "--val-list", "--train-list"),
        ([*PAIRS, "--root", "data"], "--root", "--manifest or --train-list"),
        ([*PAIRS, "--partial"], "--partial", "--dataset"),
        ([*PAIRS, "--rle-order", "rows"], "--rle-order", "--rle"),
        (["-i", "data", *TREE, "--test-images", "data"], "--test-images", "-i and -m"),
        (["-i", "data", "--rle", "a.csv", "--val-images", "data"], "--val-images", "-i and -m"),
        (["--manifest", "a.csv", "-m", "data"], "-m", "--train-list or --image-regex or -i and -m"),
        (["--manifest", "a.csv", "--replace", "a", "b"], "--replace", "--train-list"),
        (["--dataset", "chase_db1", "-i", "data", "--mask-suffix", "_m"], "--mask-suffix", "--train-list or -i and -m"),
    ],
)
def test_flags_of_another_way_are_refused(typed, words, unread, reader):
    code, _, err = typed(*words, "-d", 1, "-n", "X")
    assert (code, f"nnunet_ext: {unread}: not read together with " in err) == (1, True)
    assert f"{unread} goes with {reader}" in err


def test_defaults_that_are_typed_are_no_flags_of_another_way(typed):
    _, _, err = typed(*PAIRS, "--mask-suffix", "", "--rle-order", "columns", "-d", 1, "-n", "X")
    assert "not read together" not in err


@pytest.mark.parametrize(
    ("report", "message"), [("data", "is a folder. Name a file"), ("data/p0/img/0.png/r.csv", "is not a folder")]
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(typed, tmp_path, report, message):
    patients(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees", "--dry-run", "--report", report)
    assert (code, out, f"--report {report}" in err, message in err) == (1, "", True, True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_report_in_a_folder_without_permission(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CommandLineError, match="cannot be written"):
        refuse_unusable_report(tmp_path / "new" / "r.csv")


@pytest.mark.parametrize(
    ("words", "folds", "val_share", "test_share"),
    [
        ([], None, 0.3, 0.1),
        (["--folds", "4"], 4, None, 0.1),
        (["--val-share", "0.2"], None, 0.2, 0.1),
        (["--test-share", "0.2"], None, 0.3, 0.2),
    ],
)
def test_flags_replace_only_their_own_part_of_a_published_split(words, folds, val_share, test_share):
    layout = replace(find_layout("chase_db1"), val_share=0.3, test_share=0.1)
    parser = argparse.ArgumentParser()
    add_convert(parser)
    rule = options_of(parser.parse_args(words), layout).splits
    assert (rule.folds, rule.val_share, rule.test_share) == (folds, val_share, test_share)


def test_the_folder_of_folds_is_needed(typed, tmp_path, monkeypatch):
    patients(tmp_path / "data")
    monkeypatch.delenv("nnUNet_preprocessed")
    code, _, err = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees")
    assert (code, "export nnUNet_preprocessed=" in err) == (1, True)


def test_a_full_disk_is_told_without_a_traceback(typed, tmp_path, monkeypatch):
    patients(tmp_path / "data")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "data/p0/img/0.png")

    monkeypatch.setattr(shutil, "copyfile", full)
    code, _, err = typed("-i", "data", *TREE, "-d", 501, "-n", "Trees")
    assert (code, f"{tmp_path / 'nnUNet_raw'}: No space left on device" in err, "Free space" in err) == (1, True, True)
    assert list((tmp_path / "nnUNet_raw").iterdir()) == []
