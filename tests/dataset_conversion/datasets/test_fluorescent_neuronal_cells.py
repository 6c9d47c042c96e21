"""Fluorescent Neuronal Cells, version 1, in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

NAMES = ("Mar21bS1C2R2_VLPAGl_200x_y", "MAR38S1C3R1_LHR_20_o", "39_y")
CELLS = np.zeros((12, 16), np.uint8)
CELLS[3, 4:9] = 255


def neurons(root):
    for seed, name in enumerate(NAMES):
        save(picture(seed), root / f"all_images/images/{name}.png")
        save(CELLS, root / f"all_masks/masks/{name}.png")
    return root


def test_the_group_is_the_animal(tmp_path):
    cases = found("fluorescent_neuronal_cells", neurons(tmp_path))
    assert {n: (c.group, c.split) for n, c in cases.items()} == {
        NAMES[0]: ("mar21", "train"),
        NAMES[1]: ("mar38", "train"),
        NAMES[2]: ("", "train"),
    }


def test_masks_that_interpolation_blurred_are_thresholded(tmp_path):
    neurons(tmp_path)
    blurred = CELLS.copy()
    blurred[4, 4], blurred[4, 5] = 127, 128
    save(blurred, tmp_path / f"all_masks/masks/{NAMES[2]}.png")
    cases = found("fluorescent_neuronal_cells", tmp_path)
    expected = CELLS > 0
    np.testing.assert_array_equal(labels("fluorescent_neuronal_cells", cases[NAMES[0]]), expected)
    expected[4, 5] = True
    np.testing.assert_array_equal(labels("fluorescent_neuronal_cells", cases[NAMES[2]]), expected)


def test_missing_masks_are_named(tmp_path):
    (neurons(tmp_path) / f"all_masks/masks/{NAMES[2]}.png").unlink()
    (problem,) = complaints("fluorescent_neuronal_cells", tmp_path)
    assert (problem.code, "39_y.png" in problem.where) == ("mask-missing", True)
    assert complaints("fluorescent_neuronal_cells", tmp_path / "all_images")[0].code == "layout-not-found"
