"""TNBC: nuclei in H&E images of triple-negative breast cancer, 11 patients."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the slide, which is one patient."""
    images = files_by_key(root, "Slide_*/*.png", r"Slide_\d+/(\d+_\d+)\.png", problems)
    masks = files_by_key(root, "GT_*/*.png", r"GT_\d+/(\d+_\d+)\.png", problems)
    return [
        Case(key, ImageFile(image), MaskFile(mask), "train", image.parent.name, "Nuclei", "H&E histology")
        for key, image, mask in paired(images, masks, problems)
        if mask is not None
    ]


LAYOUTS = (
    DatasetLayout(
        name="tnbc",
        title="TNBC nuclei",
        papers=("spatial_lifting",),
        reference="Naylor et al., Segmentation of nuclei in histopathology images by deep regression of the distance "
        "map, IEEE Trans. Med. Imaging 38, 2019",
        url="https://zenodo.org/records/1175282",
        licence="not confirmed, see https://zenodo.org/records/1175282",
        tree="Slide_01/01_1.png\nGT_01/01_1.png\n... (Slide_01 to Slide_11)",
        version="TNBC_NucleiSegmentation.zip, version 1.0",
        confirmed="public loader: several, found by text search, pair Slide_*/ and GT_*/ by name; one counts 50 and 11",
        cases=find,
        counts={"train": 50},
        test_share=14 / 50,
        notes=(
            "the paper's list of 14 test images is not published: here whole slides are drawn, each of one patient",
            "touching nuclei merge: the labels do not tell them apart",
        ),
    ),
)
