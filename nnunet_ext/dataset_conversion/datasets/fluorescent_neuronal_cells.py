"""Fluorescent Neuronal Cells, version 1 ("yellow"): neurons in slices of mouse brain, stained with CTb."""

from __future__ import annotations

import re
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the animal, where the file name tells it (``Mar21bS1C2R2_...``)."""
    images = files_by_key(root, "all_images/images/*.png", r"all_images/images/(.+)\.png", problems)
    masks = files_by_key(root, "all_masks/masks/*.png", r"all_masks/masks/(.+)\.png", problems)
    return [
        Case(key, ImageFile(image), MaskFile(mask), "train", animal_of(key), "Neurons", "Fluorescence microscopy")
        for key, image, mask in paired(images, masks, problems)
        if mask is not None
    ]


def animal_of(key: str) -> str:
    """``"mar21"`` of ``Mar21bS1C2R2_VLPAGl_200x_y``; "" for names that are only numbers (``39_y``)."""
    match = re.match(r"(mar\d+)b?s\d", key.lower())
    return match.group(1) if match else ""


LAYOUTS = (
    DatasetLayout(
        name="fluorescent_neuronal_cells",
        title="Fluorescent Neuronal Cells (version 1, yellow)",
        papers=("spatial_lifting",),
        reference="Morelli et al., Automating cell counting in fluorescent microscopy ..., Scientific Reports 11, 2021",
        url="https://amsacta.unibo.it/id/eprint/6706/",
        licence="CC BY-SA 4.0, https://amsacta.unibo.it/id/eprint/6706/",
        tree="all_images/images/*.png\nall_masks/masks/*.png (same names, 0 and 255)",
        version="version 1 (fluocells.zip), not version 2 with its collections yellow, green and red",
        confirmed="public loader: several read these two folders; not confirmed: that the published files keep the "
        "names that the authors' repository, cell_counting_yellow, lists (without them, images have no groups)",
        cases=find,
        counts={"train": 283},
        threshold=127,
        test_share=83 / 283,
        notes=(
            "the paper's list of 83 test images is not published: they are drawn anew, animal by animal",
            "the data set's authors tested on 70 other images of their own choice",
        ),
    ),
)
