"""Decoding of image and mask files into arrays, strictly: what could be misread is refused."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.problems import RefusedFile

FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
DECODER_ERRORS = (  # what Pillow's decoders raise on damaged files
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error),
    Image.DecompressionBombError,
)
ORIENTATION = 0x0112
ALPHA_NOTE = "opaque alpha channel dropped from {images}"


@dataclass(frozen=True)
class DecodedImage:
    """An image as it will be written.

    Attributes:
        mode: "L" (8-bit grey), "I;16" (16-bit grey) or "RGB".
        pixels: (H, W) uint8 for "L", (H, W) uint16 for "I;16", (H, W, 3) uint8 for "RGB".
        notes: what was changed, as templates with ``{images}``.
    """

    mode: str
    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def decode(path: Path) -> Image.Image:
    """Read a file completely.

    Raises:
        RefusedFile: unreadable or truncated, several pages, more than 8 bits a colour channel (which Pillow
            would cut silently), or an EXIF orientation other than 1.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _refuse_hidden_traps(image, path)
            image.load()
            return image
    except DECODER_ERRORS as error:
        what = "files that cannot be read"
        remedy = "copy or export these files again, or remove the pair"
        raise RefusedFile(what, f"{path}: {error}", remedy) from error


def _refuse_hidden_traps(image: Image.Image, path: Path) -> None:
    pages = getattr(image, "n_frames", 1)
    if pages != 1:
        what, remedy = "files with several pages", "export one page a file; 3D stacks are not 2D images"
        raise RefusedFile(what, f"{path} has {pages} pages; allowed is 1", remedy)
    if image.mode in ("LA", "RGB", "RGBA") and image.format in ("PNG", "TIFF") and _bits_16(image):
        what, remedy = "colour files with 16 bits a channel", "export them with 8 bits a channel"
        raise RefusedFile(what, f"{path}; allowed are 8-bit colour and 8- or 16-bit grey", remedy)
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation != 1:
        what = "files whose EXIF orientation would turn image and mask apart"
        remedy = (
            "turn the pixels and clear the tag (ImageMagick: mogrify -auto-orient FILE), then check that the "
            "mask fits; if it was drawn on the unturned pixels, only clear the tag (exiftool -Orientation= FILE)"
        )
        raise RefusedFile(what, f"{path}: EXIF orientation {orientation}; allowed is 1", remedy)


def _bits_16(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", None) or [("", None, 0, "")]
    arguments = tiles[0][3] or ""
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    return raw_mode.partition(";")[2].startswith("16")


def read_image(path: Path) -> DecodedImage:
    """Decode one image to grey or RGB without changing a pixel value.

    Raises:
        RefusedFile: see :func:`decode`; also for transparency and for modes such as CMYK or float.
    """
    image = decode(path)
    notes: list[str] = []
    if image.mode == "1":
        image = image.convert("L")
        notes.append("{images} with 1 bit written as 8-bit grey (0 and 255)")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        notes.append("palette of {images} replaced by its RGB colours")
    elif "transparency" in image.info and image.mode in ("L", "RGB"):
        image = image.convert(image.mode + "A")
    if image.mode in ("LA", "RGBA"):
        image = _without_alpha(image, path)
        notes.append(ALPHA_NOTE)
    if image.mode.startswith("I;16"):
        return DecodedImage("I;16", np.asarray(image).astype(np.uint16), tuple(notes))
    if image.mode not in ("L", "RGB"):
        what, remedy = "images with an unsupported pixel type", "export them as 8-bit grey or RGB PNG"
        allowed = "1, L, LA, I;16, P, RGB and RGBA"
        raise RefusedFile(what, f"{path} has Pillow mode {image.mode!r}; allowed are {allowed}", remedy)
    return DecodedImage(image.mode, np.asarray(image), tuple(notes))


def _without_alpha(image: Image.Image, path: Path) -> Image.Image:
    refuse_transparency(image, path)
    return image.convert(image.mode[:-1])


def refuse_transparency(image: Image.Image, path: Path) -> None:
    """Raise :class:`RefusedFile` unless the alpha channel of an LA or RGBA image is 255 everywhere."""
    low, high = image.getchannel("A").getextrema()
    if (low, high) != (255, 255):
        what, remedy = "files with transparency", "flatten them onto a background and export without alpha"
        raise RefusedFile(what, f"{path}: alpha goes from {low} to {high}; allowed is 255 everywhere", remedy)


def as_mode(image: DecodedImage, mode: str) -> np.ndarray:
    """Pixels in the data set's common ``mode``: grey is repeated to (H, W, 3) where that is "RGB"."""
    if mode == "RGB" and image.mode == "L":
        return np.repeat(image.pixels[..., None], 3, axis=2)
    return image.pixels
