"""BUSI in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts

FIRST = np.zeros((12, 16), bool)
FIRST[2:5, 2:6] = True
SECOND = np.zeros((12, 16), bool)
SECOND[7:10, 9:14] = True


def busi(root):
    for index, (kind, number) in enumerate((("benign", 1), ("benign", 100), ("malignant", 1), ("normal", 1))):
        save(picture(index), root / kind / f"{kind} ({number}).png")
        mask = FIRST if kind != "normal" else np.zeros_like(FIRST)
        save(mask.astype(np.uint8) * 255, root / kind / f"{kind} ({number})_mask.png")
    save(SECOND, root / "benign/benign (100)_mask_1.png")
    return root


def test_all_masks_of_an_image_are_united(tmp_path):
    cases = found("busi", busi(tmp_path))
    assert {n: c.structure for n, c in cases.items()} == {
        "benign_1": "Breast tumour (benign)",
        "benign_100": "Breast tumour (benign)",
        "malignant_1": "Breast tumour (malignant)",
    }
    np.testing.assert_array_equal(labels("busi", cases["benign_1"]), FIRST)
    np.testing.assert_array_equal(labels("busi", cases["benign_100"]), FIRST | SECOND)
    assert all_layouts()["busi"].folds == 4


def test_normal_images_have_a_data_set_with_them(tmp_path):
    cases = found("busi_with_normal", busi(tmp_path))
    assert len(cases) == 4
    assert not labels("busi_with_normal", cases["normal_1"]).any()


def test_missing_masks_and_images_are_named(tmp_path):
    busi(tmp_path)
    (tmp_path / "benign/benign (1)_mask.png").unlink()
    save(SECOND, tmp_path / "malignant/malignant (7)_mask_1.png")
    problems = [(p.code, p.where.partition(": ")[0]) for p in complaints("busi", tmp_path)]
    assert problems == [
        ("mask-missing", str(tmp_path / "benign/benign (1).png")),
        ("image-missing", str(tmp_path / "malignant/malignant (7)_mask_1.png")),
    ]
    assert complaints("busi", tmp_path / "benign")[0].code == "layout-not-found"
