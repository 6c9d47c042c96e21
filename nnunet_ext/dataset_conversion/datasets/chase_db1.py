"""CHASE_DB1: colour photographs of the retina of school children, vessels drawn by two observers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

TRAINING_CHILDREN = 10  # of 14: the customary first 20 of 28 images; both eyes of a child stay together


def find(root: Path, problems: list[Problem], observer: str = "1stHO") -> list[Case]:
    """Find all cases; the group is the child, the first 20 images train."""
    images = files_by_key(root, "*.jpg", r"(Image_\d\d[LR])\.jpg", problems)
    masks = files_by_key(root, f"*_{observer}.png", rf"(Image_\d\d[LR])_{observer}\.png", problems)
    return [_case(key, image, mask) for key, image, mask in paired(images, masks, problems)]


def _case(key: str, image: Path, mask: Path | None) -> Case:
    child = key[6:8]
    split = "train" if int(child) <= TRAINING_CHILDREN else "test"
    annotation = None if mask is None else MaskFile(mask)
    return Case(key, ImageFile(image), annotation, split, f"child{child}", "Retinal vessels", "Fundus")


def _layout(name: str, observer: str, number: str) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=f"CHASE_DB1 ({number} observer)",
        papers=("spatial_lifting", "two_stage"),
        reference="Fraz et al., An ensemble classification-based approach ..., IEEE Trans. Biomed. Eng. 59, 2012",
        url="https://researchdata.kingston.ac.uk/96/",
        licence="CC BY 4.0, https://researchdata.kingston.ac.uk/96/",
        tree=f"Image_01L.jpg\nImage_01L_{observer}.png\n... (14 children, L and R)",
        version="CHASEDB1.zip of Kingston University, all files in one folder",
        confirmed="files seen (of a public copy)",
        cases=partial(find, observer=observer),
        counts={"train": 20, "test": 8},
        notes=("no official split: the customary one is used, the first 20 images train and the last 8 test",),
    )


LAYOUTS = (_layout("chase_db1", "1stHO", "first"), _layout("chase_db1_observer2", "2ndHO", "second"))
