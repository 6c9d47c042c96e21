"""Cityscapes: street scenes of 50 cities with 19 classes; fine annotations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.cityscapes_ids import (
    BY_LABEL_ID,
    BY_TRAIN_ID,
    IGNORED_TRAIN_ID,
    without_road_class,
)
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.road_scenes import Names, by_official_split
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

IMAGES = Names("leftImg8bit/{split}/*/*_leftImg8bit.png", "leftImg8bit/{split}/[^/]+/([^/]+)_leftImg8bit[.]png")


def find(root: Path, problems: list[Problem], ids: str = "labelIds") -> list[Case]:
    """Find all cases; the group is the city. Test images get no mask: their files hold ignored ids only."""
    masks = Names(f"gtFine/{{split}}/*/*_gtFine_{ids}.png", f"gtFine/{{split}}/[^/]+/([^/]+)_gtFine_{ids}[.]png")
    return [
        Case(
            name=key,
            image=ImageFile(image),
            mask=None if mask is None else MaskFile(mask),
            split=split,
            group=key.partition("_")[0],
            structure="Street scene",
            modality="Car camera",
        )
        for key, image, mask, split in by_official_split(root, IMAGES, masks, problems)
    ]


def _layout(name: str, title: str, ids: str, labels: tuple[str, ...], *notes: str) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=f"Cityscapes, {title}",
        papers=("ovenet",),
        reference="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
        url="https://www.cityscapes-dataset.com/downloads/",
        licence="own terms, non-commercial: https://www.cityscapes-dataset.com/license/",
        tree=(
            "leftImg8bit/{train,val,test}/<city>/<city>_000000_000019_leftImg8bit.png\n"
            f"gtFine/{{train,val}}/<city>/<city>_000000_000019_gtFine_{ids}.png"
        ),
        version="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip in one folder",
        confirmed="public documentation: https://github.com/mcordts/cityscapesScripts README and helpers/labels.py",
        cases=partial(find, ids=ids),
        counts={"train": 2975, "val": 500, "test": 1525},
        labels=labels,
        ignore=None if ids == "labelIds" else str(IGNORED_TRAIN_ID),
        other="ignore" if ids == "labelIds" else "refuse",
        notes=("the masks of the test images are withheld; scores come from the data set's server", *notes),
    )


LAYOUTS = (
    _layout("cityscapes", "19 classes by label id", "labelIds", BY_LABEL_ID),
    _layout(
        "cityscapes_trainids",
        "19 classes by train id",
        "labelTrainIds",
        BY_TRAIN_ID,
        "*_labelTrainIds.png are not in the archive; csCreateTrainIdLabelImgs of cityscapesscripts makes them",
    ),
    _layout(
        "cityscapes_19heads",
        "19 network outputs as in the OVeNet paper",
        "labelIds",
        without_road_class(BY_LABEL_ID),
        "road is called background, so that the network has exactly 19 outputs: nnU-Net leaves it out of its Dice "
        "loss and scores, and fills borders with it",
    ),
)
