"""GOALS in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts

LAYERS = np.full((12, 16), 255, np.uint8)
LAYERS[2:4], LAYERS[4:7], LAYERS[8:11] = 0, 80, 160


def goals(root):
    save(picture(1), root / "Train/Image/0001.png")
    save(LAYERS, root / "Train/Layer_Masks/0001.png")
    save(picture(2), root / "Train/Layer_show/0001.png")
    return root


def test_grey_values_are_layers_and_the_rest_is_background(tmp_path):
    (case,) = found("goals", goals(tmp_path)).values()
    expected = np.zeros((12, 16), np.uint8)
    expected[2:4], expected[4:7], expected[8:11] = 1, 2, 3
    np.testing.assert_array_equal(labels("goals", case), expected)
    assert all_layouts()["goals"].legend([]).names == {"background": 0, "RNFL": 1, "GCIPL": 2, "choroid": 3}


def test_images_of_the_second_round_are_for_test(tmp_path):
    save(picture(3), goals(tmp_path) / "Validation/Image/0101.png")
    cases = found("goals", tmp_path)
    assert (cases["validation_0101"].split, cases["validation_0101"].mask) == ("test", None)


def test_missing_masks_are_named(tmp_path):
    save(picture(4), goals(tmp_path) / "Train/Image/0002.png")
    (problem,) = complaints("goals", tmp_path)
    assert (problem.code, "0002.png" in problem.where) == ("mask-missing", True)
    assert complaints("goals", tmp_path / "Train")[0].code == "layout-not-found"
