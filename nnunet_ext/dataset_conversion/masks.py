"""Masks in the encodings that are in use, binary or with a value for each class, read as nnU-Net's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.pixels import (
    LOSSY_FORMATS,
    PLAIN,
    Reading,
    decode,
    is_untouched_png,
    refuse_transparency,
    value_counts,
)
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.legend import Legend

VALUES_SHOWN = 8
BINARY = {"background": 0, "foreground": 1}
IGNORE_IN_BINARY = 2
CLASS_REMEDY = "if each value is a class, name them all: --labels {classes}"
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
SHOWN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
MOST_SPREAD = 32  # of the channels of a grey pixel in a colour JPEG


@dataclass(frozen=True)
class DecodedMask:
    """A mask as it will be written.

    Attributes:
        labels: (H, W) uint8, 0 background, 1 foreground, or several classes; the highest may be nnU-Net's ignore.
        encoding: how the file marks the foreground: "0/1", "0/255", "threshold", "classes", "colours", or what an
            annotation of another kind calls itself; "" if a binary mask has no foreground.
        stray_pixels: number of pixels that were not 0, 1 or 255 before thresholding.
        notes: what was changed, as templates with ``{masks}``.
        as_is: the file can be used unchanged: a PNG with one channel of 8 bits that holds just these labels.
        overlap: number of pixels that several classes claim; the later class has them.
        palette: (index, "#rrggbb") of the indices that a palette mask of classes uses; empty for other masks.
    """

    labels: np.ndarray
    encoding: str
    stray_pixels: int = 0
    notes: tuple[str, ...] = ()
    as_is: bool = False
    overlap: int = 0
    palette: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class MaskFile:
    """Labels in an image file of the same size as the image."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Decode; whether the size is ``shape`` is checked elsewhere."""
        return legend.read(self.path)


def read_mask(
    path: Path, threshold: int | None = None, ignore: Sequence[int] = (), rules: Reading = PLAIN
) -> DecodedMask:
    """Decode one binary mask.

    Values that are a subset of {0, 1} or {0, 255} become labels 0 and 1. Other values need a ``threshold``:
    foreground is value > threshold. 1-bit files and palette indices 0/1 are labels already and are not
    thresholded. Pixels of the values ``ignore`` become label 2, whatever the others are. A JPEG needs a threshold.

    Raises:
        RefusedFile: not readable (see :func:`nnunet_ext.dataset_conversion.pixels.decode`), lossy, coloured,
            transparent, ambiguous palette, or values that are not binary.
    """
    image = _decode_mask(path, rules, lossy=threshold is not None)
    values, are_labels, notes = _grey_values(image, path, rules, ignore)
    ignored = np.isin(values, ignore) if ignore else None
    mask = _binary(path, values if ignored is None else np.where(ignored, 0, values), are_labels, threshold, notes)
    if ignored is not None:
        mask = replace(mask, labels=np.where(ignored, IGNORE_IN_BINARY, mask.labels).astype(np.uint8))
    return replace(mask, as_is=_is_as_is(image, values, mask.labels))


def read_class_mask(
    path: Path,
    label_of: Mapping[int, int],
    others: int | None = None,
    may_ignore: bool = True,
    rules: Reading = PLAIN,
) -> DecodedMask:
    """Decode one mask whose values, or palette indices, are classes.

    Args:
        path: mask file.
        label_of: value -> label, 0 to 255.
        others: label of all other values; None to refuse them.
        may_ignore: whether the message about other values offers ``--ignore``.
        rules: how files are read.

    Raises:
        RefusedFile: as for :func:`read_mask`, and for values that ``label_of`` lacks.
    """
    image = _decode_mask(path, rules)
    values, notes = _class_values(image, path, rules)
    mask = labels_of_values(values, path, label_of, others, may_ignore)
    return replace(mask, notes=notes, palette=_used_colours(image), as_is=_is_as_is(image, values, mask.labels))


def _used_colours(image: Image.Image) -> tuple[tuple[int, str], ...]:
    if image.mode != "P":
        return ()
    flat = (image.getpalette("RGB") or []) + [0] * 768
    used = np.unique(np.asarray(image)).tolist()
    return tuple((i, "#{:02x}{:02x}{:02x}".format(*flat[3 * i : 3 * i + 3])) for i in used)


def labels_of_values(
    values: np.ndarray, path: Path, label_of: Mapping[int, int], others: int | None, may_ignore: bool = True
) -> DecodedMask:
    """Map (H, W) unsigned values to labels.

    Raises:
        RefusedFile: for values that ``label_of`` lacks, if ``others`` is None.
    """
    counts = value_counts(values)
    present = np.flatnonzero(counts).tolist()
    unnamed = [value for value in present if value not in label_of]
    if unnamed and others is None:
        raise _refused(_unnamed_values(path, counts, unnamed, may_ignore))
    table = np.zeros(counts.size, np.uint8)
    table[present] = [label_of.get(value, others or 0) for value in present]
    return DecodedMask(table[values], "classes")


def read_colour_mask(
    path: Path, label_of_colour: Mapping[int, int], others: int | None = None, rules: Reading = PLAIN
) -> DecodedMask:
    """Decode one mask whose colours are classes; palettes and grey files count by the colours they show.

    Args:
        path: mask file.
        label_of_colour: red * 65536 + green * 256 + blue -> label, 0 to 255.
        others: label of all other colours; None to refuse them.
        rules: how files are read.

    Raises:
        RefusedFile: as for :func:`read_mask`, and for colours that ``label_of_colour`` lacks.
    """
    image = _decode_mask(path, rules)
    if image.mode not in SHOWN_MODES:  # Pillow would cut or clip their values
        raise _pixel_type(image, path, SHOWN_MODES)
    if image.mode in ("LA", "RGBA") and rules.alpha == "refuse":
        refuse_transparency(image, path)
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.uint32), 2, 0)
    packed, places, counts = np.unique(red << 16 | green << 8 | blue, return_inverse=True, return_counts=True)
    unnamed = [i for i, colour in enumerate(packed.tolist()) if colour not in label_of_colour]
    if unnamed and others is None:
        unnamed.sort(key=lambda i: -int(counts[i]))
        shown = [f"#{int(packed[i]):06x} ({int(counts[i])} pixels)" for i in unnamed[:VALUES_SHOWN]]
        more = f" and {len(unnamed) - VALUES_SHOWN} more colours" if len(unnamed) > VALUES_SHOWN else ""
        remedy = (
            "add the colours to --labels, as NAME=#rrggbb (several with commas between them), or say what all others "
            "are: --other background, or --other ignore"
        )
        where = f"{path} holds {', '.join(shown)}{more}"
        raise RefusedFile("unnamed-colours", "masks with colours that --labels does not name", where, remedy)
    table = np.array([label_of_colour.get(colour, others) for colour in packed.tolist()], np.uint8)
    return DecodedMask(table[places].reshape(image.size[::-1]), "colours")


def _decode_mask(path: Path, rules: Reading, lossy: bool = False) -> Image.Image:
    image = decode(path, rules)
    if image.format in LOSSY_FORMATS and not lossy:
        remedy = (
            "export the masks again as PNG; binary masks that exist as JPEG only need --threshold 127 (foreground is "
            "value > 127), which counts the pixels that compression has changed"
        )
        where = f"{path} is a JPEG; allowed are PNG, BMP, TIFF, GIF and PPM"
        raise RefusedFile("mask-lossy", "masks in a lossy format", where, remedy)
    return image


def _is_as_is(image: Image.Image, values: np.ndarray, labels: np.ndarray) -> bool:
    is_plain = is_untouched_png(image) and image.mode == "L" and "transparency" not in image.info
    return is_plain and values.dtype == np.uint8 and np.array_equal(values, labels)


def _binary(
    path: Path, values: np.ndarray, are_labels: bool, threshold: int | None, notes: tuple[str, ...]
) -> DecodedMask:
    counts = value_counts(values)
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
    return RefusedFile(problem.code, problem.what, problem.where, problem.remedy, problem.values)


def _class_values(image: Image.Image, path: Path, rules: Reading) -> tuple[np.ndarray, tuple[str, ...]]:
    """(H, W) unsigned values and notes."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), ()
    if image.mode == "P":
        return np.asarray(image), ("palette indices of {masks} taken as values, whatever their colours",)
    return _one_channel(image, path, rules)


def _grey_values(
    image: Image.Image, path: Path, rules: Reading, ignore: Sequence[int]
) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """(H, W) unsigned values, whether they are labels 0/1 already, and notes."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), True, ()
    if image.mode == "P":
        return _palette_values(image, path, ignore)
    values, notes = _one_channel(image, path, rules)
    return values, False, notes


def _one_channel(image: Image.Image, path: Path, rules: Reading) -> tuple[np.ndarray, tuple[str, ...]]:
    if image.mode in ("LA", "RGBA") and rules.alpha == "refuse":
        refuse_transparency(image, path)
    if image.format in LOSSY_FORMATS and image.mode == "RGB":
        return _grey_of_jpeg(image, path), ("{masks} in RGB reduced to one channel",)
    if image.mode == "L" or image.mode.startswith("I;16"):
        return np.asarray(image), ()
    if image.mode == "LA":
        return np.asarray(image)[..., 0], ("opaque alpha channel dropped from {masks}",)
    if image.mode in ("RGB", "RGBA"):
        grey = _one_of_equal_channels(np.asarray(image)[..., :3], path)
        return grey, ("{masks} in RGB reduced to one channel",)
    raise _pixel_type(image, path, (*SHOWN_MODES, "I;16"))


def _pixel_type(image: Image.Image, path: Path, allowed: Sequence[str]) -> RefusedFile:
    where = f"{path} has Pillow mode {image.mode!r}; allowed are {', '.join(allowed)}"
    what, remedy = "masks with an unsupported pixel type", "export them as 8-bit PNG"
    return RefusedFile("mask-pixel-type", what, where, remedy)


def _grey_of_jpeg(image: Image.Image, path: Path) -> np.ndarray:
    """Luma, for a JPEG whose channels differ by no more than its compression explains."""
    rgb = np.asarray(image)
    spread = int((rgb.max(axis=2) - rgb.min(axis=2)).max())
    if spread > MOST_SPREAD:
        where = f"{path}: channels differ by up to {spread}; allowed for a grey JPEG is {MOST_SPREAD}"
        raise RefusedFile("mask-coloured", "coloured masks", where, "export black and white masks as PNG")
    return np.asarray(image.convert("L"))


def _one_of_equal_channels(rgb: np.ndarray, path: Path) -> np.ndarray:
    coloured = (rgb != rgb[..., :1]).any(axis=2)
    if coloured.any():
        example = tuple(rgb[coloured][0].tolist())
        where = f"{path}: {int(coloured.sum())} pixels are not grey, such as RGB {example}; allowed is grey"
        remedy = (
            "name the colours: --labels background=#000000 NAME=#{:02x}{:02x}{:02x} ...; or export black and white "
            "masks, or masks with one channel and a value for each class (see --labels)"
        ).format(*example)
        raise RefusedFile("mask-coloured", "coloured masks", where, remedy)
    return rgb[..., 0]


def _palette_values(image: Image.Image, path: Path, ignore: Sequence[int]) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Take indices 0/1, and others to ignore, as values; replace other indices by their colours if these are grey."""
    flat = image.getpalette("RGB") or []
    colours = [tuple(flat[i : i + 3]) for i in range(0, len(flat), 3)]
    indices = np.asarray(image)
    used = [index for index in np.unique(indices).tolist() if index not in ignore]
    if max(used, default=0) <= 1:
        if _is_brighter(colours[0] if colours else BLACK, colours[1] if len(colours) > 1 else BLACK):
            shown = "#{:02x}{:02x}{:02x}".format(*colours[0])
            raise _palette_refused(path, f"index 0 is {shown}, brighter than index 1: which of the two is foreground?")
        return indices, True, ("palette indices 0 and 1 of {masks} taken as labels",)
    grey = np.zeros(256, np.uint8)
    for index in np.unique(indices).tolist():
        colour = colours[index] if index < len(colours) else BLACK
        if len(set(colour)) != 1:
            why = f"index {index} has the colour RGB {colour}; allowed is grey, or indices 0/1"
            raise _palette_refused(path, why, tuple(used))
        grey[index] = colour[0]
    return grey[indices], False, ("palette of {masks} replaced by its grey values",)


def _is_brighter(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return sum(one) > sum(other)


def _palette_refused(path: Path, why: str, classes: tuple[int, ...] = ()) -> RefusedFile:
    remedy = (
        "name what is foreground, by index: --labels background=0 NAME=1, or by colour: --labels background=#rrggbb "
        "NAME=#rrggbb; or export these masks without a palette, 0 for background and 255 for foreground"
    )
    if classes:
        remedy += "; " + CLASS_REMEDY
    return RefusedFile("mask-palette", "palette masks without a clear foreground", f"{path}: {why}", remedy, classes)


def _shown(counts: np.ndarray, values: Sequence[int]) -> str:
    """Values with their pixels, the most frequent first."""
    order = sorted(values, key=lambda value: -counts[value])
    shown = ", ".join(f"{value} ({int(counts[value])} pixels)" for value in order[:VALUES_SHOWN])
    return shown + (f" and {len(order) - VALUES_SHOWN} more values" if len(order) > VALUES_SHOWN else "")


def _unnamed_values(path: Path, counts: np.ndarray, unnamed: list[int], may_ignore: bool) -> Problem:
    remedy = "add to --labels, each with its class's name: {classes}"
    remedy += "; or leave pixels of one value out of training and scores: --ignore {last}" if may_ignore else ""
    where = f"{path} holds {_shown(counts, unnamed)}"
    return Problem("unnamed-values", "masks with values that --labels does not name", where, remedy, tuple(unnamed))


def _stray_values(path: Path, counts: np.ndarray) -> Problem:
    present = np.flatnonzero(counts).tolist()
    remedy = (
        "pass --threshold 127 to make them binary (foreground is value > 127), or --threshold 0 if every "
        "value above 0 is foreground; " + CLASS_REMEDY
    )
    where = f"{path} holds {_shown(counts, present)}; allowed are 0 and 1, or 0 and 255"
    return Problem("mask-not-binary", "masks that are not binary", where, remedy, tuple(present))


def _emptied_by(threshold: int, path: Path) -> Problem:
    where = f"{path} holds only 0 and 1, so --threshold {threshold} leaves no foreground"
    remedy = "multiply these masks by 255 if 1 is foreground, or set their 1s to 0 if not"
    return Problem("threshold-empties", "0/1 masks that the threshold would empty", where, remedy)
