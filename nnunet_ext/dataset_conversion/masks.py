"""Binary masks in the encodings that are in use, read as labels 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.pairs import jpeg_mask
from nnunet_ext.dataset_conversion.pixels import decode, refuse_transparency
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

VALUES_SHOWN = 8
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class DecodedMask:
    """A mask as it will be written.

    Attributes:
        labels: (H, W) uint8, 0 background, 1 foreground.
        encoding: how the file marks the foreground: "0/1", "0/255" or "threshold"; "" if it has none.
        stray_pixels: number of pixels that were not 0, 1 or 255 before thresholding.
        notes: what was changed, as templates with ``{masks}``.
    """

    labels: np.ndarray
    encoding: str
    stray_pixels: int = 0
    notes: tuple[str, ...] = ()


def read_mask(path: Path, threshold: int | None = None) -> DecodedMask:
    """Decode one binary mask.

    Values that are a subset of {0, 1} or {0, 255} become labels 0 and 1. Other values need a ``threshold``:
    foreground is value > threshold. 1-bit files and palette indices 0/1 are labels already and are not
    thresholded.

    Raises:
        RefusedFile: not readable (see :func:`nnunet_ext.dataset_conversion.pixels.decode`), lossy, coloured,
            transparent, ambiguous palette, or values that are not binary.
    """
    image = decode(path)
    if image.format in ("JPEG", "MPO"):
        raise _refused(jpeg_mask(path))
    values, are_labels, notes = _grey_values(image, path)
    counts = np.bincount(values.ravel())
    present = np.flatnonzero(counts)
    if are_labels or (threshold is None and present[-1] <= 1):
        return DecodedMask(values.astype(np.uint8), "0/1" if present[-1] else "", 0, notes)
    if threshold is None:
        if set(present.tolist()) <= {0, 255}:
            return DecodedMask((values == 255).astype(np.uint8), "0/255", 0, notes)
        raise _refused(_stray_values(path, counts))
    if present[-1] == 1 and threshold >= 1:
        raise _refused(_emptied_by(threshold, path))
    stray = int(values.size - sum(int(counts[v]) for v in (0, 1, 255) if v < counts.size))
    return DecodedMask((values > threshold).astype(np.uint8), "threshold", stray, notes)


def _refused(problem: Problem) -> RefusedFile:
    return RefusedFile(problem.what, problem.where, problem.remedy)


def _grey_values(image: Image.Image, path: Path) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """(H, W) unsigned values, whether they are labels 0/1 already, and notes."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), True, ()
    if image.mode == "P":
        return _palette_values(image, path)
    if image.mode in ("LA", "RGBA"):
        refuse_transparency(image, path)
    if image.mode == "L" or image.mode.startswith("I;16"):
        return np.asarray(image), False, ()
    if image.mode == "LA":
        return np.asarray(image)[..., 0], False, ("opaque alpha channel dropped from {masks}",)
    if image.mode in ("RGB", "RGBA"):
        grey = _one_of_equal_channels(np.asarray(image)[..., :3], path)
        return grey, False, ("{masks} in RGB reduced to one channel",)
    what, remedy = "masks with an unsupported pixel type", "export them as 8-bit grey PNG"
    allowed = "1, L, LA, I;16, P, RGB and RGBA"
    raise RefusedFile(what, f"{path} has Pillow mode {image.mode!r}; allowed are {allowed}", remedy)


def _one_of_equal_channels(rgb: np.ndarray, path: Path) -> np.ndarray:
    coloured = (rgb != rgb[..., :1]).any(axis=2)
    if coloured.any():
        example = tuple(rgb[coloured][0].tolist())
        where = f"{path}: {int(coloured.sum())} pixels are not grey, such as RGB {example}; allowed is grey"
        remedy = "export black and white masks, one for each class that you want to segment"
        raise RefusedFile("coloured masks", where, remedy)
    return rgb[..., 0]


def _palette_values(image: Image.Image, path: Path) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Take indices 0/1 as labels; replace other indices by their colours if these are grey."""
    flat = image.getpalette("RGB") or []
    colours = [tuple(flat[i : i + 3]) for i in range(0, len(flat), 3)]
    indices = np.asarray(image)
    used = np.unique(indices).tolist()
    if used[-1] <= 1:
        if colours[:1] == [WHITE] and colours[1:2] in ([], [BLACK]):
            raise _palette_refused(path, "index 0 is white: foreground by colour, background by index")
        return indices, True, ("palette indices 0 and 1 of {masks} taken as labels",)
    grey = np.zeros(256, np.uint8)
    for index in used:
        colour = colours[index] if index < len(colours) else BLACK
        if len(set(colour)) != 1:
            why = f"index {index} has the colour RGB {colour}; allowed is grey, or indices 0/1"
            raise _palette_refused(path, why)
        grey[index] = colour[0]
    return grey[indices], False, ("palette of {masks} replaced by its grey values",)


def _palette_refused(path: Path, why: str) -> RefusedFile:
    remedy = "export these masks as 8-bit grey PNG without a palette, 0 for background and 255 for foreground"
    return RefusedFile("palette masks without a clear foreground", f"{path}: {why}", remedy)


def _stray_values(path: Path, counts: np.ndarray) -> Problem:
    present = np.flatnonzero(counts)
    order = present[np.argsort(-counts[present], kind="stable")]
    shown = ", ".join(f"{value} ({int(counts[value])} pixels)" for value in order[:VALUES_SHOWN])
    more = f" and {len(order) - VALUES_SHOWN} more values" if len(order) > VALUES_SHOWN else ""
    remedy = (
        "pass --threshold 127 to make them binary (foreground is value > 127), or --threshold 0 if every "
        "value above 0 is foreground"
    )
    where = f"{path} holds {shown}{more}; allowed are 0 and 1, or 0 and 255"
    return Problem("masks that are not binary", where, remedy)


def _emptied_by(threshold: int, path: Path) -> Problem:
    where = f"{path} holds only 0 and 1, so --threshold {threshold} leaves no foreground"
    remedy = "multiply these masks by 255 if 1 is foreground, or set their 1s to 0 if not"
    return Problem("0/1 masks that the threshold would empty", where, remedy)
