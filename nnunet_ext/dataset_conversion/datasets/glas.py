"""GlaS (Warwick-QU): glands in H&E images of the colon, benign and malignant, objects numbered in BMP files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.instance_map import InstanceMap
from nnunet_ext.dataset_conversion.annotations.run_lengths import table_of
from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the patient of ``Grade.csv``. Test are parts A and B."""
    images = files_by_key(root, "*.bmp", r"((?:train|testA|testB)_\d+)\.bmp", problems)
    masks = files_by_key(root, "*_anno.bmp", r"((?:train|testA|testB)_\d+)_anno\.bmp", problems)
    patients = _patients(root / "Grade.csv", images, problems) if images else {}
    return [
        _case(key, image, mask, patients.get(key, ""))
        for key, image, mask in paired(images, masks, problems)
        if mask is not None
    ]


def _case(key: str, image: Path, mask: Path, patient: str) -> Case:
    split = "train" if key.startswith("train") else "test"
    group = f"patient{patient}" if patient else ""
    return Case(key, ImageFile(image), InstanceMap(mask), split, group, "Glands", "H&E histology")


def _patients(csv: Path, images: Collection[str], problems: list[Problem]) -> dict[str, str]:
    try:
        table = table_of(csv, ("name", "patient ID"))
    except RefusedFile as refused:
        problems.append(refused.problem)
        return {}
    patients = {str(name).strip(): str(p).strip() for name, p in zip(table["name"], table["patient ID"], strict=True)}
    for key in images:
        if not patients.get(key):
            what, remedy = "images without a patient", "use the Grade.csv of the data set"
            problems.append(Problem("group-missing", what, f"{csv} has no patient ID for {key}", remedy))
    return patients


LAYOUTS = (
    DatasetLayout(
        name="glas",
        title="GlaS, Warwick-QU",
        papers=("spatial_lifting",),
        reference="Sirinukunwattana et al., Gland segmentation in colon histology images: The GlaS challenge contest, "
        "Medical Image Analysis 35, 2017",
        url="https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest/",
        licence="research only, no commercial use, https://glas.grand-challenge.org/Dataset",
        tree="train_1.bmp, train_1_anno.bmp ... train_85\ntestA_1.bmp, testA_1_anno.bmp ... testA_60\n"
        "testB_1.bmp, testB_1_anno.bmp ... testB_20\nGrade.csv (name, patient ID, ...)",
        version="Warwick QU Dataset (Released 2016_07_08), all files in one folder",
        confirmed="public documentation: https://glas.grand-challenge.org/Dataset (an object a label); file "
        "names and columns of Grade.csv from public loaders",
        cases=find,
        counts={"train": 85, "test": 80},
        notes=("touching glands merge: the labels do not tell them apart",),
    ),
)
