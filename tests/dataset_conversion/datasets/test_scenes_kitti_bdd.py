"""KITTI semantics and BDD100K in their own layouts."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save


def stripes(*values):
    """(12, 16) uint8: one stripe of columns for each value."""
    return np.repeat(np.array(values, np.uint8), 16 // len(values))[None].repeat(12, axis=0)


KITTI_IDS = stripes(7, 26, 30, 33, 1, 28, 25, 32)
BDD_IDS = stripes(0, 13, 16, 18, 255, 14, 12, 17)


def kitti(root):
    folder = root / "data_semantics"
    for index in range(2):
        name = f"{index:06}_10.png"
        save(picture(index), folder / f"training/image_2/{name}")
        save(KITTI_IDS, folder / f"training/semantic/{name}")
        save(picture(5), folder / f"training/semantic_rgb/{name}")
        save(KITTI_IDS.astype(np.uint16) * 256, folder / f"training/instance/{name}")
    save(picture(3), folder / "testing/image_2/000000_10.png")
    return root


def bdd_newer(root):
    for split, name in (("train", "0004a4c0-d4dff0ad"), ("val", "7d06fefd-f7be05a6"), ("test", "cabc30fc-e7726578")):
        save(picture(1), root / f"bdd100k/images/10k/{split}/{name}.jpg", quality=95)
        if split != "test":
            save(BDD_IDS, root / f"bdd100k/labels/sem_seg/masks/{split}/{name}.png")
            save(picture(2), root / f"bdd100k/labels/sem_seg/colormaps/{split}/{name}.png")
    return root


def bdd_older(root):
    for split, name in (("train", "0004a4c0-d4dff0ad"), ("val", "7d06fefd-f7be05a6"), ("test", "cabc30fc-e7726578")):
        save(picture(1), root / f"bdd100k/seg/images/{split}/{name}.jpg", quality=95)
        if split != "test":
            save(BDD_IDS, root / f"bdd100k/seg/labels/{split}/{name}_train_id.png")
            save(picture(2), root / f"bdd100k/seg/color_labels/{split}/{name}_train_color.png")
    return root


def test_kitti_has_19_classes_and_test_images_without_masks(tmp_path):
    cases = found("kitti", kitti(tmp_path))
    assert {n: (c.split, c.mask is None) for n, c in cases.items()} == {
        "000000_10": ("train", False),
        "000001_10": ("train", False),
        "test_000000_10": ("test", True),
    }
    np.testing.assert_array_equal(labels("kitti", cases["000001_10"]), stripes(1, 14, 20, 19, 20, 16, 13, 18))


def test_vehicles_of_kitti_are_the_ids_of_the_paper(tmp_path):
    cases = found("kitti_vehicles", kitti(tmp_path) / "data_semantics")
    assert {n: c.split for n, c in cases.items()} == {"000000_10": "train", "000001_10": "train"}
    np.testing.assert_array_equal(labels("kitti_vehicles", cases["000000_10"]), stripes(0, 1, 1, 0, 0, 1, 0, 0))


@pytest.mark.parametrize("tree", [bdd_newer, bdd_older])
def test_both_trees_of_bdd100k_are_found(tmp_path, tree):
    cases = found("bdd100k", tree(tmp_path))
    assert {n: (c.split, c.mask is None) for n, c in cases.items()} == {
        "0004a4c0-d4dff0ad": ("train", False),
        "7d06fefd-f7be05a6": ("val", False),
        "cabc30fc-e7726578": ("test", True),
    }
    expected = stripes(1, 14, 17, 19, 20, 15, 13, 18)
    np.testing.assert_array_equal(labels("bdd100k", cases["7d06fefd-f7be05a6"]), expected)


@pytest.mark.parametrize("tree", [bdd_newer, bdd_older])
def test_vehicles_of_bdd100k_are_pooled_and_unlabelled_pixels_ignored(tmp_path, tree):
    cases = found("bdd100k_vehicles", tree(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"0004a4c0-d4dff0ad": "train", "7d06fefd-f7be05a6": "train"}
    expected = stripes(0, 1, 1, 0, 2, 1, 0, 0)
    np.testing.assert_array_equal(labels("bdd100k_vehicles", cases["0004a4c0-d4dff0ad"]), expected)


@pytest.mark.parametrize(("name", "tree", "gone"), [("kitti", kitti, "000001_10"), ("bdd100k", bdd_newer, "7d06fefd")])
def test_missing_masks_are_named(tmp_path, name, tree, gone):
    tree(tmp_path)
    for mask in [*tmp_path.rglob(f"semantic/{gone}*"), *tmp_path.rglob(f"masks/*/{gone}*")]:
        mask.rename(mask.with_name("unknown.png"))
    codes = {p.code: p.where for p in complaints(name, tmp_path)}
    assert set(codes) == {"mask-missing", "image-missing"}
    assert gone in codes["mask-missing"]
    assert complaints(name, tmp_path / "none")[0].code == "layout-not-found"
