"""RETINA of the two-stage paper: CHASE_DB1, DRIVE and STARE together."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets import chase_db1, drive, stare
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout, Finder
from nnunet_ext.dataset_conversion.datasets.parts import Part, find_parts, without_unlabelled
from nnunet_ext.dataset_conversion.problems import Problem

SETS: dict[str, Finder] = {"CHASE_DB1": chase_db1.find, "DRIVE": drive.find, "STARE": stare.find}


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find the cases of all three sets; their own splits are dropped, images without a mask are left out."""
    cases = [
        replace(case, name=f"{name}_{case.name}", split="train", group=case.group and f"{name}_{case.group}")
        for name, find_set in SETS.items()
        for case in find_set(root / name, problems)
    ]
    return without_unlabelled(cases, problems)


def _child(key: str) -> dict[str, str]:
    """Both eyes of a child of CHASE_DB1 are a group, if the image is still called as there."""
    match = re.search(r"Image_(\d\d)[LR]", key)
    group = f"CHASE_DB1_child{match[1]}" if match else ""
    return {"group": group, "structure": "Retinal vessels", "modality": "Fundus"}


FLAT = Part("*image.png", r"(.+?)_?image\.png", "*mask.png", r"(.+?)_?mask\.png")

PAPER = "Staal et al. (DRIVE) 2004, Hoover et al. (STARE) 2000, Fraz et al. (CHASE_DB1) 2012"

LAYOUTS = (
    DatasetLayout(
        name="retina",
        title="RETINA: CHASE_DB1, DRIVE and STARE",
        papers=("two_stage",),
        reference=PAPER,
        url="see chase_db1, drive and stare",
        licence="see chase_db1, drive and stare",
        tree="CHASE_DB1/ (as chase_db1)\nDRIVE/ (as drive)\nSTARE/ (as stare)",
        version="the three data sets in their own layouts, in folders of these names",
        confirmed="as chase_db1, drive and stare",
        cases=find,
        counts={"train": 68},
        threshold=127,
        test_share=0.3,
        notes=(
            "the paper has 66 images of the 68 and does not say which; its split (70 % for training) is not published",
            "48 images remain if the test part of DRIVE comes without masks: pass --partial",
        ),
    ),
    DatasetLayout(
        name="retina_flat",
        title="RETINA as the paper's authors arranged it",
        papers=("two_stage",),
        reference=PAPER,
        url="see chase_db1, drive and stare",
        licence="see chase_db1, drive and stare",
        tree="NAMEimage.png\nNAMEmask.png\n... (all in one folder)",
        version="arranged by hand by the authors; not given out",
        confirmed="public loader: the code of the paper (names only)",
        cases=partial(find_parts, parts=(FLAT,), describe=_child),
        threshold=127,
        test_share=0.3,
        notes=("groups are only known for images that are still called as in CHASE_DB1 (Image_01L)",),
    ),
)
