"""What one published data set with depth maps looks like on disk, as a declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import ImageSource
from nnunet_ext.dataset_conversion.depth.maps import DepthSource
from nnunet_ext.dataset_conversion.problems import Problem
from nnunet_ext.dataset_conversion.published import Published


@dataclass(frozen=True)
class DepthCase:
    """One image with its depth map.

    Attributes:
        name: identifier.
        image: source of the image.
        depth: source of the depth map.
        split: "train", "val" or "test".
        group: what must not be torn apart by a split, such as the drive; "" if each image is its own.
    """

    name: str
    image: ImageSource
    depth: DepthSource
    split: str = "train"
    group: str = ""


DepthFinder = Callable[[Path, list[Problem]], list[DepthCase]]


@dataclass(frozen=True)
class DepthLayout(Published):
    """One data set in one published form.

    Attributes, besides those of :class:`nnunet_ext.dataset_conversion.published.Published`:
        cases: finds all cases below a folder. What is wrong goes to the list of problems; nothing is raised.
        unit: of all its maps, see :class:`nnunet_ext.dataset_conversion.depth.maps.DepthMap`.
        metres: nearest and farthest distance that is measured, in metres, if known.
        counts: "train", "val", "test" -> cases in the complete data set; empty if not known.
        same_size: whether depth maps have as many pixels as the images. If not, they cover the same field of view.
        test_share: share of the cases held out for test, as a paper has it; None for the data set's own test part.
        notes: what a user should know before training, a sentence each.
    """

    cases: DepthFinder
    unit: str
    metres: tuple[float, float] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    same_size: bool = True
    test_share: float | None = None
    notes: tuple[str, ...] = ()
