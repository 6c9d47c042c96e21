"""Checks of a conversion's flags and of the decoded content of its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.pairs import IMAGE_ENDINGS, OTHER_IMAGE_ENDINGS, Pair
from nnunet_ext.dataset_conversion.pixels import DecodedImage, read_image
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile, counted

MIN_TRAINING_PAIRS = 5
MIN_SIDE = 8
LARGEST_ID = 999
T = TypeVar("T")


@dataclass
class Survey:
    """What the check of all files found; of the pixels only counts are kept.

    Attributes:
        ignore_label: see :class:`Legend`.
        modes: image file -> "L", "I;16" or "RGB".
        encodings: encoding of the masks -> number of files, see :class:`DecodedMask`.
        label_pixels: label -> number of its pixels in the training masks.
        empty_masks: number of training masks without foreground.
        stray_pixels: number of pixels that only the threshold made binary.
        stray_masks: number of masks that hold such pixels.
    """

    ignore_label: int | None = None
    modes: dict[Path, str] = field(default_factory=dict)
    encodings: Counter[str] = field(default_factory=Counter)
    label_pixels: Counter[int] = field(default_factory=Counter)
    empty_masks: int = 0
    stray_pixels: int = 0
    stray_masks: int = 0

    @property
    def image_mode(self) -> str:
        """The common mode of the data set: "RGB" if any image has colour."""
        found = set(self.modes.values())
        return "RGB" if "RGB" in found else next(iter(found), "L")

    @property
    def pixels(self) -> int:
        """Number of pixels in the training masks that nnU-Net does not ignore."""
        return sum(n for label, n in self.label_pixels.items() if label != self.ignore_label)

    @property
    def foreground(self) -> int:
        """Number of these that are of a class, so not background."""
        return self.pixels - self.label_pixels[0]

    def add_mask(self, mask: DecodedMask, is_training: bool) -> None:
        """Count one mask."""
        self.encodings[mask.encoding] += 1
        self.stray_pixels += mask.stray_pixels
        self.stray_masks += mask.stray_pixels > 0
        if is_training:
            counts = np.bincount(mask.labels.ravel())
            present = {int(label): int(counts[label]) for label in np.flatnonzero(counts)}
            self.label_pixels.update(present)
            self.empty_masks += not present.keys() - {0, self.ignore_label}


def check_flags(
    dataset_id: int, name: str, raw_folder: Path, threshold: int | None, overwrite: bool
) -> Iterator[Problem]:
    """Check id, name, output folder and threshold; yields what is wrong."""
    if not 1 <= dataset_id <= LARGEST_ID:
        where = f"-d {dataset_id}; allowed are 1 to {LARGEST_ID}"
        yield Problem("data set id out of range", where, "choose a free id, such as -d 501")
    else:
        yield from _id_in_use(dataset_id, name, raw_folder, overwrite)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or "__" in name:
        where = f"-n {name!r}; allowed are letters, digits, '-' and single '_'"
        suggestion = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]", "_", name)).strip("_") or "MyDataset"
        remedy = f"choose another name, such as -n {suggestion}"
        yield Problem("data set name that nnU-Net cannot use", where, remedy)
    if threshold is not None and not 0 <= threshold <= 254:
        where = f"--threshold {threshold}; allowed are 0 to 254"
        remedy = "foreground is value > threshold; the usual one is --threshold 127"
        yield Problem("threshold out of range", where, remedy)


def check_suffixes(suffixes: dict[str, str]) -> Iterator[Problem]:
    """Check ``{flag: suffix}`` for file endings, which are no part of a stem."""
    for flag, suffix in suffixes.items():
        ending = Path("x" + suffix).suffix
        if ending.lower() in IMAGE_ENDINGS + OTHER_IMAGE_ENDINGS:
            bare = suffix[: -len(ending)]
            remedy = f"leave the file ending away: {flag} {bare}" if bare else f"leave {flag} away"
            where = f"{flag} {suffix}; allowed is the end of the stem, without {ending}"
            yield Problem("suffix with a file ending", where, remedy)


def _id_in_use(dataset_id: int, name: str, raw_folder: Path, overwrite: bool) -> Iterator[Problem]:
    if not raw_folder.is_dir():
        if raw_folder.exists():
            where = f"{raw_folder} is a file; allowed is a folder, or a path that does not exist yet"
            yield Problem("output folder not usable", where, "set nnUNet_raw to a folder")
        return
    present = sorted(p.name for p in raw_folder.iterdir() if p.name.startswith("Dataset"))
    ids = [*range(dataset_id, LARGEST_ID + 1), *range(1, dataset_id)]
    free = next((i for i in ids if not _users(present, i)), None)
    for user in _users(present, dataset_id):
        is_same = user == f"Dataset{dataset_id:03d}_{name}"
        if is_same and overwrite:
            continue
        remedy = "remove a data set: all ids are in use" if free is None else f"choose a free id: -d {free}"
        remedy += ", or replace the old data set: --overwrite" if is_same else ""
        where = f"-d {dataset_id}: {raw_folder / user} exists; nnU-Net needs ids to be unique"
        yield Problem("data set id in use", where, remedy)


def _users(names: Iterable[str], dataset_id: int) -> list[str]:
    return [n for n in names if n.startswith(f"Dataset{dataset_id:03d}")]


def check_enough(train: Sequence[Pair]) -> Iterator[Problem]:
    """Check that there are enough training pairs for nnU-Net's five folds."""
    if len(train) < MIN_TRAINING_PAIRS:
        where = f"{counted(len(train), 'pair')} found; nnU-Net's five folds need at least {MIN_TRAINING_PAIRS}"
        yield Problem("too few training pairs", where, "add pairs to the folders after -i and -m")


def check_split(train: Sequence[Pair], test: Sequence[Pair]) -> Iterator[Problem]:
    """Check that no case is both in training and test."""
    train_of = {pair.case: pair for pair in train}
    for pair in test:
        if pair.case in train_of:
            where = f"{train_of[pair.case].image} and {pair.image}: both are case {pair.case!r}"
            remedy = "remove the file from one part, or rename it (with its mask) if it is another image"
            yield Problem("cases both in training and test", where, remedy)


def survey_files(
    train: Sequence[Pair],
    test: Sequence[Pair],
    legend: Legend,
    problems: list[Problem],
    notes: Counter[str],
    progress: Callable[[str], None] | None,
) -> Survey:
    """Decode every file once, one by one; problems are appended, nothing is raised or kept."""
    survey = Survey(legend.ignore_label)
    n_before = len(problems)
    training = {pair.image for pair in train}
    for pair in announced([*train, *test], "checked", progress):
        image = _attempt(problems, read_image, pair.image)
        mask = _attempt(problems, legend.read, pair.mask) if pair.mask else None
        if image is not None:
            survey.modes[pair.image] = image.mode
            notes.update(image.notes)
        if mask is not None:
            survey.add_mask(mask, pair.image in training)
            notes.update(mask.notes)
        problems += _size_problems(pair, image, mask)
    problems += _mode_problems(survey)
    if train and len(problems) == n_before and survey.foreground == 0:
        kind = "background" if legend.ignore_label is None else "background or ignored"
        where = f"all {len(train)} training masks are {kind}, such as {train[0].mask}"
        remedy = "check that -m names the right folder"
        remedy += "" if legend.threshold is None else f", or lower --threshold {legend.threshold}"
        problems.append(Problem("no foreground at all", where, remedy))
    return survey


def _attempt(problems: list[Problem], read: Callable[..., T], *arguments: object) -> T | None:
    try:
        return read(*arguments)
    except RefusedFile as refused:
        problems.append(refused.problem)
        return None


def _size_problems(pair: Pair, image: DecodedImage | None, mask: DecodedMask | None) -> Iterator[Problem]:
    if image is None:
        return
    height, width = image.pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        where = f"{pair.image} is {width} x {height}; allowed is at least {MIN_SIDE} x {MIN_SIDE}"
        yield Problem("images too small for a network", where, "remove these pairs")
    if mask is not None and mask.labels.shape != (height, width):
        mask_height, mask_width = mask.labels.shape
        sizes = f"{width} x {height}", f"{mask_width} x {mask_height}"
        where = f"{pair.image} is {sizes[0]}, {pair.mask} is {sizes[1]} (width x height)"
        remedy = "export image and mask at the same size, or remove the pair"
        yield Problem("image and mask differ in size", where, remedy)


def _mode_problems(survey: Survey) -> Iterator[Problem]:
    others = [path for path, mode in survey.modes.items() if mode != "I;16"]
    if others and len(others) < len(survey.modes):
        deep = next(path for path, mode in survey.modes.items() if mode == "I;16")
        where = f"{deep} is 16-bit grey, {others[0]} is 8-bit {survey.modes[others[0]]}"
        remedy = "export all images with the same number of bits: their grey values cannot be compared"
        yield Problem("16-bit and 8-bit images in one data set", where, remedy)


def announced(pairs: Sequence[Pair], verb: str, progress: Callable[[str], None] | None) -> Iterator[Pair]:
    """Iterate; call ``progress`` about twenty times with text such as ``"checked 40 of 80 cases"``."""
    step = max(1, len(pairs) // 20)
    for done, pair in enumerate(pairs, start=1):
        yield pair
        if progress is not None and (done % step == 0 or done == len(pairs)):
            progress(f"{verb} {done} of {len(pairs)} cases")
