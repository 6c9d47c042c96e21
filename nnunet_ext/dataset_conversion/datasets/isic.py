"""ISIC 2017 and 2018: dermoscopic images, the lesion's outline."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts

FOLDERS_2018 = {
    "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
}
FOLDERS_2017 = {
    "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
    "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
    "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
}


def _parts(folders: dict[str, tuple[str, str]]) -> tuple[Part, ...]:
    """Name the folders of each part; without the validation or test part the rest can still be used."""
    return tuple(
        Part(
            f"{images}/*.jpg",
            rf"{images}/(ISIC_\d{{7}})\.jpg",
            f"{masks}/*.png",
            rf"{masks}/(ISIC_\d{{7}})_segmentation\.png",
            split,
            optional=split != "train",
        )
        for split, (images, masks) in folders.items()
    )


def _tree(folders: dict[str, tuple[str, str]]) -> str:
    return "\n".join(
        f"{images}/ISIC_0000000.jpg\n{masks}/ISIC_0000000_segmentation.png" for images, masks in folders.values()
    )


SKIN = always(structure="Skin lesion", modality="Dermoscopy")

LAYOUTS = (
    DatasetLayout(
        name="isic2018",
        title="ISIC 2018, task 1",
        papers=("spatial_lifting",),
        reference="Codella et al., Skin lesion analysis toward melanoma detection 2018, arXiv:1902.03368",
        url="https://challenge.isic-archive.com/data/#2018",
        licence="CC BY-NC 4.0 according to https://github.com/dataset-ninja/isic-challenge-2018",
        tree=_tree(FOLDERS_2018),
        version="the six archives of tasks 1-2 and 1, unpacked into folders of their names",
        confirmed=(
            "public documentation: https://challenge.isic-archive.com/data/#2018 and the trees in public repositories, "
            "such as kovmartin/DD2424VT191_Group90 DOWNLOAD_DATASET.md"
        ),
        cases=partial(find_parts, parts=_parts(FOLDERS_2018), describe=SKIN),
        counts={"train": 2594, "val": 100, "test": 1000},
        notes=(
            "the paper trains on 2594 images and tests on 1000; the 100 for validation validate fold 0 here",
            "several images may show one lesion or one patient; the names do not tell",
        ),
    ),
    DatasetLayout(
        name="isic2017",
        title="ISIC 2017, part 1",
        papers=(),
        reference="Codella et al., Skin lesion analysis toward melanoma detection: ISBI 2017, arXiv:1710.05006",
        url="https://challenge.isic-archive.com/data/#2017",
        licence="CC0 (from memory), https://challenge.isic-archive.com/data/#2017",
        tree=_tree(FOLDERS_2017) + "\nISIC_0000000_superpixels.png beside the images (left out)",
        version="the six archives, unpacked into folders of their names; test is version 2",
        confirmed=(
            "files seen (some of the training part, in a public copy); folders and files: public documentation: "
            "https://challenge.isic-archive.com/data/#2017"
        ),
        cases=partial(find_parts, parts=_parts(FOLDERS_2017), describe=SKIN),
        counts={"train": 2000, "val": 150, "test": 600},
    ),
)
