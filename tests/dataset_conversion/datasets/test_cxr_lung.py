"""Chest radiographs of Montgomery County and Shenzhen in the folders of the Kaggle set."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts

LUNG = np.zeros((12, 16), bool)
LUNG[2:10, 2:6] = True


def cxr(root):
    for index, (name, suffix) in enumerate((("CHNCXR_0001_0", "_mask"), ("MCUCXR_0243_1", ""))):
        save(picture(index, (12, 16)), root / "CXR_png" / f"{name}.png")
        save(LUNG.astype(np.uint8) * 255, root / "masks" / f"{name}{suffix}.png")
    save(picture(8), root / "test" / "CHNCXR_0025_0.png")
    return root


def test_masks_of_both_hospitals_are_paired(tmp_path):
    cases = found("cxr_lung", cxr(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"CHNCXR_0001_0": "train", "MCUCXR_0243_1": "train"}
    for case in cases.values():
        np.testing.assert_array_equal(labels("cxr_lung", case), LUNG)


def test_images_without_a_mask_are_left_out_with_a_warning(tmp_path):
    save(picture(5, (12, 16)), cxr(tmp_path) / "CXR_png/CHNCXR_0025_0.png")
    (problem,) = complaints("cxr_lung", tmp_path)
    assert (problem.code, problem.is_warning, "CHNCXR_0025_0" in problem.where) == ("unlabelled-left-out", True, True)
    assert len(all_layouts()["cxr_lung"].cases(tmp_path, [])) == 2


def test_a_wrong_root_is_an_error(tmp_path):
    (cxr(tmp_path) / "masks").rename(tmp_path / "Masks")
    for root in (tmp_path, tmp_path / "CXR_png"):
        (problem,) = complaints("cxr_lung", root)
        assert (problem.code, problem.is_warning) == ("layout-not-found", False)
