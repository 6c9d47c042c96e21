"""CHASE_DB1 in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

VESSEL = np.zeros((12, 16), bool)
VESSEL[4:6] = True


def chase(root):
    for index, name in enumerate(("01L", "01R", "11L")):
        save(picture(index), root / f"Image_{name}.jpg")
        save(VESSEL, root / f"Image_{name}_1stHO.png")
        save(~VESSEL, root / f"Image_{name}_2ndHO.png")
    return root


def test_both_eyes_of_a_child_are_one_group(tmp_path):
    cases = found("chase_db1", chase(tmp_path))
    assert {n: (c.group, c.split) for n, c in cases.items()} == {
        "Image_01L": ("child01", "train"),
        "Image_01R": ("child01", "train"),
        "Image_11L": ("child11", "test"),
    }


def test_each_observer_has_a_data_set(tmp_path):
    chase(tmp_path)
    for name, expected in (("chase_db1", VESSEL), ("chase_db1_observer2", ~VESSEL)):
        np.testing.assert_array_equal(labels(name, found(name, tmp_path)["Image_01R"]), expected)


def test_missing_masks_are_named(tmp_path):
    (chase(tmp_path) / "Image_01R_1stHO.png").unlink()
    (problem,) = complaints("chase_db1", tmp_path)
    assert (problem.code, "Image_01R.jpg" in problem.where) == ("mask-missing", True)
    assert complaints("chase_db1", tmp_path / "none")[0].code == "layout-not-found"
