"""KITTI depth prediction: distances from accumulated laser scans."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.datasets.finding import files_by_key
from nnunet_ext.dataset_conversion.datasets.road_scenes import unpacked
from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.pairs import with_depth
from nnunet_ext.dataset_conversion.depth.scaled_images import ScaledImage
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

METRES_OF_ONE = 1 / 256
DRIVE = r"(\d{4}_\d\d_\d\d_drive_\d{4}_sync)"
FRAME = r"(image_0[23])/(?:data/)?(\d{10})\.png"


def find(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find all cases of the official parts; the group is the drive. Images come from the raw data."""
    images = _raw_images(root, problems)
    cases = []
    for split in ("train", "val"):
        pattern = f"{split}/*_sync/proj_depth/groundtruth/image_0[23]/*.png"
        depths = files_by_key(root, pattern, f"{split}/{DRIVE}/proj_depth/groundtruth/{FRAME}", problems)
        for key, image, depth in with_depth(images, depths, problems, all_images=False):
            source = ScaledImage(depth, METRES_OF_ONE)
            cases.append(DepthCase(key, ImageFile(image), source, split, key.partition("_image_")[0]))
    return cases


def _raw_images(root: Path, problems: list[Problem]) -> dict[str, Path]:
    """Images in the folders of the raw data, by date and drive, or copied to the drives of the depth maps."""
    copied = next(root.glob("train/*_sync/image_0[23]/data"), None)
    parent = r"[\d_]+" if copied is None else "(?:train|val)"
    return files_by_key(root, "*/*_sync/image_0[23]/data/*.png", f"{parent}/{DRIVE}/{FRAME}", problems)


def find_selection(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find the 1000 selected and cropped images; the group is the drive."""
    for folder in ("data_depth_selection", "depth_selection", "val_selection_cropped"):
        root = unpacked(root, folder)
    images, depths = (
        files_by_key(root, f"{folder}/*.png", rf"{folder}/{DRIVE}_{kind}_(\d{{10}})_(image_0[23])\.png", problems)
        for folder, kind in (("image", "image"), ("groundtruth_depth", "groundtruth_depth"))
    )
    return [
        DepthCase(key, ImageFile(image), ScaledImage(depth, METRES_OF_ONE), "train", key[: key.index("_sync") + 5])
        for key, image, depth in with_depth(images, depths, problems)
    ]


_kitti = partial(
    DepthLayout,
    papers=("spatial_lifting",),
    reference="Uhrig et al., Sparsity Invariant CNNs, 3DV 2017",
    url="https://www.cvlibs.net/datasets/kitti/eval_depth.php?benchmark=depth_prediction",
    licence="CC BY-NC-SA 3.0, https://www.cvlibs.net/datasets/kitti/",
    confirmed=(
        "public documentation: README of the devkit (in irolaina/FCRN-DepthPrediction), "
        "ozendelait/rvc_devkit depth/README.md"
    ),
    unit="metre",
)
SPARSE = "most pixels have no measurement, above all in the upper part of the image"

LAYOUTS = (
    _kitti(
        name="kitti_depth",
        title="KITTI depth prediction, all annotated images",
        tree=(
            "{train,val}/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png\n"
            "2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png\n"
            "or, copied: {train,val}/2011_09_26_drive_0001_sync/image_02/data/0000000005.png"
        ),
        version="data_depth_annotated.zip and the synced and rectified raw data, in one folder",
        cases=find,
        counts={"train": 85898, "val": 6852},
        notes=(SPARSE, "the first and last 5 images of each drive have no depth map and are left out"),
    ),
    _kitti(
        name="kitti_depth_selection",
        title="KITTI depth prediction, the 1000 selected images, 1216 x 352",
        tree=(
            "val_selection_cropped/image/2011_09_26_drive_0002_sync_image_0000000005_image_02.png\n"
            "val_selection_cropped/groundtruth_depth/2011_09_26_drive_0002_sync_groundtruth_depth_0000000005_image_02.png"
        ),
        version="data_depth_selection.zip; the folders velodyne_raw, intrinsics and test_... are not read",
        cases=find_selection,
        counts={"train": 1000},
        test_share=0.2,
        notes=(
            SPARSE,
            "size and number are those of the paper (800 and 200 images of 1216 x 352); its split is not published",
        ),
    ),
)
