"""Depth maps and images of the same key, with problems for what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from nnunet_ext.dataset_conversion.problems import Problem

REMEDY = "add the missing files, or remove these if the data set lacks them"


def with_depth(
    images: Mapping[str, Path], depths: Mapping[str, Path], problems: list[Problem], *, all_images: bool = True
) -> Iterator[tuple[str, Path, Path]]:
    """Yield ``(key, image, depth map)``, sorted by key.

    Args:
        images: by key.
        depths: by key.
        problems: what is wrong is appended here.
        all_images: whether an image without a depth map is a problem; otherwise it is left out.
    """
    if not images or not depths:  # one problem already says so
        return
    for key in sorted(images.keys() - depths.keys()) if all_images else ():
        where = f"{images[key]}: no depth map for {key!r}"
        problems.append(Problem("depth-missing", "images without a depth map", where, REMEDY))
    for key in sorted(depths.keys() - images.keys()):
        where = f"{depths[key]}: no image for {key!r}"
        problems.append(Problem("image-missing", "depth maps without an image", where, REMEDY))
    for key in sorted(images.keys() & depths.keys()):
        yield key, images[key], depths[key]
