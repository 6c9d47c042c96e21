"""Cityscapes and ACDC (driving) in their own layouts."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts
from nnunet_ext.dataset_conversion.datasets.cityscapes_ids import BY_TRAIN_ID, CLASSES, SCENE_LABELS

ROAD, CAR, CARAVAN, BICYCLE = 7, 26, 29, 33
TRAIN_IDS = {ROAD: 0, CAR: 13, CARAVAN: 255, BICYCLE: 18}


def ids(*values):
    """(12, 16) uint8 in as many columns as there are values; unlabelled pixels (0) at the top."""
    mask = np.repeat(np.array(values, np.uint8), 16 // len(values))[None].repeat(12, axis=0)
    mask[0] = 0
    return mask


LABEL_IDS = ids(ROAD, CAR, CARAVAN, BICYCLE)
AS_TRAIN_IDS = np.array([TRAIN_IDS.get(value, 255) for value in LABEL_IDS.ravel()], np.uint8).reshape(12, 16)


def expected(road, car, bicycle, ignore):
    return np.where(
        LABEL_IDS == ROAD, road, np.where(LABEL_IDS == CAR, car, np.where(LABEL_IDS == BICYCLE, bicycle, ignore))
    )


def cityscapes(root):
    stems = {"train": "aachen_000000_000019", "val": "munster_000001_000019", "test": "berlin_000002_000019"}
    for seed, (split, stem) in enumerate(stems.items()):
        folder = f"{split}/{stem.split('_')[0]}"
        save(picture(seed), root / f"leftImg8bit/{folder}/{stem}_leftImg8bit.png")
        gt = root / f"gtFine/{folder}/{stem}_gtFine"
        save(LABEL_IDS if split != "test" else ids(1, 2), gt.with_name(gt.name + "_labelIds.png"))
        save(AS_TRAIN_IDS, gt.with_name(gt.name + "_labelTrainIds.png"))
        save(picture(9), gt.with_name(gt.name + "_color.png"))
        save(picture(9, (12, 16)).astype(np.uint16), gt.with_name(gt.name + "_instanceIds.png"))
        gt.with_name(gt.name + "_polygons.json").write_text("{}")
    return root


def acdc(root):
    for seed, (condition, split) in enumerate([("fog", "train"), ("night", "val"), ("snow", "test")]):
        folder, stem = f"{condition}/{split}/GOPR0475", "GOPR0475_frame_000041"
        save(picture(seed), root / f"rgb_anon/{folder}/{stem}_rgb_anon.png")
        save(picture(7), root / f"rgb_anon/{condition}/{split}_ref/GOPR0475/{stem}_ref_anon.png")
        save(picture(7), root / f"rgb_anon/{condition}/{split}_ref/GOPR0475/{stem}_rgb_anon.png")
        if split != "test":
            save(LABEL_IDS, root / f"gt/{folder}/{stem}_gt_labelIds.png")
            save(AS_TRAIN_IDS, root / f"gt/{folder}/{stem}_gt_labelTrainIds.png")
            save(picture(8), root / f"gt/{folder}/{stem}_gt_labelColor.png")
            save(ids(0, 255), root / f"gt/{folder}/{stem}_gt_invIds.png")
    return root


def test_the_table_of_ids_is_the_official_one():
    assert [label.label_id for label in CLASSES] == [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
    assert (len(SCENE_LABELS), SCENE_LABELS[18].name, SCENE_LABELS[29].category) == (34, "polegroup", "vehicle")
    assert [BY_TRAIN_ID[i] for i in (0, 6, 13, 18)] == ["road=0", "traffic light=6", "car=13", "bicycle=18"]


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes_trainids", "cityscapes_19heads"])
def test_the_split_is_the_official_one_and_groups_are_cities(tmp_path, name):
    cases = found(name, cityscapes(tmp_path))
    assert {n: (c.split, c.group, c.mask is None) for n, c in cases.items()} == {
        "aachen_000000_000019": ("train", "aachen", False),
        "munster_000001_000019": ("val", "munster", False),
        "berlin_000002_000019": ("test", "berlin", True),
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cityscapes", (1, 14, 19, 20)),
        ("cityscapes_trainids", (1, 14, 19, 20)),
        ("cityscapes_19heads", (0, 13, 18, 19)),
    ],
)
def test_ids_become_labels_and_all_others_are_ignored(tmp_path, name, values):
    case = found(name, cityscapes(tmp_path))["munster_000001_000019"]
    np.testing.assert_array_equal(labels(name, case), expected(*values))


def test_19_heads_are_19_outputs():
    names = all_layouts()["cityscapes_19heads"].legend([]).names
    assert (len(names), names["background"], names["sidewalk"], names["ignore"]) == (20, 0, 1, 19)


def test_test_images_need_not_be_there_but_training_masks_must(tmp_path):
    cityscapes(tmp_path)
    for path in tmp_path.glob("*/test/*/*"):
        path.unlink()
    assert len(found("cityscapes", tmp_path)) == 2
    next(tmp_path.glob("gtFine/train/*/*_labelIds.png")).unlink()
    assert [p.code for p in complaints("cityscapes", tmp_path)] == ["layout-not-found"]
    save(picture(3), tmp_path / "leftImg8bit/val/munster/munster_000009_000019_leftImg8bit.png")
    missing = complaints("cityscapes", tmp_path)[-1]
    assert (missing.code, "munster_000009" in missing.where) == ("mask-missing", True)


@pytest.mark.parametrize("name", ["acdc_driving", "acdc_driving_trainids"])
def test_acdc_names_have_the_condition_and_references_are_left_out(tmp_path, name):
    cases = found(name, acdc(tmp_path))
    assert {n: (c.split, c.group, c.modality, c.mask is None) for n, c in cases.items()} == {
        "fog_GOPR0475_frame_000041": ("train", "fog_GOPR0475", "Fog", False),
        "night_GOPR0475_frame_000041": ("val", "night_GOPR0475", "Night", False),
        "snow_GOPR0475_frame_000041": ("test", "snow_GOPR0475", "Snow", True),
    }
    np.testing.assert_array_equal(labels(name, cases["night_GOPR0475_frame_000041"]), expected(1, 14, 19, 20))


def test_a_wrong_folder_is_complained_about_for_both_parts(tmp_path):
    for name in ("cityscapes", "acdc_driving"):
        assert {p.code for p in complaints(name, tmp_path)} == {"layout-not-found"}
