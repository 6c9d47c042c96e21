"""RETINA of the two-stage paper: three data sets below one folder, or the authors' flat folder."""

import numpy as np
from dataset_conversion.datasets.test_chase_db1 import chase
from dataset_conversion.datasets.test_drive import VESSEL, drive
from dataset_conversion.datasets.test_stare import stare
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts


def retina(root, test_masks=True):
    chase(root / "CHASE_DB1")
    drive(root / "DRIVE", test_masks)
    stare(root / "STARE", gzipped=True)
    return root


def test_the_three_sets_become_one_without_their_splits(tmp_path):
    cases = found("retina", retina(tmp_path))
    assert set(cases) == {
        *(f"CHASE_DB1_Image_{name}" for name in ("01L", "01R", "11L")),
        *("DRIVE_training_21", "DRIVE_test_01"),
        *(f"STARE_im{name}" for name in ("0001", "0139", "0162")),
    }
    assert {case.split for case in cases.values()} == {"train"}
    assert cases["CHASE_DB1_Image_01L"].group == cases["CHASE_DB1_Image_01R"].group == "CHASE_DB1_child01"
    assert all_layouts()["retina"].test_share == 0.3
    for case in cases.values():
        np.testing.assert_array_equal(labels("retina", case), VESSEL)


def test_images_without_masks_are_left_out_with_a_warning(tmp_path):
    (problem,) = complaints("retina", retina(tmp_path, test_masks=False))
    assert (problem.code, problem.is_warning, "01_test.tif" in problem.where) == ("unlabelled-left-out", True, True)
    assert not any("test_01" in case.name for case in all_layouts()["retina"].cases(tmp_path, []))


def test_a_set_that_is_absent_is_named(tmp_path):
    (retina(tmp_path) / "STARE").rename(tmp_path / "stare")
    problems = complaints("retina", tmp_path)
    assert {p.code for p in problems} == {"layout-not-found"}
    assert all("STARE" in p.where for p in problems)


def test_the_flat_folder_is_paired_by_name(tmp_path):
    grey = np.where(VESSEL, 200, 90).astype(np.uint8)  # the authors take 128 and more
    for index, name in enumerate(("Image_01L", "Image_01R", "im0001_")):
        save(picture(index), tmp_path / f"{name}image.png")
        save(grey, tmp_path / f"{name}mask.png")
    cases = found("retina_flat", tmp_path)
    assert {n: c.group for n, c in cases.items()} == {
        "Image_01L": "CHASE_DB1_child01",
        "Image_01R": "CHASE_DB1_child01",
        "im0001": "",
    }
    np.testing.assert_array_equal(labels("retina_flat", cases["im0001"]), VESSEL)
    (tmp_path / "im0001_mask.png").unlink()
    (problem,) = complaints("retina_flat", tmp_path)
    assert (problem.code, "im0001_image.png" in problem.where) == ("mask-missing", True)
