"""TNBC nuclei in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

NUCLEI = np.zeros((12, 16), np.uint8)
NUCLEI[2:4, 3:5] = 255


def tnbc(root):
    for seed, (slide, name) in enumerate((("01", "01_1"), ("01", "01_2"), ("11", "11_3"))):
        pixels = np.dstack([picture(seed), np.full((12, 16), 255, np.uint8)])
        save(pixels, root / f"Slide_{slide}/{name}.png")
        save(NUCLEI, root / f"GT_{slide}/{name}.png")
    return root


def test_slides_are_groups(tmp_path):
    cases = found("tnbc", tnbc(tmp_path))
    assert {n: (c.group, c.split) for n, c in cases.items()} == {
        "01_1": ("Slide_01", "train"),
        "01_2": ("Slide_01", "train"),
        "11_3": ("Slide_11", "train"),
    }


def test_nuclei_are_foreground(tmp_path):
    case = found("tnbc", tnbc(tmp_path))["11_3"]
    np.testing.assert_array_equal(labels("tnbc", case), NUCLEI > 0)


def test_missing_masks_are_named(tmp_path):
    (tnbc(tmp_path) / "GT_01/01_2.png").unlink()
    (problem,) = complaints("tnbc", tmp_path)
    assert (problem.code, "01_2.png" in problem.where) == ("mask-missing", True)
    assert complaints("tnbc", tmp_path / "Slide_01")[0].code == "layout-not-found"
