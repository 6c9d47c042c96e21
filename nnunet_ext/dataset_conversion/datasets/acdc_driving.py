"""ACDC: driving scenes in fog, at night, in rain and snow, with the classes of Cityscapes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.cityscapes_ids import BY_LABEL_ID, BY_TRAIN_ID, IGNORED_TRAIN_ID
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.road_scenes import Names, by_official_split
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

CONDITIONS = "fog|night|rain|snow"
# <condition>/train_ref/ and so on, the same places in good weather without masks, do not match {split}
IMAGES = Names("rgb_anon/*/{split}/*/*_rgb_anon.png", f"rgb_anon/({CONDITIONS})/{{split}}/[^/]+/([^/]+)_rgb_anon[.]png")


def find(root: Path, problems: list[Problem], ids: str = "labelIds") -> list[Case]:
    """Find all cases; the group is the sequence, the modality the weather or "Night"."""
    masks = Names(f"gt/*/{{split}}/*/*_gt_{ids}.png", f"gt/({CONDITIONS})/{{split}}/[^/]+/([^/]+)_gt_{ids}[.]png")
    return [
        Case(
            name=key,
            image=ImageFile(image),
            mask=None if mask is None else MaskFile(mask),
            split=split,
            group=f"{key.partition('_')[0]}_{image.parent.name}",
            structure="Street scene",
            modality=key.partition("_")[0].capitalize(),
        )
        for key, image, mask, split in by_official_split(root, IMAGES, masks, problems)
    ]


def _layout(name: str, title: str, ids: str, labels: tuple[str, ...]) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=f"ACDC (driving), {title}",
        papers=("ovenet",),
        reference="Sakaridis et al., ACDC: The Adverse Conditions Dataset with Correspondences ..., ICCV 2021",
        url="https://acdc.vision.ee.ethz.ch/download",
        licence="own terms, non-commercial: https://acdc.vision.ee.ethz.ch/license",
        tree=(
            "rgb_anon/{fog,night,rain,snow}/{train,val,test}/<sequence>/<frame>_rgb_anon.png\n"
            f"gt/{{fog,night,rain,snow}}/{{train,val}}/<sequence>/<frame>_gt_{ids}.png"
        ),
        version="rgb_anon_trainvaltest.zip and gt_trainval.zip in one folder",
        confirmed="public loader: w1oves/Rein configs/_base_/datasets/fog-acdc_1024x1024.py",
        cases=partial(find, ids=ids),
        counts={"train": 1600, "val": 406, "test": 2000},
        labels=labels,
        ignore=None if ids == "labelIds" else str(IGNORED_TRAIN_ID),
        other="ignore" if ids == "labelIds" else "refuse",
        notes=(
            "not the cardiac ACDC, which is Dataset027 of nnU-Net",
            "the column modality of cases.csv holds the condition: Fog, Night, Rain or Snow",
            "the masks of the test images are withheld; the *_ref folders (good weather, no masks) are left out",
        ),
    )


LAYOUTS = (
    _layout("acdc_driving", "19 classes by label id", "labelIds", BY_LABEL_ID),
    _layout("acdc_driving_trainids", "19 classes by train id", "labelTrainIds", BY_TRAIN_ID),
)
