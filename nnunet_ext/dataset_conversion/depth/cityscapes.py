"""Cityscapes: disparity of the stereo cameras, and distances computed from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import SPLITS
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key
from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.npy import NpyDepth, NpyImage
from nnunet_ext.dataset_conversion.depth.pairs import REMEDY, with_depth
from nnunet_ext.dataset_conversion.depth.stereo import Disparity
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem


def find(root: Path, problems: list[Problem], in_metres: bool) -> list[DepthCase]:
    """Find all cases of the three official parts; the group is the city. The part test need not be there."""
    cases = []
    for split in SPLITS:
        images, depths = (
            _files(root, split, kind, ".png", problems, needed=split != "test") for kind in ("leftImg8bit", "disparity")
        )
        cameras = _files(root, split, "camera", ".json", problems, needed=split != "test") if in_metres else {}
        for key, image, depth in with_depth(images, depths, problems):
            if in_metres and key not in cameras:
                where = f"{depth}: no camera file for {key!r}"
                problems.append(Problem("camera-missing", "disparity maps without a camera file", where, REMEDY))
                continue
            group = key.partition("_")[0]
            cases.append(DepthCase(key, ImageFile(image), Disparity(depth, cameras.get(key)), split, group))
    return cases


def _files(root: Path, split: str, kind: str, ending: str, problems: list[Problem], needed: bool) -> dict[str, Path]:
    name = f"{kind}/{split}/[^/]+/([^/]+)_{kind}[.]{ending[1:]}"
    return files_by_key(root, f"{kind}/{split}/*/*_{kind}{ending}", name, problems, needed=needed)


def find_small(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find all cases of the small copy in NumPy files."""
    cases = []
    for split in ("train", "val"):
        images, depths = (
            files_by_key(root, f"{split}/{kind}/*.npy", rf"{split}/{kind}/(\d+)\.npy", problems)
            for kind in ("image", "depth")
        )
        for key, image, depth in with_depth(images, depths, problems):
            cases.append(DepthCase(f"{split}_{key}", NpyImage(image), NpyDepth(depth, unit="disparity"), split))
    return cases


_cityscapes = partial(
    DepthLayout,
    papers=("spatial_lifting",),
    reference="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
    licence="own terms, non-commercial: https://www.cityscapes-dataset.com/license/",
)
ARCHIVES = "leftImg8bit_trainvaltest.zip, disparity_trainvaltest.zip"
TREE = (
    "leftImg8bit/{train,val,test}/<city>/<city>_000000_000019_leftImg8bit.png\n"
    "disparity/{train,val,test}/<city>/<city>_000000_000019_disparity.png"
)
DOCUMENTED = "public documentation: https://github.com/mcordts/cityscapesScripts README"
COUNTS = {"train": 2975, "val": 500, "test": 1525}

LAYOUTS = (
    _cityscapes(
        name="cityscapes_disparity",
        title="Cityscapes, disparity in pixels",
        url="https://www.cityscapes-dataset.com/downloads/",
        tree=TREE,
        version=f"{ARCHIVES} in one folder",
        confirmed=DOCUMENTED,
        cases=partial(find, in_metres=False),
        unit="disparity",
        counts=COUNTS,
        notes=("the maps are computed by stereo matching, not measured",),
    ),
    _cityscapes(
        name="cityscapes_depth",
        title="Cityscapes, distance in metres",
        url="https://www.cityscapes-dataset.com/downloads/",
        tree=f"{TREE}\ncamera/{{train,val,test}}/<city>/<city>_000000_000019_camera.json",
        version=f"{ARCHIVES}, camera_trainvaltest.zip in one folder",
        confirmed=f"{DOCUMENTED}; charlesCXK/RGBD_Semantic_Segmentation_PyTorch issue 1 (keys of the camera file)",
        cases=partial(find, in_metres=True),
        unit="metre",
        counts=COUNTS,
        notes=(
            "metres are baseline * fx / disparity; far distances are coarse, and disparity 0 is no measurement",
            "the maps are computed by stereo matching, not measured",
        ),
    ),
    _cityscapes(
        name="cityscapes_small",
        title="Cityscapes, 256 x 128, inverse depth, in NumPy files",
        url="https://github.com/lorenmt/mtan",
        tree="{train,val}/image/0.npy\n{train,val}/depth/0.npy",
        version="the copy that the authors of MTAN made; its folders label, label_7 and label_19 are not read",
        confirmed=(
            "public loader: vijpandaturtle/mtl-for-autonomous-driving lib/dataset.py (files, axes), sam-finestone/mtl "
            "README.md (inverse depth); not confirmed: range of the numbers, and that 0 is no measurement"
        ),
        cases=find_small,
        unit="disparity",
        counts={"train": 2975, "val": 500},
        notes=(
            "size and counts are those of the paper (2975 and 500 images of 256 x 128): it may have used this copy",
            "the inverse depth has an unknown factor; scores in metres cannot be had from it",
        ),
    ),
)
