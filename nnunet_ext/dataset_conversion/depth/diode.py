"""DIODE: indoor and outdoor scenes, dense distances by a laser scanner."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.datasets.finding import files_by_key
from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.npy import NpyDepth
from nnunet_ext.dataset_conversion.depth.pairs import REMEDY, with_depth
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

FARTHEST = 350.0  # metres, reach of the scanner
WHERE = ("indoors", "outdoor")


def find(
    root: Path, problems: list[Problem], scenes: tuple[str, ...] = WHERE, splits: tuple[str, ...] = ("train", "val")
) -> list[DepthCase]:
    """Find all cases; the group is the scene.

    Args:
        root: folder that holds ``train`` and ``val``.
        problems: what is wrong is appended here.
        scenes: "indoors", "outdoor".
        splits: official parts; a single one is all "train", for it is to be divided.
    """
    cases = []
    for split in splits:
        for scene in scenes:
            kept = split if len(splits) > 1 else "train"
            cases += _part(root, f"{split}/{scene}", kept, problems)
    return cases


def _part(root: Path, part: str, split: str, problems: list[Problem]) -> list[DepthCase]:
    images, depths, masks = (
        files_by_key(root, f"{part}/*/*/*{end}", rf"{part}/[^/]+/[^/]+/([^/]+){re.escape(end)}", problems)
        for end in (".png", "_depth.npy", "_depth_mask.npy")
    )
    cases = []
    for key, image, depth in with_depth(images, depths, problems):
        if key not in masks:
            where = f"{depth}: no {key}_depth_mask.npy"
            problems.append(Problem("depth-mask-missing", "depth maps without their mask", where, REMEDY))
            continue
        source = NpyDepth(depth, masks[key], most=FARTHEST)
        cases.append(DepthCase(key, ImageFile(image), source, split, depth.parent.parent.name))
    return cases


_diode = partial(
    DepthLayout,
    papers=("spatial_lifting",),
    reference="Vasiljevic et al., DIODE: A Dense Indoor and Outdoor DEpth Dataset, arXiv 1908.00463, 2019",
    url="https://diode-dataset.org/",
    licence="MIT, https://diode-dataset.org/",
    version="train.tar.gz and val.tar.gz (images, depth maps and masks) in one folder",
    confirmed=(
        "public documentation: https://github.com/diode-dataset/diode-devkit README (files, masks); folders by public "
        "loaders; counts not confirmed"
    ),
    unit="metre",
    metres=(0.6, FARTHEST),
)
FILES = "scene_00019/scan_00183/00019_00183_indoors_000_010{.png,_depth.npy,_depth_mask.npy}"

LAYOUTS = (
    _diode(
        name="diode",
        title="DIODE, indoors and outdoors",
        tree=f"{{train,val}}/{{indoors,outdoor}}/{FILES}",
        cases=find,
        counts={"train": 25458, "val": 771},
    ),
    _diode(
        name="diode_indoors",
        title="DIODE, indoors",
        tree=f"{{train,val}}/indoors/{FILES}",
        cases=partial(find, scenes=("indoors",)),
        counts={"train": 8574, "val": 325},
    ),
    _diode(
        name="diode_outdoor",
        title="DIODE, outdoors",
        tree=f"{{train,val}}/outdoor/{FILES.replace('indoors', 'outdoor')}",
        cases=partial(find, scenes=("outdoor",)),
        counts={"train": 16884, "val": 446},
    ),
    _diode(
        name="diode_outdoor_val",
        title="DIODE, the official validation part outdoors, to be divided",
        tree=f"val/outdoor/{FILES.replace('indoors', 'outdoor')}",
        cases=partial(find, scenes=("outdoor",), splits=("val",)),
        counts={"train": 446},
        test_share=60 / 446,
        notes=("the number is that of the paper (386 and 60 outdoor images); its split is not published",),
    ),
)
