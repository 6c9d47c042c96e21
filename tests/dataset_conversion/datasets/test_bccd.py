"""BCCD with masks in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

CELLS = np.zeros((16, 16), np.uint8)
CELLS[:8] = 255


def bccd(root):
    for seed, (split, name) in enumerate((("train", "fe1e"), ("train", "0a2b"), ("test", "fe1e"))):
        save(picture(seed, (16, 16, 3)), root / split / "original" / f"{name}.png")
        save(CELLS, root / split / "mask" / f"{name}.{'jpg' if name == '0a2b' else 'png'}")
    return root


def test_both_parts_are_kept_apart_and_jpegs_are_thresholded(tmp_path):
    cases = found("bccd", bccd(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"train_0a2b": "train", "train_fe1e": "train", "test_fe1e": "test"}
    for case in cases.values():
        np.testing.assert_array_equal(labels("bccd", case), CELLS > 0)


def test_missing_masks_are_named(tmp_path):
    (bccd(tmp_path) / "test/mask/fe1e.png").unlink()
    (problem,) = complaints("bccd", tmp_path)
    assert (problem.code, "test/original/fe1e.png" in problem.where) == ("mask-missing", True)
    assert complaints("bccd", tmp_path / "train")[0].code == "layout-not-found"
