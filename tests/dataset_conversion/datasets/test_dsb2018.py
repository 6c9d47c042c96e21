"""2018 Data Science Bowl in its own layout, with mask files and with run lengths."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts

A, B, C, D, E = (letter * 16 for letter in "abcde")
FIRST, SECOND = np.zeros((12, 16), np.uint8), np.zeros((12, 16), np.uint8)
FIRST[2:5, 1:3] = 255
SECOND[4:6, 2:7] = 255


def rgba(seed):
    return np.dstack([picture(seed), np.full((12, 16), 255, np.uint8)])


def bowl(root):
    for seed, name in enumerate((A, B)):
        save(rgba(seed), root / f"stage1_train/{name}/images/{name}.png")
        save(FIRST, root / f"stage1_train/{name}/masks/{seed}0.png")
    save(SECOND, root / f"stage1_train/{B}/masks/11.png")
    save(rgba(7), root / f"stage1_test/{C}/images/{C}.png")
    return root


@pytest.mark.parametrize(("name", "share"), [("dsb2018", 70 / 670), ("bowl2018", 0.3)])
def test_all_nuclei_of_an_image_are_foreground(tmp_path, name, share):
    cases = found(name, bowl(tmp_path))
    assert {key: case.split for key, case in cases.items()} == {A: "train", B: "train"}
    np.testing.assert_array_equal(labels(name, cases[A]), FIRST > 0)
    np.testing.assert_array_equal(labels(name, cases[B]), (FIRST | SECOND) > 0)
    assert all_layouts()[name].test_share == share


def test_run_lengths_go_down_the_columns(tmp_path):
    bowl(tmp_path)
    rows = f"ImageId,EncodedPixels\n{A},1 3\n{B},13 2 192 1\n{B},25 12\n"
    (tmp_path / "stage1_train_labels.csv").write_text(rows)
    cases = found("dsb2018_rle", tmp_path)
    expected = np.zeros((12, 16), np.uint8)
    expected[0:3, 0] = 1
    np.testing.assert_array_equal(labels("dsb2018_rle", cases[A]), expected)
    expected[:] = 0
    expected[0:2, 1], expected[:, 2], expected[11, 15] = 1, 1, 1
    np.testing.assert_array_equal(labels("dsb2018_rle", cases[B]), expected)


@pytest.mark.parametrize(
    ("name", "folder", "table"),
    [
        ("dsb2018_stage1", "stage1_test", "stage1_solution.csv"),
        ("dsb2018_stage2", "stage2_test_final", "stage2_solution_final.csv"),
    ],
)
def test_the_scored_images_of_a_stage_are_test(tmp_path, name, folder, table):
    bowl(tmp_path)
    for seed, key in ((7, C), (8, D), (9, E)):
        save(picture(seed), tmp_path / f"{folder}/{key}/images/{key}.png")
    rows = f"ImageId,EncodedPixels,Height,Width,Usage\n{C},1 2,12,16,Private\n{D},1 1,12,16,Ignored\n"
    (tmp_path / table).write_text(rows)
    cases = found(name, tmp_path)
    assert {key: case.split for key, case in cases.items()} == {A: "train", B: "train", C: "test"}
    assert np.argwhere(labels(name, cases[C])).tolist() == [[0, 0], [1, 0]]


def test_what_is_missing_is_named(tmp_path):
    assert complaints("dsb2018", tmp_path)[0].code == "layout-not-found"
    bowl(tmp_path)
    assert [p.code for p in complaints("dsb2018_rle", tmp_path)] == ["unreadable"]
    (tmp_path / f"stage1_train/{A}/masks/00.png").unlink()
    (problem,) = complaints("dsb2018", tmp_path)
    assert (problem.code, A in problem.where) == ("mask-missing", True)
    for path in tmp_path.glob("stage1_train/*/masks/*"):
        path.unlink()
    (problem,) = complaints("bowl2018", tmp_path)
    assert (problem.code, "dsb2018_rle" in problem.remedy) == ("layout-not-found", True)
