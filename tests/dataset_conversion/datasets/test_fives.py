"""FIVES in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

VESSEL = np.zeros((12, 16), bool)
VESSEL[4:6] = True


def fives(root):
    colour = np.repeat(VESSEL[..., None].astype(np.uint8) * 255, 3, axis=2)
    for index, name in enumerate(("train/1_A", "train/2_N", "test/1_A", "test/51_D", "test/101_G")):
        part, key = name.split("/")
        save(picture(index), root / part / "Original" / f"{key}.png")
        save(colour, root / part / "Ground truth" / f"{key}.png")
    return root


def test_names_alike_in_both_parts_stay_apart_and_tell_the_disease(tmp_path):
    cases = found("fives", fives(tmp_path))
    assert {n: (c.split, c.structure) for n, c in cases.items()} == {
        "train_1_A": ("train", "Retinal vessels (macular degeneration)"),
        "train_2_N": ("train", "Retinal vessels (normal)"),
        "test_1_A": ("test", "Retinal vessels (macular degeneration)"),
        "test_51_D": ("test", "Retinal vessels (diabetic retinopathy)"),
        "test_101_G": ("test", "Retinal vessels (glaucoma)"),
    }
    np.testing.assert_array_equal(labels("fives", cases["test_1_A"]), VESSEL)


def test_missing_masks_are_named(tmp_path):
    (fives(tmp_path) / "train/Ground truth/2_N.png").unlink()
    (problem,) = complaints("fives", tmp_path)
    assert (problem.code, "2_N.png" in problem.where) == ("mask-missing", True)
    assert complaints("fives", tmp_path / "train")[0].code == "layout-not-found"
