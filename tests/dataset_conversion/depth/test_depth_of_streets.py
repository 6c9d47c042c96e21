"""Depth of Cityscapes and KITTI in their own layouts."""

import json

import numpy as np
import pytest
from dataset_conversion.depth_checks import NAN, complaints, depth, found, row, save_npy
from dataset_conversion.layout_checks import picture, save

from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.problems import RefusedFile

STEMS = {"train": "aachen_000000_000019", "val": "munster_000001_000019", "test": "berlin_000002_000019"}
DRIVE = "2011_09_26_drive_0001_sync"
NUMBERS = row(0, 1, 2, 257, 1281).astype(np.uint16)  # disparity: none, 0, 1/256, 1, 5


def cityscapes(root):
    for seed, (split, stem) in enumerate(STEMS.items()):
        folder = f"{split}/{stem.split('_')[0]}/{stem}"
        save(picture(seed), root / f"leftImg8bit/{folder}_leftImg8bit.png")
        save(NUMBERS, root / f"disparity/{folder}_disparity.png")
        camera = root / f"camera/{folder}_camera.json"
        camera.parent.mkdir(parents=True)
        camera.write_text(json.dumps({"extrinsic": {"baseline": 0.25}, "intrinsic": {"fx": 2000.0, "fy": 2001.0}}))
    return root


def kitti(root, raw):
    for frame in range(5, 8):
        save(picture(frame), root / raw.format(f"{frame:010}"))
    for split, frames in (("train", [5, 6]), ("val", [])):
        drive = DRIVE if split == "train" else DRIVE.replace("0001", "0002")
        for frame in frames or [0]:
            path = f"{split}/{drive}/proj_depth/groundtruth/image_02/{frame:010}.png"
            save(row(0, 1, 256, 20480).astype(np.uint16), root / path)
    save(picture(9), root / raw.replace("0001_sync", "0002_sync").format(f"{0:010}").replace("train/", "val/"))
    save(NUMBERS, root / f"train/{DRIVE}/proj_depth/velodyne_raw/image_02/0000000005.png")
    return root


def selection(root):
    folder = root / "depth_selection/val_selection_cropped"
    for camera in ("image_02", "image_03"):
        save(picture(1), folder / f"image/{DRIVE}_image_0000000005_{camera}.png")
        for kind, numbers in (("groundtruth_depth", row(0, 512)), ("velodyne_raw", NUMBERS)):
            save(numbers.astype(np.uint16), folder / f"{kind}/{DRIVE}_{kind}_0000000005_{camera}.png")
    return root


def test_disparity_is_p_minus_1_over_256(tmp_path):
    cases = found("cityscapes_disparity", cityscapes(tmp_path))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {s: (p, s.split("_")[0]) for p, s in STEMS.items()}
    result = depth("cityscapes_disparity", cases[STEMS["val"]])
    np.testing.assert_array_equal(result.values, row(NAN, 0, 1 / 256, 1, 5))
    assert result.measured.sum() == 12 * 15


def test_metres_are_baseline_times_focal_length_over_disparity(tmp_path):
    case = found("cityscapes_depth", cityscapes(tmp_path))[STEMS["train"]]
    assert [path.suffix for path in case.depth.files] == [".png", ".json"]
    np.testing.assert_array_equal(depth("cityscapes_depth", case).values, row(NAN, NAN, 128000, 500, 100))


@pytest.mark.parametrize("text", ["{}", "no json", '{"extrinsic": {"baseline": 250}, "intrinsic": {"fx": 2000}}'])
def test_camera_files_that_cannot_be_right_are_refused(tmp_path, text):
    case = found("cityscapes_depth", cityscapes(tmp_path))[STEMS["train"]]
    case.depth.files[1].write_text(text)
    with pytest.raises(RefusedFile, match=r"aachen_000000_000019_camera\.json") as error:
        case.depth.read()
    assert error.value.problem.code == "camera-file"


def test_missing_maps_and_cameras_are_complained_about(tmp_path):
    cityscapes(tmp_path)
    save(picture(4), tmp_path / "leftImg8bit/val/munster/munster_000002_000019_leftImg8bit.png")
    next(tmp_path.glob("camera/val/*/*")).rename(tmp_path / "camera/val/munster/munster_000003_000019_camera.json")
    assert complaints("cityscapes_disparity", tmp_path) == ["depth-missing"]
    assert complaints("cityscapes_depth", tmp_path) == ["depth-missing", "camera-missing"]
    assert set(complaints("cityscapes_depth", tmp_path / "none")) == {"layout-not-found"}


def test_maps_with_8_bits_or_without_a_measurement_are_refused(tmp_path):
    case = found("cityscapes_disparity", cityscapes(tmp_path))[STEMS["train"]]
    for pixels, code in (
        (NUMBERS.astype(np.uint8), "depth-pixel-type"),
        (NUMBERS * 0, "depth-empty"),
    ):
        save(pixels, case.depth.path)
        with pytest.raises(RefusedFile, match=r"aachen_000000_000019_disparity\.png") as error:
            case.depth.read()
        assert error.value.problem.code == code


def test_the_small_copy_in_numpy_files(tmp_path):
    for split in ("train", "val"):
        save_npy(picture(1) / 255.0, tmp_path / f"{split}/image/0.npy")
        save_npy(row(0, 0.25, 0.5)[..., None], tmp_path / f"{split}/depth/0.npy")
        save_npy(row(-1, 0), tmp_path / f"{split}/label/0.npy")
    cases = found("cityscapes_small", tmp_path)
    assert {n: c.split for n, c in cases.items()} == {"train_0": "train", "val_0": "val"}
    np.testing.assert_array_equal(cases["val_0"].image.read(Reading()).pixels, picture(1))
    np.testing.assert_array_equal(depth("cityscapes_small", cases["val_0"]).values, row(NAN, 0.25, 0.5))
    save_npy(picture(1), tmp_path / "val/image/0.npy")
    with pytest.raises(RefusedFile, match="uint8"):
        cases["val_0"].image.read(Reading())


@pytest.mark.parametrize("raw", [f"2011_09_26/{DRIVE}/image_02/data/{{}}.png", f"train/{DRIVE}/image_02/data/{{}}.png"])
def test_kitti_finds_the_raw_images_where_they_are(tmp_path, raw):
    cases = found("kitti_depth", kitti(tmp_path, raw))
    second = DRIVE.replace("0001", "0002")
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        f"{DRIVE}_image_02_0000000005": ("train", DRIVE),
        f"{DRIVE}_image_02_0000000006": ("train", DRIVE),
        f"{second}_image_02_0000000000": ("val", second),
    }
    case = cases[f"{DRIVE}_image_02_0000000006"]
    np.testing.assert_array_equal(case.image.read(Reading()).pixels, picture(6))
    np.testing.assert_array_equal(depth("kitti_depth", case).values, row(NAN, 1 / 256, 1, 80))


def test_kitti_without_an_image_is_complained_about(tmp_path):
    kitti(tmp_path, f"2011_09_26/{DRIVE}/image_02/data/{{}}.png")
    (tmp_path / f"2011_09_26/{DRIVE}/image_02/data/0000000005.png").unlink()
    assert complaints("kitti_depth", tmp_path) == ["image-missing"]
    assert set(complaints("kitti_depth", tmp_path / "none")) == {"layout-not-found"}


def test_the_selected_images_of_kitti(tmp_path):
    cases = found("kitti_depth_selection", selection(tmp_path))
    assert {n: c.group for n, c in cases.items()} == {f"{DRIVE}_0000000005_image_0{i}": DRIVE for i in (2, 3)}
    values = depth("kitti_depth_selection", cases[f"{DRIVE}_0000000005_image_03"]).values
    np.testing.assert_array_equal(values, row(NAN, 2))
