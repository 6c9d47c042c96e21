"""PH2 in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

LESION = np.zeros((12, 16), bool)
LESION[3:9, 4:12] = True


def ph2(root):
    for index, name in enumerate(("IMD002", "IMD435")):
        folder = root / "PH2 Dataset images" / name
        save(picture(index), folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
        mask = LESION if index == 0 else LESION.astype(np.uint8) * 255  # 1 bit, or 8
        save(mask, folder / f"{name}_lesion" / f"{name}_lesion.bmp")
        save(~LESION, folder / f"{name}_roi" / f"{name}_R1_Label3.bmp")
    return root


def test_lesions_are_the_labels_and_regions_are_left_out(tmp_path):
    cases = found("ph2", ph2(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"IMD002": "train", "IMD435": "train"}
    for case in cases.values():
        np.testing.assert_array_equal(labels("ph2", case), LESION)


def test_missing_masks_are_named(tmp_path):
    (ph2(tmp_path) / "PH2 Dataset images/IMD435/IMD435_lesion/IMD435_lesion.bmp").unlink()
    (problem,) = complaints("ph2", tmp_path)
    assert (problem.code, "IMD435.bmp" in problem.where) == ("mask-missing", True)
    assert complaints("ph2", tmp_path / "PH2 Dataset images")[0].code == "layout-not-found"
