"""CamVid in both forms and ADE20K in their own layouts."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts
from nnunet_ext.dataset_conversion.datasets.ade20k import LABELS
from nnunet_ext.dataset_conversion.problems import RefusedFile

SEGNET = {"train": "0006R0_f01260", "val": "0016E5_07959", "test": "Seq05VD_f00000"}
TWELVE = np.arange(12, dtype=np.uint8)[:, None].repeat(16, axis=1)  # a row for each value


def camvid(root):
    for seed, (split, name) in enumerate(SEGNET.items()):
        save(picture(seed), root / f"{split}/{name}.png")
        save(TWELVE, root / f"{split}annot/{name}.png")
        (root / f"{split}.txt").write_text(f"/SegNet/CamVid/{split}/{name}.png")
    return root


def camvid_32(root):
    colours = np.zeros((12, 16, 3), np.uint8)  # Void
    colours[0], colours[1], colours[2], colours[3] = (64, 128, 64), (128, 64, 128), (64, 192, 0), (128, 128, 128)
    for seed, name in enumerate(("0001TP_006690", "Seq05VD_f05100")):
        save(picture(seed), root / f"701_StillsRaw_full/{name}.png")
        save(colours, root / f"LabeledApproved_full/{name}_L.png")
    (root / "label_colors.txt").write_text("64 128 64\tAnimal")
    return root


def ade(root):
    for split, folder in (("train", "training"), ("val", "validation")):
        name = f"ADE_{split}_00000001"
        save(picture(1), root / f"ADEChallengeData2016/images/{folder}/{name}.jpg", quality=95)
        mask = np.full((12, 16), 150, np.uint8)
        mask[0], mask[1] = 0, 1
        save(mask, root / f"ADEChallengeData2016/annotations/{folder}/{name}.png")
    (root / "ADEChallengeData2016/objectInfo150.txt").write_text("Idx")
    return root


def test_segnets_split_and_values_are_kept(tmp_path):
    cases = found("camvid", camvid(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {name: split for split, name in SEGNET.items()}
    assert {c.group for c in cases.values()} == {"0006R0", "0016E5", "Seq05VD"}
    np.testing.assert_array_equal(labels("camvid", cases["0016E5_07959"]), TWELVE + 1)  # sky 1 ... ignore 12


def test_colours_of_the_original_form_are_classes_and_black_is_ignored(tmp_path):
    cases = found("camvid_32", camvid_32(tmp_path))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        "0001TP_006690": ("train", "0001TP"),
        "Seq05VD_f05100": ("train", "Seq05VD"),
    }
    names = all_layouts()["camvid_32"].legend([]).names
    found_labels = labels("camvid_32", cases["0001TP_006690"])[:5, 0].tolist()
    assert found_labels == [names[n] for n in ("Animal", "Road", "Wall", "Sky", "ignore")] == [1, 18, 31, 22, 32]


def test_colours_between_classes_are_refused(tmp_path):
    """Masks that somebody has scaled with interpolation have them."""
    camvid_32(tmp_path)
    save(picture(3), tmp_path / "LabeledApproved_full/0001TP_006690_L.png")
    with pytest.raises(RefusedFile, match="0001TP_006690_L"):
        labels("camvid_32", found("camvid_32", tmp_path)["0001TP_006690"])


def test_ade20k_has_150_classes_and_ignores_zero(tmp_path):
    assert (len(LABELS), LABELS[0], LABELS[44], LABELS[149]) == (150, "wall=1", "chest of drawers=45", "flag=150")
    cases = found("ade20k", ade(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"ADE_train_00000001": "train", "ADE_val_00000001": "val"}
    assert labels("ade20k", cases["ADE_val_00000001"])[:3, 0].tolist() == [151, 1, 150]


@pytest.mark.parametrize(("name", "tree"), [("camvid", camvid), ("camvid_32", camvid_32), ("ade20k", ade)])
def test_missing_masks_and_wrong_folders_are_complained_about(tmp_path, name, tree):
    tree(tmp_path)
    image = next(p for pattern in ("train/*", "701*/*", "*/images/*/*") for p in sorted(tmp_path.glob(pattern)))
    image.rename(image.with_name("0001TP_000001" + image.suffix))
    assert {p.code for p in complaints(name, tmp_path)} == {"mask-missing", "image-missing"}
    assert complaints(name, tmp_path / "none")[0].code == "layout-not-found"
