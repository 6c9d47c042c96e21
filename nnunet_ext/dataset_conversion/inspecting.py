"""What one case is found to hold, when its image and mask are decoded once, before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask, MaskFile
from nnunet_ext.dataset_conversion.pixels import DecodedImage, value_counts
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

MIN_SIDE = 8
SMALL_SIDE = 32
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Finding:
    """One case as it was found; of the pixels only counts and checksums are kept.

    Attributes:
        case: its name.
        image_mode: see :class:`DecodedImage`; "" if the image could not be read.
        source_mode: format and mode of the image file.
        size: (width, height) in pixels.
        image_as_is: the image file can be linked or copied.
        mask_as_is: the mask file can be linked or copied.
        encoding: see :class:`DecodedMask`.
        label_pixels: label -> number of its pixels.
        stray_pixels: see :class:`DecodedMask`.
        overlap: see :class:`DecodedMask`.
        image_sha256: of the image's files.
        mask_sha256: of the mask's files; "" without mask.
        pixel_hash: of the decoded image: equal for equal pictures in different formats.
        label_hash: of the labels as they will be written; "" without mask.
        palette: colours of the palette indices that a mask of classes uses, see :class:`DecodedMask`.
        stamps: (bytes, modification time in ns) of each file read, images first.
        notes: templates with ``{images}`` or ``{masks}``.
        problems: errors and warnings of this case.
    """

    case: str
    image_mode: str = ""
    source_mode: str = ""
    size: tuple[int, int] = (0, 0)
    image_as_is: bool = False
    mask_as_is: bool = False
    encoding: str = ""
    label_pixels: dict[int, int] = field(default_factory=dict)
    stray_pixels: int = 0
    overlap: int = 0
    image_sha256: str = ""
    mask_sha256: str = ""
    pixel_hash: str = ""
    label_hash: str = ""
    palette: tuple[tuple[int, str], ...] = ()
    stamps: tuple[Stamp, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """Decodes cases; picklable, so that it runs in worker processes.

    Attributes:
        legend: what masks mean, and how files are read.
    """

    legend: Legend

    def __call__(self, case: Case) -> Finding:
        """Decode the image and the mask of one case. Nothing is raised for files that cannot be used."""
        problems: list[Problem] = []
        stamps = tuple(stamp(path) for path in files_of(case))
        image = self._image(case, problems)
        shape = (0, 0) if image is None else image.pixels.shape[:2]
        mask = self._mask(case, shape, problems) if image is not None or _knows_its_size(case) else None
        problems += _image_problems(case, image)
        problems += _mask_problems(case, image, mask, self.legend)
        return Finding(
            case.name,
            image_mode="" if image is None else image.mode,
            source_mode="" if image is None else image.source_mode,
            size=(shape[1], shape[0]),
            image_as_is=image is not None and image.as_is and len(case.image.files) == 1,
            mask_as_is=mask is not None and mask.as_is,
            encoding="" if mask is None else mask.encoding,
            label_pixels={} if mask is None else _counts(mask.labels),
            stray_pixels=0 if mask is None else mask.stray_pixels,
            overlap=0 if mask is None else mask.overlap,
            image_sha256=checksum(case.image.files),
            mask_sha256="" if case.mask is None else checksum(case.mask.files),
            pixel_hash="" if image is None else _pixel_hash(image.pixels),
            label_hash="" if mask is None else array_hash(mask.labels),
            palette=() if mask is None else mask.palette,
            stamps=stamps,
            notes=(*(image.notes if image else ()), *(mask.notes if mask else ())),
            problems=tuple(problems),
        )

    def _image(self, case: Case, problems: list[Problem]) -> DecodedImage | None:
        try:
            return case.image.read(self.legend.rules)
        except RefusedFile as refused:
            problems.append(refused.problem)
            return None

    def _mask(self, case: Case, shape: tuple[int, int], problems: list[Problem]) -> DecodedMask | None:
        if case.mask is None:
            return None
        try:
            return case.mask.read(self.legend, shape)
        except RefusedFile as refused:
            problems.append(refused.problem)
            return None


def files_of(case: Case) -> tuple[Path, ...]:
    """Every file of a case, those of the image first."""
    return (*case.image.files, *(case.mask.files if case.mask else ()))


def stamp(path: Path) -> Stamp:
    """Size in bytes and time of the last change; zeros if the file is gone."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def checksum(files: tuple[Path, ...]) -> str:
    """SHA-256 of a file's bytes; of several files, that of their checksums, a line each; "" if one cannot be read."""
    try:
        each = [_checksum(path, stamp(path)) for path in files]
    except OSError:
        return ""
    return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()


@lru_cache(maxsize=16)
def _checksum(path: Path, _stamp: Stamp) -> str:
    """SHA-256 of one file; remembered, as one file may annotate all images."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def _knows_its_size(case: Case) -> bool:
    return isinstance(case.mask, MaskFile)  # so that a damaged image does not hide what is wrong with its mask


def _pixel_hash(pixels: np.ndarray) -> str:
    """Equal for equal pictures, also if one of them is grey in three channels."""
    if pixels.ndim == 3 and _all_equal(pixels, pixels[..., :1]):
        pixels = pixels[..., 0]
    return array_hash(pixels)


def _all_equal(pixels: np.ndarray, others: np.ndarray) -> bool:
    """Whether (H, W) or (H, W, C) equals what has H or 1 rows; the middle row tells of most images that it does not."""
    middle = len(pixels) // 2
    return bool((pixels[middle] == others[middle % len(others)]).all() and (pixels == others).all())


def array_hash(values: np.ndarray) -> str:
    """Return 32 hexadecimal digits of SHA-256 over type, shape and values."""
    total = hashlib.sha256(f"{values.dtype} {values.shape}".encode())
    total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()[:32]


def _counts(labels: np.ndarray) -> dict[int, int]:
    counts = value_counts(labels)
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def _image_problems(case: Case, image: DecodedImage | None) -> Iterator[Problem]:
    if image is None:
        return
    path, (height, width) = case.image.files[0], image.pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        where = f"{path} is {width} x {height}; allowed is at least {MIN_SIDE} x {MIN_SIDE}"
        yield Problem("image-small", "images too small for a network", where, "remove these pairs")
    elif min(height, width) < SMALL_SIDE:
        where, what = f"{path} is {width} x {height}", f"images with a side below {SMALL_SIDE} pixels"
        yield Problem("image-small", what, where, "look whether these are thumbnails", is_warning=True)
    if image.mode == "F" and not np.isfinite(image.pixels).all():
        where, remedy = f"{path} holds NaN or infinity; allowed are finite values", "replace these values"
        yield Problem("image-not-finite", "images with values that are no numbers", where, remedy)
    elif _all_equal(image.pixels, image.pixels[:1, :1]):
        where, remedy = (
            f"{path}: every pixel is {image.pixels[0, 0].tolist()}",
            "look at these images; remove empty ones",
        )
        yield Problem("image-constant", "images without content", where, remedy, is_warning=True)


def _mask_problems(
    case: Case, image: DecodedImage | None, mask: DecodedMask | None, legend: Legend
) -> Iterator[Problem]:
    if image is None or mask is None or case.mask is None:
        return
    path = case.mask.files[0]
    if mask.labels.shape != image.pixels.shape[:2]:
        (height, width), (mask_height, mask_width) = image.pixels.shape[:2], mask.labels.shape
        where = f"{case.image.files[0]} is {width} x {height}, {path} is {mask_width} x {mask_height} (width x height)"
        remedy = "export image and mask at the same size, or remove the pair"
        if (height, width) == (mask_width, mask_height):
            where, remedy = f"{where}: one of them lies on its side", "turn one of the two by 90 degrees, the right way"
        yield Problem("size-differs", "image and mask differ in size", where, remedy)
        return
    present = _counts(mask.labels).keys() - {legend.ignore_label}
    ignored = legend.entries.get("ignore")
    is_background_known = not (ignored and 0 in ignored.values)  # else it is ignored, as asked for
    if legend.is_binary and present == {1} and is_background_known:
        where, remedy = f"{path}: no background at all", "look at these masks: inverted, or the field of view?"
        yield Problem("mask-full", "masks that are all foreground", where, remedy, is_warning=True)
    if present <= {0} and not case.is_test:
        remedy = "nothing to do if these images really show nothing; otherwise draw or remove them"
        yield Problem("mask-empty", "training masks without foreground", str(path), remedy, is_warning=True)
    if mask.overlap:
        where = f"{path}: {mask.overlap} pixels belong to several classes"
        remedy = "the later class has them; for nested structures see --regions"
        yield Problem("classes-overlap", "classes that overlap", where, remedy, is_warning=True)
