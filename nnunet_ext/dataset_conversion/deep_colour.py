"""Colour images with 16 bits a channel, which Pillow would cut to 8: recognised, read whole, and turned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

READABLE = ("PNG", "TIFF")
BITS_PER_SAMPLE = 258  # a TIFF tag
TURNS: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation -> what viewers do with the pixels
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.swapaxes(np.rot90(pixels, 2), 0, 1),
    8: np.rot90,
}


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a file that is open, but not loaded, has 16 bits a colour channel; Pillow would keep 8 of them."""
    if image.mode not in ("LA", "RGB", "RGBA") or image.format not in ("PNG", "TIFF", "PPM"):
        return False
    if image.format == "TIFF":  # of planes that are not compressed, Pillow would read every other byte as a pixel
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (8,))) > 8  # type: ignore[attr-defined]
    arguments = image.tile[0][3] if image.tile else ""  # type: ignore[attr-defined]
    if image.format == "PPM":
        return isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    return raw_mode.partition(";")[2].startswith("16")


def is_readable(image: Image.Image) -> bool:
    """Whether :func:`deep_pixels` reads this file, which is open but not loaded."""
    return image.format in READABLE and image.mode == "RGB" and is_deep_colour(image)


def deep_pixels(path: Path, file_format: str | None) -> np.ndarray:
    """Pixels of a PNG or TIFF with three channels of 16 bits, (H, W, 3) uint16, as stored.

    Raises:
        ValueError: the libraries cannot decode the file.
    """
    pixels = _of_tiff(path) if file_format == "TIFF" else _of_png(path)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint16:
        raise ValueError(f"decoded to shape {pixels.shape}, {pixels.dtype}")
    return pixels


def _of_tiff(path: Path) -> np.ndarray:
    import tifffile

    pixels = tifffile.imread(path)
    is_planar = pixels.ndim == 3 and pixels.shape[0] == 3 != pixels.shape[-1]
    return np.moveaxis(pixels, 0, -1) if is_planar else pixels


def _of_png(path: Path) -> np.ndarray:
    import SimpleITK

    try:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError as error:
        raise ValueError(f"SimpleITK: {error}") from error
