"""GlaS in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

GLANDS = np.zeros((12, 16), np.uint8)
GLANDS[1:4, 1:5] = 1
GLANDS[6:9, 6:12] = 2
GLANDS[10, 0] = 17
NAMES = ("train_1", "train_2", "testA_1", "testB_1")
TABLE = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\n" + "".join(
    f"{name},{patient}, benign, adenomatous\n" for name, patient in zip(NAMES, (1, 9, 4, 4), strict=True)
)


def glas(root, table=TABLE):
    for seed, name in enumerate(NAMES):
        save(picture(seed), root / f"{name}.bmp")
        save(GLANDS, root / f"{name}_anno.bmp")
    (root / "Grade.csv").write_text(table)
    return root


def test_patients_are_groups_and_both_test_parts_are_test(tmp_path):
    cases = found("glas", glas(tmp_path))
    assert {n: (c.group, c.split) for n, c in cases.items()} == {
        "train_1": ("patient1", "train"),
        "train_2": ("patient9", "train"),
        "testA_1": ("patient4", "test"),
        "testB_1": ("patient4", "test"),
    }


def test_every_gland_is_foreground(tmp_path):
    for case in found("glas", glas(tmp_path)).values():
        np.testing.assert_array_equal(labels("glas", case), GLANDS > 0)


def test_what_is_missing_is_named(tmp_path):
    assert complaints("glas", tmp_path)[0].code == "layout-not-found"
    (glas(tmp_path) / "train_2_anno.bmp").unlink()
    (problem,) = complaints("glas", tmp_path)
    assert (problem.code, "train_2.bmp" in problem.where) == ("mask-missing", True)
    glas(tmp_path, TABLE.replace("train_2,9", "train_2,"))
    (problem,) = complaints("glas", tmp_path)
    assert (problem.code, "train_2" in problem.where) == ("group-missing", True)
    (tmp_path / "Grade.csv").unlink()
    assert [p.code for p in complaints("glas", tmp_path)] == ["unreadable"]
