"""Data sets made of image folders with mask folders beside them: each pair of folders is a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

PICTURES = "(?:png|jpg|jpeg|bmp|tif|tiff)"


@dataclass(frozen=True)
class Part:
    """A folder of images and a folder of masks.

    Attributes:
        images: glob of the images, relative to the root.
        image_key: regular expression for their relative paths; its groups, joined by "_", are the key.
        masks: glob of the masks.
        mask_key: regular expression for their relative paths, which gives the same key.
        split: "train", "val" or "test".
        prefix: put before the keys for the case names, where keys of several parts are alike.
        optional: whether the part may be absent altogether.
        may_lack_masks: whether images need no mask: their reference is not, or not always, given out.
    """

    images: str
    image_key: str
    masks: str
    mask_key: str
    split: str = "train"
    prefix: str = ""
    optional: bool = False
    may_lack_masks: bool = False


Describe = Callable[[str], dict[str, str]]  # key -> group, structure and modality of the case


def find_parts(root: Path, problems: list[Problem], parts: Sequence[Part], describe: Describe) -> list[Case]:
    """Find the cases of all parts; an image without a mask, and a mask without an image, is a problem."""
    cases = []
    for part in parts:
        for key, image, mask in _pairs(root, part, problems):
            annotation = None if mask is None else MaskFile(mask)
            cases.append(Case(part.prefix + key, ImageFile(image), annotation, part.split, **describe(key)))
    return cases


def _pairs(root: Path, part: Part, problems: list[Problem]) -> Iterator[tuple[str, Path, Path | None]]:
    images = files_by_key(root, part.images, part.image_key, problems, needed=not part.optional)
    needed = bool(images) and not part.may_lack_masks
    masks = files_by_key(root, part.masks, part.mask_key, problems, needed=needed)
    if part.optional and masks and not images:  # half a part
        files_by_key(root, part.images, part.image_key, problems)
    return paired(images, masks, problems, masks_needed=not part.may_lack_masks)


def always(**values: str) -> Describe:
    """Group, structure and modality that are the same for each case."""
    return lambda key: dict(values)


def without_unlabelled(cases: Sequence[Case], problems: list[Problem]) -> list[Case]:
    """Leave out cases without a mask, each with a warning."""
    for case in cases:
        if case.mask is None:
            what, remedy = "images that have no mask are left out", "add the masks if you have them"
            where = f"{case.image.files[0]}: no mask"
            problems.append(Problem("unlabelled-left-out", what, where, remedy, is_warning=True))
    return [case for case in cases if case.mask is not None]
