"""MODEST museum: people pasted into photographs of museums, with depth maps that a network has guessed."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.datasets.finding import files_by_key
from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.pairs import with_depth
from nnunet_ext.dataset_conversion.depth.scaled_images import ScaledImage
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

KEY = r"(bg\d+_fg\d+_\d+)"


def find(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find all cases; the group is the background."""
    images = files_by_key(root, "bg_fg/*.jpeg", rf"bg_fg/{KEY}\.jpeg", problems)
    depths = files_by_key(root, "bg_fg_depth_map/*.jpeg", rf"bg_fg_depth_map/{KEY}_depth_map\.jpeg", problems)
    return [
        DepthCase(
            name=key,
            image=ImageFile(image),
            depth=ScaledImage(depth, 1 / 255, "relative", bits=8, zero_is_unmeasured=False),
            group=key.partition("_")[0],
        )
        for key, image, depth in with_depth(images, depths, problems)
    ]


LAYOUTS = (
    DepthLayout(
        name="modest",
        title="MODEST museum, 224 x 224",
        papers=("spatial_lifting",),
        reference="Shan, MODEST museum dataset, Kaggle, 2021",
        url="https://www.kaggle.com/datasets/shanwizard/modest-museum-dataset",
        licence="not stated: https://github.com/shan18/MODEST-Museum-Dataset",
        tree="bg_fg/bg001_fg001_01.jpeg\nbg_fg_depth_map/bg001_fg001_01_depth_map.jpeg",
        version="root folder of the archive; bg, fg, fg_mask, bg_fg_mask, file_map.txt and bbox.txt are not read",
        confirmed=(
            "public documentation: https://github.com/shan18/MODEST-Museum-Dataset README (files, counts) and "
            "densedepth/dense_depth.py (far is bright, 255 is 10 m of the network)"
        ),
        cases=find,
        unit="relative",
        counts={"train": 400000},
        test_share=5 / 400,
        notes=(
            "the depth maps are what a network for rooms (DenseDepth) gave, saved as JPEG; nothing is measured",
            "100 backgrounds and 100 people make all 400,000 images, so a split that ignores the groups has each "
            "background in both parts; how the paper made its 395,000 + 5,000 is not published",
            "the paper calls them driving scenes; they are museums",
        ),
    ),
)
