"""The training and test sets of PraNet in their own layout."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

POLYP = np.zeros((12, 16), bool)
POLYP[3:9, 4:12] = True
KVASIR = "cju0qkwl35piu0993l0dewei2"
TEST = ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir")


def pranet(root, images="image", masks="mask"):
    where = [("TrainDataset", images, masks, name) for name in ("25", "26", KVASIR)]
    where += [(f"TestDataset/{source}", "images", "masks", "27") for source in TEST]
    for index, (folder, images_in, masks_in, name) in enumerate(where):
        save(picture(index), root / folder / images_in / f"{name}.png")
        save(POLYP.astype(np.uint8) * 255, root / folder / masks_in / f"{name}.png")
    return root


@pytest.mark.parametrize("folders", [("image", "mask"), ("images", "masks")])
def test_names_and_structures_tell_the_source(tmp_path, folders):
    cases = found("pranet_polyps", pranet(tmp_path, *folders))
    assert {n: (c.split, c.group, c.structure) for n, c in cases.items()} == {
        "CVC-ClinicDB_25": ("train", "CVC-ClinicDB_sequence01", "Polyp (CVC-ClinicDB)"),
        "CVC-ClinicDB_26": ("train", "CVC-ClinicDB_sequence02", "Polyp (CVC-ClinicDB)"),
        f"Kvasir_{KVASIR}": ("train", "", "Polyp (Kvasir)"),
        **{f"{source}_27": ("test", "", f"Polyp ({source})") for source in TEST},
    }
    np.testing.assert_array_equal(labels("pranet_polyps", cases["CVC-ClinicDB_26"]), POLYP)


def test_missing_masks_and_sets_are_named(tmp_path):
    (pranet(tmp_path) / "TrainDataset/mask/26.png").unlink()
    (tmp_path / "TestDataset/Kvasir").rename(tmp_path / "Kvasir")
    problems = complaints("pranet_polyps", tmp_path)
    assert problems[0].code == "mask-missing"
    assert "26.png" in problems[0].where
    assert {p.code for p in problems[1:]} == {"layout-not-found"}
    assert all("Kvasir" in p.where for p in problems[1:])
