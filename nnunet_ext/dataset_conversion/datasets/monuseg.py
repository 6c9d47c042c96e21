"""MoNuSeg 2018: nuclei in H&E images of seven organs and more, as outlines in ImageScope XML."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.polygons import Polygons
from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

PATIENT = 12  # characters of TCGA's names that tell the patient: TCGA-A7-A13E
TEST = "MoNuSegTestData"


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the patient. The test part may be absent."""
    images = files_by_key(root, "**/Tissue Images/*.tif", r"(?:.*/)?Tissue Images/([^/]+)\.tif", problems)
    masks = files_by_key(root, "**/Annotations/*.xml", r"(?:.*/)?Annotations/([^/]+)\.xml", problems)
    cases = _cases(images, masks, "train", problems)
    images = files_by_key(root, f"**/{TEST}/*.tif", rf"(?:.*/)?{TEST}/([^/]+)\.tif", problems, needed=False)
    masks = files_by_key(root, f"**/{TEST}/*.xml", rf"(?:.*/)?{TEST}/([^/]+)\.xml", problems, needed=bool(images))
    return cases + _cases(images, masks, "test", problems)


def _cases(images: dict[str, Path], masks: dict[str, Path], split: str, problems: list[Problem]) -> list[Case]:
    return [
        Case(key, ImageFile(image), Polygons(mask, "leave out"), split, key[:PATIENT], "Nuclei", "H&E histology")
        for key, image, mask in paired(images, masks, problems)
        if mask is not None
    ]


LAYOUTS = (
    DatasetLayout(
        name="monuseg",
        title="MoNuSeg 2018",
        papers=("spatial_lifting",),
        reference="Kumar et al., A dataset and a technique for generalized nuclear segmentation for computational "
        "pathology, IEEE Trans. Med. Imaging 36, 2017",
        url="https://monuseg.grand-challenge.org/Data/",
        licence="CC BY-NC-SA 4.0, https://monuseg.grand-challenge.org/Data/",
        tree="MoNuSeg 2018 Training Data/Tissue Images/<TCGA name>.tif\n"
        "MoNuSeg 2018 Training Data/Annotations/<TCGA name>.xml\n"
        "MoNuSegTestData/<TCGA name>.tif, .xml",
        version="the two zips of the challenge's page, side by side; a folder more around each does no harm",
        confirmed="public loader: clownrat6/Tissue-Image-Segmentation docs/data_prepare.md, and several others",
        cases=find,
        counts={"train": 37, "test": 14},
        notes=("touching nuclei merge: the labels do not tell them apart",),
    ),
)
