"""DRIVE in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

VESSEL = np.zeros((12, 16), bool)
VESSEL[4:6] = True
GREY = VESSEL.astype(np.uint8) * 255


def drive(root, test_masks=True):
    for index, (part, number, name) in enumerate((("training", "21", "training"), ("test", "01", "test"))):
        save(picture(index), root / part / "images" / f"{number}_{name}.tif")
        save(~GREY, root / part / "mask" / f"{number}_{name}_mask.gif")  # field of view
        if test_masks or part == "training":
            save(GREY, root / part / "1st_manual" / f"{number}_manual1.gif")
            save(~GREY, root / part / "2nd_manual" / f"{number}_manual2.gif")
    return root


def test_the_first_observers_vessels_are_the_labels(tmp_path):
    cases = found("drive", drive(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"training_21": "train", "test_01": "test"}
    for case in cases.values():
        np.testing.assert_array_equal(labels("drive", case), VESSEL)


def test_the_test_part_may_lack_masks_or_be_absent(tmp_path):
    cases = found("drive", drive(tmp_path, test_masks=False))
    assert (cases["training_21"].mask is None, cases["test_01"].mask is None) == (False, True)
    (tmp_path / "test").rename(tmp_path / "elsewhere")
    assert list(found("drive", tmp_path)) == ["training_21"]


def test_the_training_part_may_not(tmp_path):
    drive(tmp_path)
    save(picture(7), tmp_path / "training/images/22_training.tif")
    (problem,) = complaints("drive", tmp_path)
    assert (problem.code, "22_training.tif" in problem.where) == ("mask-missing", True)
    assert complaints("drive", tmp_path / "training")[0].code == "layout-not-found"
