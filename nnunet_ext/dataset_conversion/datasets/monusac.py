"""MoNuSAC 2020: nuclei of four kinds in H&E images of four organs, as outlines in ImageScope XML."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.polygons import Polygons
from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

FOLDERS = {"train": "MoNuSAC_images_and_annotations", "test": "MoNuSAC Testing Data and Annotations"}
PATIENT = 12  # characters of TCGA's names that tell the patient: TCGA-55-1594


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the patient. The test part may be absent."""
    return [case for split in FOLDERS for case in _part(root, split, problems)]


def _part(root: Path, split: str, problems: list[Problem]) -> list[Case]:
    folder, needed = FOLDERS[split], split == "train"
    images = files_by_key(root, f"{folder}/*/*.tif", rf"{folder}/[^/]+/([^/]+)\.tif", problems, needed=needed)
    needed = needed or bool(images)
    masks = files_by_key(root, f"{folder}/*/*.xml", rf"{folder}/[^/]+/([^/]+)\.xml", problems, needed=needed)
    masks = {key: path for key, path in masks.items() if key in images}  # some regions are given as .svs only
    prefix = "test_" if split == "test" else ""  # a patient is in both, and so may be a file name
    return [
        Case(
            prefix + key, ImageFile(image), Polygons(mask, outside="leave out"), split, key[:PATIENT], "Nuclei",
            "H&E histology",
        )
        for key, image, mask in paired(images, masks, problems)
        if mask is not None
    ]  # fmt: skip


LAYOUTS = (
    DatasetLayout(
        name="monusac",
        title="MoNuSAC 2020, four kinds of nuclei",
        papers=("spatial_lifting",),
        reference="Verma et al., MoNuSAC2020: A multi-organ nuclei segmentation and classification challenge, "
        "IEEE Trans. Med. Imaging 40, 2021",
        url="https://monusac-2020.grand-challenge.org/Data/",
        licence="CC BY-NC-SA 4.0, https://monusac-2020.grand-challenge.org/Data/",
        tree="MoNuSAC_images_and_annotations/<patient>/<patient>_<n>.tif, .xml (and .svs, which is not read)\n"
        "MoNuSAC Testing Data and Annotations/<patient>/<patient>_<n>.tif, .xml",
        version="the two zips of the challenge's page, side by side",
        confirmed="public loader: kaiko-ai/eva (folders, counts), ruchikaverma-iitg/MoNuSAC (XML, drawing)",
        cases=find,
        counts={"train": 209, "test": 85},
        labels=("epithelial=Epithelial", "lymphocyte=Lymphocyte", "neutrophil=Neutrophil", "macrophage=Macrophage"),
        ignore="Ambiguous",
        other="ignore",
        notes=(
            "regions called Ambiguous, in the test part only, are ignored, as in the challenge",
            "by public lists, patients TCGA-A2-A0ES and TCGA-MP-A4T7 are in the training and in the test part",
            "regions that the zips hold as .svs without .tif are left out",
        ),
    ),
)
