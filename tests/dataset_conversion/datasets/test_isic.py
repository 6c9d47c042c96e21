"""ISIC 2017 and 2018 in their own layouts."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

LESION = np.zeros((12, 16), bool)
LESION[3:9, 4:12] = True
FOLDERS = {
    "isic2018": ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth", ("Training", "Validation", "Test")),
    "isic2017": ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth", ("Training", "Validation", "Test_v2")),
}


def isic(root, name):
    images, masks, parts = FOLDERS[name]
    for index, part in enumerate(parts):
        stem = f"ISIC_000000{index}"
        save(picture(index), root / images.format(part) / f"{stem}.jpg")
        save(picture(9), root / images.format(part) / f"{stem}_superpixels.png")
        (root / images.format(part) / "LICENSE.txt").touch()
        save(LESION.astype(np.uint8) * 255, root / masks.format(part) / f"{stem}_segmentation.png")
    return root


@pytest.mark.parametrize("name", FOLDERS)
def test_the_official_split_is_kept(tmp_path, name):
    cases = found(name, isic(tmp_path, name))
    splits = {"ISIC_0000000": "train", "ISIC_0000001": "val", "ISIC_0000002": "test"}
    assert {n: c.split for n, c in cases.items()} == splits
    np.testing.assert_array_equal(labels(name, cases["ISIC_0000001"]), LESION)


def test_parts_may_be_absent_but_not_half(tmp_path):
    root = isic(tmp_path, "isic2018")
    for folder in ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"):
        (root / folder).rename(root / f"old_{folder}")
    assert list(found("isic2018", root)) == ["ISIC_0000000", "ISIC_0000002"]
    for folder in ("ISIC2018_Task1_Test_GroundTruth", "ISIC2018_Task1-2_Test_Input"):
        (root / folder).rename(root / "away")
        (problem,) = complaints("isic2018", root)
        assert (problem.code, folder in problem.where) == ("layout-not-found", True)
        (root / "away").rename(root / folder)


def test_missing_masks_are_named(tmp_path):
    (isic(tmp_path, "isic2017") / "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png").rename(
        tmp_path / "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000009_segmentation.png"
    )
    problems = complaints("isic2017", tmp_path)
    assert [p.code for p in problems] == ["mask-missing", "image-missing"]
    assert complaints("isic2017", tmp_path / "none")[0].code == "layout-not-found"
