"""NuInsSeg in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

NUCLEI = np.zeros((12, 16), bool)
NUCLEI[5:7, 5:9] = True


def nuinsseg(root):
    for seed, (organ, stem) in enumerate((("human bladder", "human_bladder_01"), ("mouse liver", "mouse liver 02"))):
        save(picture(seed), root / organ / "tissue images" / f"{stem}.png")
        save(NUCLEI, root / organ / "mask binary" / f"{stem}.png")
        save(~NUCLEI, root / organ / "mask binary without border" / f"{stem}.png")
        save(NUCLEI.astype(np.uint16) * 300, root / organ / "label masks" / f"{stem}.tif")
        save(~NUCLEI, root / organ / "vague areas" / "mask binary" / f"{stem}.png")
    return root


def test_organs_are_groups_and_structures(tmp_path):
    cases = found("nuinsseg", nuinsseg(tmp_path))
    assert {n: (c.group, c.structure, c.split) for n, c in cases.items()} == {
        "human_bladder_01": ("human bladder", "Nuclei, human bladder", "train"),
        "mouse_liver_02": ("mouse liver", "Nuclei, mouse liver", "train"),
    }
    for case in cases.values():
        np.testing.assert_array_equal(labels("nuinsseg", case), NUCLEI)


def test_missing_masks_are_named(tmp_path):
    (nuinsseg(tmp_path) / "human bladder/mask binary/human_bladder_01.png").unlink()
    (problem,) = complaints("nuinsseg", tmp_path)
    assert (problem.code, "human_bladder_01.png" in problem.where) == ("mask-missing", True)
    assert complaints("nuinsseg", tmp_path / "human bladder")[0].code == "layout-not-found"
