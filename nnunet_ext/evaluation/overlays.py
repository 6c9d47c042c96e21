"""Comparison pictures: where predictions agree with the reference and where they do not.

The colours are of the Okabe-Ito palette, which people with colour vision deficiency tell apart; missed
pixels are hatched as well, so that the picture does not rest on colour alone, and the image under the
tints is muted towards grey, so that they stand out on coloured tissue, too.
"""

import functools
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating]

PANEL = 340  # pixels, the longer side of one panel
GAP = 10
TITLE_SIZE = 15  # pixels, of the titles' letters
LINE_HEIGHT = 19
OPACITY = 0.55
MUTING = 0.8  # how far the image under the tints is drawn towards grey
OUTLINE = 2  # pixels
HATCH_PERIOD = 8  # pixels
MOST_IN_A_ROW = 4  # panels; of more, two rows are made
MIN_PANEL = 160  # pixels, narrowest panel, so that its title stays legible


class Category(NamedTuple):
    """One kind of pixel: name in the field, colour (R, G, B in 0..255), meaning, whether it is hatched."""

    name: str
    colour: tuple[int, int, int]
    meaning: str
    hatched: bool = False


TRUE_POSITIVE = Category("true positive", (86, 180, 233), "in the reference and predicted")
FALSE_POSITIVE = Category("false positive", (213, 94, 0), "predicted, not in the reference")
FALSE_NEGATIVE = Category("false negative", (240, 228, 66), "in the reference, missed (hatched)", hatched=True)
WRONG_CLASS = Category("wrong class", (204, 121, 167), "in both, as different classes")
REFERENCE = Category("reference", (255, 255, 255), "outline of the reference, second panel")
LEGEND = (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS, REFERENCE)


def comparison_figure(
    image: Array, reference: Array, predictions: Mapping[str, Array], captions: Mapping[str, str] | None = None
) -> Image.Image:
    """Draw one case: the image, the reference's outline, and each prediction's agreement with the reference.

    `image`: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4; alpha is dropped), any real dtype; uint8 is shown as
    it is, other dtypes are stretched between their 0.5th and 99.5th percentiles. `reference` and each
    prediction: (H, W) integer label maps, 0 is background. `predictions`: the panels' titles and label maps,
    in the order of the panels. `captions`: a line under a prediction's title, by title; without it the Dice of what is
    shown. Returns an RGB picture; each panel's longer side is `PANEL` pixels (large
    images are shrunk, small ones enlarged).

    Raises `ValueError` where shapes do not fit, naming the map.
    """
    display = to_uint8_rgb(image)
    _check_shapes(display, {"reference": reference, **predictions})
    size = panel_size(display.shape[1], display.shape[0])
    base = _resized(display, size)
    outlined = _draw_reference(base, _resized_mask(reference > 0, size))
    panels = [("image", "", base), ("reference", "", outlined)]
    for name, prediction in predictions.items():
        caption = f"Dice {dice(reference, prediction):.3f}" if captions is None else captions.get(name, "")
        panels.append((name, caption, _draw_agreement(base, reference, prediction)))
    in_a_row = len(panels) if len(panels) <= MOST_IN_A_ROW else math.ceil(len(panels) / 2)
    return _stacked([_side_by_side(panels[i : i + in_a_row], size) for i in range(0, len(panels), in_a_row)])


def read_picture(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read an image file that Pillow knows, as stored: (H, W) grey or label map, or (H, W, 3) RGB.

    The indices of a palette are kept.

    Raises `FileNotFoundError`, or `PIL.UnidentifiedImageError` if it is no picture.
    """
    with Image.open(Path(path)) as picture:
        return np.asarray(picture)


def dice(reference: Array, prediction: Array) -> float:
    """Return the mean over classes of the Dice of two (H, W) label maps; NaN if both are empty.

    A class counts if it occurs in either map; 0 is background.
    """
    classes = [k for k in np.union1d(np.unique(reference), np.unique(prediction)) if k != 0]
    scores = [_dice_of_masks(reference == k, prediction == k) for k in classes]
    return float(np.mean(scores)) if scores else float("nan")


def to_uint8_rgb(image: Array) -> npt.NDArray[np.uint8]:
    """Return the image as (H, W, 3) uint8 for display; see `comparison_figure` for what is taken."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}; allowed are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4)")
    image = image[..., :3]
    shown = image if image.dtype == np.uint8 else _stretched(image)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) in pixels at which an image of the given size is shown."""
    scale = PANEL / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _stretched(image: Array) -> npt.NDArray[np.uint8]:
    values = np.nan_to_num(image.astype(np.float64))
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1)
    return (np.clip((values - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def _check_shapes(display: Array, maps: Mapping[str, Array]) -> None:
    for name, labels in maps.items():
        if labels.shape != display.shape[:2]:
            raise ValueError(
                f"label map {name!r} has shape {labels.shape}, the image {display.shape[:2]} (height, "
                "width): both must be the same case at the same resolution, with one channel"
            )


def _dice_of_masks(a: Array, b: Array) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def _resized(display: npt.NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    shrink = size[0] < display.shape[1]
    method = Image.Resampling.BOX if shrink else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(display).resize(size, method)).astype(np.float32)


def _resized_mask(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> Floats:
    """Return the share of each displayed pixel that the mask covers: thin structures survive shrinking."""
    shrink = size[0] < mask.shape[1]
    method = Image.Resampling.BOX if shrink else Image.Resampling.NEAREST
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize(size, method)).astype(np.float32) / 255


def _draw_agreement(base: Floats, reference: Array, prediction: Array) -> Floats:
    ref, pred = reference > 0, prediction > 0
    masks = {
        TRUE_POSITIVE: ref & pred & (reference == prediction),
        WRONG_CLASS: ref & pred & (reference != prediction),
        FALSE_POSITIVE: ~ref & pred,
        FALSE_NEGATIVE: ref & ~pred,
    }
    size = (base.shape[1], base.shape[0])
    grey = base.mean(axis=2, keepdims=True)
    panel = MUTING * grey + (1 - MUTING) * base
    for category, mask in masks.items():
        panel = _draw_tint(panel, _resized_mask(mask, size), category)
    return panel


def _draw_tint(panel: Floats, coverage: Floats, category: Category) -> Floats:
    alpha = coverage * OPACITY
    if category.hatched:
        rows, columns = np.indices(coverage.shape)
        stripe = (rows + columns) % HATCH_PERIOD < HATCH_PERIOD // 2
        alpha = coverage * np.where(stripe, 0.9, 0.25)
    colour = np.asarray(category.colour, dtype=np.float32)
    tinted = panel * (1 - alpha[..., None]) + colour * alpha[..., None]
    return _draw_outline(tinted, coverage, category)


def _draw_reference(panel: Floats, coverage: Floats) -> Floats:
    """Draw the outline with a dark inner seam, so that it shows on bright and on dark images."""
    seam = REFERENCE._replace(colour=(0, 0, 0))
    return _draw_outline(_draw_outline(panel, coverage, seam, width=OUTLINE + 1), coverage, REFERENCE)


def _draw_outline(panel: Floats, coverage: Floats, category: Category, width: int = OUTLINE) -> Floats:
    inside = coverage >= 0.5
    outlined = panel.copy()
    outlined[inside & ~_eroded(inside, width)] = category.colour
    return outlined


def _eroded(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    padded = np.pad(mask, width, mode="edge")
    height, length = mask.shape
    eroded = mask.copy()
    for dy, dx in ((0, width), (2 * width, width), (width, 0), (width, 2 * width)):
        eroded &= padded[dy : dy + height, dx : dx + length]
    return eroded


def _side_by_side(panels: list[tuple[str, str, Floats]], size: tuple[int, int]) -> Image.Image:
    cell = max(size[0], MIN_PANEL)
    titles = [[*wrapped(title, cell), caption] for title, caption, _ in panels]
    top = max(map(len, titles)) * LINE_HEIGHT + GAP
    picture = Image.new("RGB", (len(panels) * (cell + GAP) + GAP, top + size[1] + GAP), "white")
    draw = ImageDraw.Draw(picture)
    for index, (_, _, panel) in enumerate(panels):
        left = GAP + index * (cell + GAP)
        for row, line in enumerate(titles[index]):
            draw.text((left, 4 + row * LINE_HEIGHT), line, fill=(20, 20, 20), font=_font())
        picture.paste(Image.fromarray(panel.round().clip(0, 255).astype(np.uint8)), (left, top))
    return picture


def _stacked(rows: list[Image.Image]) -> Image.Image:
    picture = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    return picture


def wrapped(title: str, width: int) -> list[str]:
    """Break a title into lines of at most `width` pixels: after blanks, before "_", else anywhere."""
    lines = [""]
    for word in re.findall(r"_?[^_\s]*\s*", title):
        pieces = [word] if _font().getlength(word.rstrip()) <= width else list(word)
        for piece in pieces:
            if lines[-1] and _font().getlength((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return [line.strip() for line in lines]


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), TITLE_SIZE)
