"""NYU Depth v2: indoor scenes, distances by a Kinect, in the three forms that are in use."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.datasets.finding import files_by_key
from nnunet_ext.dataset_conversion.datasets.road_scenes import unpacked
from nnunet_ext.dataset_conversion.depth.hdf5 import Hdf5Depth, Hdf5Image
from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.mat import arrays_of
from nnunet_ext.dataset_conversion.depth.pairs import with_depth
from nnunet_ext.dataset_conversion.depth.scaled_images import ScaledImage
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

FARTHEST = 10.0  # metres
IMPLAUSIBLE = 20.0  # metres, in a room
MATLAB_AXES = (2, 1, 0)  # MATLAB's (H, W, 3) is (3, W, H) in HDF5
H5_AXES = (1, 2, 0)


def find_labeled(root: Path, problems: list[Problem], key: str) -> list[DepthCase]:
    """Find the 1449 cases of the MATLAB file; ``splits.mat`` says which are for training.

    Args:
        root: folder that holds both files.
        problems: what is wrong is appended here.
        key: array in the file: "depths" (holes filled) or "rawDepths".
    """
    (data,) = files_by_key(root, "nyu_depth_v2_labeled.mat", "(.+)[.]mat", problems).values() or (None,)
    (splits,) = files_by_key(root, "splits.mat", "(.+)[.]mat", problems).values() or (None,)
    if data is None or splits is None:
        return []
    cases = []
    for split, numbers in _official_split(splits, problems).items():
        for number in numbers:
            image = Hdf5Image(data, "images", MATLAB_AXES, number - 1)
            depth = Hdf5Depth(data, key, True, number - 1, IMPLAUSIBLE)
            cases.append(DepthCase(f"nyu_{number:04}", image, depth, split))
    return cases


def _official_split(path: Path, problems: list[Problem]) -> dict[str, list[int]]:
    """``{"train": numbers from 1 on, "test": ...}``."""
    try:
        mat = arrays_of(path)
        return {split: np.ravel(mat[f"{split}Ndxs"]).astype(int).tolist() for split in ("train", "test")}
    except RefusedFile as error:
        problems.append(error.problem)
    except KeyError as error:
        where = f"{path} has no array {error}; needed are trainNdxs and testNdxs"
        remedy = "get splits.mat from http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat"
        problems.append(Problem("split-file", "files of the official split that cannot be used", where, remedy))
    return {}


def find_h5(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find all cases of the form with an HDF5 file for each image; the group is the scene."""
    root, cases = unpacked(root, "nyudepthv2"), []
    for split, folder in (("train", "train"), ("test", "val")):
        for key, path in files_by_key(root, f"{folder}/*/*.h5", rf"{folder}/([^/]+)/(\d+)\.h5", problems).items():
            image, depth = Hdf5Image(path, "rgb", H5_AXES), Hdf5Depth(path, "depth", False, None, IMPLAUSIBLE)
            cases.append(DepthCase(key, image, depth, split, path.parent.name if split == "train" else ""))
    return cases


def find_50k(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find all cases of the form with image files; the group is the scene."""
    for folder in ("nyu_data", "data"):
        root = unpacked(root, folder)
    images, depths = (
        files_by_key(root, f"nyu2_train/*/*.{e}", rf"nyu2_train/([^/]+)/(\d+)\.{e}", problems) for e in ("jpg", "png")
    )
    cases = [
        DepthCase(key, ImageFile(image), ScaledImage(depth, FARTHEST / 255, bits=8), "train", depth.parent.name)
        for key, image, depth in with_depth(images, depths, problems)
    ]
    images, depths = (
        files_by_key(root, f"nyu2_test/*_{k}.png", rf"nyu2_test/(\d+)_{k}\.png", problems) for k in ("colors", "depth")
    )
    return cases + [
        DepthCase(f"test_{key}", ImageFile(image), ScaledImage(depth, 0.001, most=IMPLAUSIBLE), "test")
        for key, image, depth in with_depth(images, depths, problems)
    ]


_nyu = partial(
    DepthLayout,
    papers=("spatial_lifting",),
    reference="Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012",
    licence="not stated: https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    unit="metre",
    metres=(0.0, FARTHEST),
)
_labeled = partial(
    _nyu,
    url="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    tree="nyu_depth_v2_labeled.mat\nsplits.mat",
    version="labeled dataset (2.8 GB) with the official split; needs the package h5py",
    confirmed=(
        "public documentation: keysmon/Reimplement-depth-map-prediction README.md (arrays, metres); public loaders "
        "with splits.mat and transposed axes"
    ),
    counts={"train": 795, "test": 654},
)

LAYOUTS = (
    _labeled(
        name="nyu_depth_v2",
        title="NYU Depth v2, labeled images, holes filled",
        cases=partial(find_labeled, key="depths"),
        notes=("holes of the depth maps were filled by colourisation; nyu_depth_v2_raw leaves them out",),
    ),
    _labeled(
        name="nyu_depth_v2_raw",
        title="NYU Depth v2, labeled images, as measured",
        cases=partial(find_labeled, key="rawDepths"),
    ),
    _nyu(
        name="nyu_depth_v2_h5",
        title="NYU Depth v2, in the form of FastDepth",
        url="http://datasets.lids.mit.edu/fastdepth/data/nyudepthv2.tar.gz",
        tree="nyudepthv2/train/<scene>/00001.h5\nnyudepthv2/val/official/00001.h5",
        version="nyudepthv2.tar.gz of the FastDepth authors; needs the package h5py",
        confirmed=(
            "public loader: dwofk/fast-depth dataloaders/dataloader.py (arrays, axes, folders); not confirmed: counts"
        ),
        cases=find_h5,
        counts={"train": 47584, "test": 654},
        notes=("its part val is the official test part, and is the test part here",),
    ),
    _nyu(
        name="nyu_depth_v2_50k",
        title="NYU Depth v2, 50,688 images, in the form of DenseDepth",
        url="https://github.com/ialhashim/DenseDepth",
        tree=(
            "nyu_data/data/nyu2_train/<scene>_out/1.jpg\nnyu_data/data/nyu2_train/<scene>_out/1.png\n"
            "nyu_data/data/nyu2_test/00000_colors.png\nnyu_data/data/nyu2_test/00000_depth.png"
        ),
        version="nyu_data.zip of the DenseDepth authors, and its copies on Kaggle; the CSV files are not read",
        confirmed=(
            "public loaders: several describe folders, counts, 8 bits for training (255 is 10 m) and 16 bits for test "
            "(millimetres)"
        ),
        cases=find_50k,
        counts={"train": 50688, "test": 654},
        notes=(
            "counts are those of the paper's table",
            "depth maps for training have steps of 39 mm (8 bits), those for test of 1 mm",
        ),
    ),
)
