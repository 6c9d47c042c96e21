"""Cosmos55k: folders with pairs, lists of paths, structures in names."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts
from nnunet_ext.dataset_conversion.datasets.cosmos55k_names import STRUCTURES, structure_of

ORGAN = np.zeros((12, 16), bool)
ORGAN[3:9, 4:12] = True
STEMS = {"train": "AMOS22_Liver_0001", "val": "Kvasir_Polyp_7", "test": "BraTS20_Brain_tumor_3"}


def pair(folder, stem, seed, mask_folder=None):
    image = save(picture(seed), folder / f"{stem}.png")
    save(ORGAN.astype(np.uint8) * 255, (mask_folder or folder) / f"{stem}_mask.png")
    return image


def cosmos(root):
    for seed, (split, stem) in enumerate(STEMS.items()):
        pair(root / split, stem, seed)
    return root


def test_folders_are_parts_and_names_tell_structure_and_modality(tmp_path):
    cases = found("cosmos55k", cosmos(tmp_path))
    assert {n: (c.split, c.structure, c.modality, c.group) for n, c in cases.items()} == {
        "AMOS22_Liver_0001": ("train", "Liver", "", ""),
        "Kvasir_Polyp_7": ("val", "Polyp", "Colonoscopy", ""),
        "BraTS20_Brain_tumor_3": ("test", "Brain tumor", "", ""),
    }
    for case in cases.values():
        np.testing.assert_array_equal(labels("cosmos55k", case), ORGAN)


@pytest.mark.parametrize(
    ("stem", "structure"),
    [
        ("KiTS_kidney_1", "Kidney"),
        ("MSD_Lung-tumor_1", "Lung tumor"),
        ("MSD_LungTumor_1", "Lung tumor"),
        ("LUNA_Lung_1", "Lung"),
        ("SIIM_LungX_1", "LungX"),
        ("A_Head_of_femur_1", "Head of femur"),
        ("A_Inferior vena cava_1", "Inferior vena cava"),
        ("A_Toe_1", None),
        ("Liver", None),
    ],
)
def test_structures_are_known_by_the_words_after_the_data_set(stem, structure):
    assert structure_of(stem) == structure


def test_the_counts_of_structures_and_parts_agree():
    assert sum(STRUCTURES.values()) == sum(all_layouts()["cosmos55k"].counts.values()) == 55023
    assert len(STRUCTURES) == 26


def test_an_unknown_structure_is_a_warning(tmp_path):
    pair(cosmos(tmp_path) / "train", "Mine_Toe_1", 9)
    (problem,) = complaints("cosmos55k", tmp_path)
    assert (problem.code, problem.is_warning, "Mine_Toe_1" in problem.where) == ("unknown-structure", True, True)
    cases = {case.name: case for case in all_layouts()["cosmos55k"].cases(tmp_path, [])}
    assert cases["Mine_Toe_1"].structure == "Toe"


def test_lists_name_images_beside_their_masks_or_in_parallel_folders(tmp_path):
    beside = pair(tmp_path / "all", STEMS["train"], 1)
    pair(tmp_path / "Image/CT", STEMS["val"], 2, tmp_path / "Mask/CT")
    pair(tmp_path / "Image/CT", STEMS["test"], 3, tmp_path / "Mask/CT")
    (tmp_path / "train.lst").write_text(f"{beside}\n\n")
    (tmp_path / "val.txt").write_text(f"Image/CT/{STEMS['val']}.png\n")
    (tmp_path / "test.lst").write_text(f"{tmp_path}/Image/CT/{STEMS['test']}.png")
    cases = found("cosmos55k", tmp_path)
    assert {n: c.split for n, c in cases.items()} == {stem: split for split, stem in STEMS.items()}
    for case in cases.values():
        np.testing.assert_array_equal(labels("cosmos55k", case), ORGAN)


def test_list_entries_that_are_not_found_are_errors(tmp_path):
    image = pair(tmp_path / "all", STEMS["train"], 1)
    lonely = save(picture(2), tmp_path / "all/AMOS22_Liver_0002.png")
    (tmp_path / "train.txt").write_text(f"{image}\n{tmp_path}/all/none.png\n{lonely}\n{image}\n")
    problems = complaints("cosmos55k", tmp_path)
    assert [(p.code, p.is_warning) for p in problems] == [
        ("entry-not-found", False),
        ("mask-missing", False),
        ("case-twice", False),
    ]
    assert "train.txt, line 2" in problems[0].where
    assert "train.txt, line 3" in problems[1].where


def test_two_lists_of_one_part_are_refused(tmp_path):
    image = pair(tmp_path / "all", STEMS["train"], 1)
    for name in ("train.lst", "train.txt"):
        (tmp_path / name).write_text(f"{image}\n")
    assert [p.code for p in complaints("cosmos55k", tmp_path)] == ["list-twice"]


def test_missing_masks_and_wrong_roots_are_named(tmp_path):
    (cosmos(tmp_path) / "val/Kvasir_Polyp_7_mask.png").unlink()
    pair(tmp_path / "val", "Kvasir_Polyp_8", 5)
    (problem,) = complaints("cosmos55k", tmp_path)
    assert (problem.code, "Kvasir_Polyp_7.png" in problem.where) == ("mask-missing", True)
    assert complaints("cosmos55k", tmp_path / "train")[0].code == "layout-not-found"
    save(picture(1), tmp_path / "train/Kvasir_Polyp_8.png")
    save(ORGAN, tmp_path / "train/Kvasir_Polyp_8_mask.png")
    assert "case-twice" in {p.code for p in complaints("cosmos55k", tmp_path)}
