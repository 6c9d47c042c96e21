"""Kvasir-SEG in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts

POLYP = np.zeros((16, 16), bool)
POLYP[:8, 8:] = True  # along the blocks of JPEG
NAMES = ("cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4", "cju0qx73cjw570799j4n5cjze")


def kvasir(root):
    for index, name in enumerate(NAMES):
        save(picture(index, (16, 16, 3)), root / "images" / f"{name}.jpg")
        grey = np.where(POLYP, 250, 3).astype(np.uint8)
        save(np.repeat(grey[..., None], 3, axis=2), root / "masks" / f"{name}.jpg", quality=90)
    (root / "kavsir_bboxes.json").write_text("{}")
    return root


def test_jpeg_masks_are_read_with_a_threshold(tmp_path):
    cases = found("kvasir_seg", kvasir(tmp_path))
    assert {n: c.split for n, c in cases.items()} == dict.fromkeys(NAMES, "train")
    np.testing.assert_array_equal(labels("kvasir_seg", cases[NAMES[0]]), POLYP)
    assert all_layouts()["kvasir_seg"].val_share == 0.12


def test_the_lists_split(tmp_path):
    kvasir(tmp_path)
    (tmp_path / "train.txt").write_text(f"{NAMES[0]}\n{NAMES[1]}.jpg\n\n")
    (problem,) = complaints("kvasir_seg_lists", tmp_path)[:1]
    assert (problem.code, "val.txt" in problem.where) == ("layout-not-found", True)
    (tmp_path / "val.txt").write_text(f"{NAMES[2]}\n")
    cases = found("kvasir_seg_lists", tmp_path)
    assert {n: c.split for n, c in cases.items()} == {NAMES[0]: "train", NAMES[1]: "train", NAMES[2]: "val"}
    np.testing.assert_array_equal(labels("kvasir_seg_lists", cases[NAMES[2]]), POLYP)
    assert {c.split for c in found("kvasir_seg", tmp_path).values()} == {"train"}


def test_lists_that_do_not_fit_are_complained_about(tmp_path):
    kvasir(tmp_path)
    (tmp_path / "train.txt").write_text(f"{NAMES[0]}\nother\n")
    (tmp_path / "val.txt").write_text(f"{NAMES[1]}\n{NAMES[0]}\n")
    codes = [(p.code, p.where.rpartition("/")[2]) for p in complaints("kvasir_seg_lists", tmp_path)]
    assert codes == [
        ("entry-not-found", "train.txt: 'other'"),
        ("entry-twice", f"val.txt: '{NAMES[0]}' is listed before"),
        ("not-listed", f"{NAMES[2]}.jpg: neither in train.txt nor in val.txt"),
    ]


def test_missing_masks_are_named(tmp_path):
    (kvasir(tmp_path) / "masks" / f"{NAMES[1]}.jpg").unlink()
    (problem,) = complaints("kvasir_seg", tmp_path)
    assert (problem.code, f"{NAMES[1]}.jpg" in problem.where) == ("mask-missing", True)
    assert complaints("kvasir_seg", tmp_path / "images")[0].code == "layout-not-found"
