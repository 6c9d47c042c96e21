"""Decoding of image and mask files into arrays, strictly: what could be misread is refused."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from nnunet_ext.dataset_conversion.deep_colour import TURNS, deep_pixels, is_deep_colour, is_readable
from nnunet_ext.dataset_conversion.problems import RefusedFile

FORMATS = ("PNG", "BMP", "TIFF", "JPEG", "GIF", "PPM")
LOSSY_FORMATS = ("JPEG", "MPO")
ENDINGS_OF = {
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
DECODER_ERRORS = (  # what Pillow's decoders raise on damaged files
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
ORIENTATION = 0x0112
ALPHA_NOTE = "opaque alpha channel dropped from {images}"
EXIF_RULES = ("refuse", "turn", "ignore")
ALPHA_RULES = ("refuse", "drop")
COLOR_RULES = ("auto", "rgb", "grey")


@dataclass(frozen=True)
class Reading:
    """What the user decided about files that could be read in two ways.

    Attributes:
        exif: "refuse" an EXIF orientation, "turn" the pixels as viewers do, or "ignore" it.
        alpha: "refuse" transparency, or "drop" the alpha channel.
        color: "auto" leaves grey images grey unless the data set holds colour, "rgb" writes three channels, "grey"
            one, and refuses images whose channels differ.
    """

    exif: str = "refuse"
    alpha: str = "refuse"
    color: str = "auto"


PLAIN = Reading()


@dataclass(frozen=True)
class DecodedImage:
    """An image as it will be written.

    Attributes:
        mode: "L" (8-bit grey), "I;16" (16-bit grey), "F" (32-bit float grey), "RGB" or "RGB;16".
        pixels: (H, W) uint8 for "L", uint16 for "I;16", float32 for "F"; (H, W, 3) uint8 for "RGB", uint16 for
            "RGB;16".
        notes: what was changed, as templates with ``{images}``.
        source_mode: Pillow's mode of the file, with its format, such as "PNG RGBA".
        as_is: the file can be used unchanged, because nnU-Net's reader gets just these pixels from it.
    """

    mode: str
    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    source_mode: str = ""
    as_is: bool = False


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own: PNG, BMP, TIFF, JPEG, GIF or PPM, also gzipped (``.ppm.gz``)."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, rules: Reading) -> DecodedImage:
        """Decode, see :func:`read_image`."""
        return read_image(self.path, rules)


def decode(path: Path, rules: Reading = PLAIN) -> Image.Image:
    """Read a file completely.

    Raises:
        RefusedFile: unreadable or truncated, several pages, more than 8 bits a colour channel (which Pillow
            would cut silently), or an EXIF orientation other than 1 that ``rules`` do not decide about.
    """
    with _open(path) as image:
        _refuse_several_pages(image, path)
        if is_deep_colour(image):
            what = "colour files with 16 bits a channel"
            where = f"{path} ({image.format} {image.mode}); allowed are 8-bit colour, and 16-bit RGB images as PNG or "
            raise RefusedFile("16-bit-colour", what, where + "TIFF", "export them with 8 bits a channel, without alpha")
        orientation, most = _orientation(image, path, rules), _largest_of_pnm(image)
        image.load()
        if orientation != 1:
            return _like(image, _turned(image, orientation, rules))
        return image if most is None else _like(image, _unstretched(image, most))


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Open without decoding; what Pillow raises here or below becomes a :class:`RefusedFile`."""
    try:
        with Image.open(_opened(path), formats=FORMATS) as image:
            yield image
    except DECODER_ERRORS as error:
        _refuse_other_format(path)
        remedy = "copy or export these files again, or remove the pair"
        raise RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", remedy) from error


def _refuse_other_format(path: Path) -> None:
    """Raise :class:`RefusedFile` for a file in a format that Pillow knows but that is not converted, such as WebP."""
    try:
        with Image.open(_opened(path)) as image:
            kind = image.format
    except DECODER_ERRORS:
        return
    if kind not in ENDINGS_OF:
        where = f"{path} is {kind}, whatever its ending; allowed are PNG, BMP, TIFF, JPEG, GIF and PPM"
        remedy = "convert these files to PNG without loss, or remove the pair"
        raise RefusedFile("format", "files in a format that is not supported", where, remedy)


def _opened(path: Path) -> Path | BinaryIO:
    return io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix.lower() == ".gz" else path


def _like(image: Image.Image, changed: Image.Image) -> Image.Image:
    changed.format = image.format
    return changed


def _turned(image: Image.Image, orientation: int, rules: Reading) -> Image.Image:
    """Apply the rule to an image that is loaded; Pillow turns TIFF files by itself when it loads them."""
    is_done = image.getexif().get(ORIENTATION, 1) != orientation
    if is_done and rules.exif == "ignore":
        image.getexif()[ORIENTATION] = {6: 8, 8: 6}.get(orientation, orientation)  # back again
    return image.copy() if is_done == (rules.exif == "turn") else ImageOps.exif_transpose(image)


def _largest_of_pnm(image: Image.Image) -> int | None:
    """Highest value that a grey PNM file declares, if Pillow stretches it to 255 or 65535; else None."""
    if image.format != "PPM" or image.mode not in ("L", "I") or not image.tile:  # type: ignore[attr-defined]
        return None
    arguments = image.tile[0][3]  # type: ignore[attr-defined]
    most = arguments[-1] if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else None
    return (most or 65535) if image.mode == "I" else most


def _unstretched(image: Image.Image, most: int) -> Image.Image:
    """Values as the file has them: classes are numbers, and other formats are not stretched either."""
    stretched = np.asarray(image).astype(np.float64)
    values = np.rint(stretched * most / (255 if image.mode == "L" else 65535))
    return Image.fromarray(values.astype(np.uint8 if image.mode == "L" else np.uint16))


def is_untouched_png(image: Image.Image) -> bool:
    """Whether a decoded image has the pixels that its PNG file has: it was not turned, and viewers do not either."""
    return isinstance(image, PngImagePlugin.PngImageFile) and image.getexif().get(ORIENTATION, 1) not in TURNS


def _refuse_several_pages(image: Image.Image, path: Path) -> None:
    pages = getattr(image, "n_frames", 1)
    if pages != 1:
        what, remedy = "files with several pages", "export one page a file; 3D stacks are not 2D images"
        raise RefusedFile("several-pages", what, f"{path} has {pages} pages; allowed is 1", remedy)


def _orientation(image: Image.Image, path: Path, rules: Reading) -> int:
    """EXIF orientation, 1 if there is none or one that means nothing.

    Raises:
        RefusedFile: it would turn the image, and ``rules`` do not decide.
    """
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation not in TURNS:
        return 1
    if rules.exif == "refuse":
        what = "files whose EXIF orientation would turn image and mask apart"
        remedy = (
            "if the masks were drawn on the turned images, as viewers show them, pass --exif turn; if they fit the "
            "unturned pixels, pass --exif ignore"
        )
        raise RefusedFile("exif-orientation", what, f"{path}: EXIF orientation {orientation}; allowed is 1", remedy)
    return int(orientation)


def read_image(path: Path, rules: Reading = PLAIN) -> DecodedImage:
    """Decode one image to grey or RGB without changing a pixel value.

    Raises:
        RefusedFile: see :func:`decode`; also for transparency and for modes such as CMYK.
    """
    decoded = _read_deep(path, rules) or _read_shallow(path, rules)
    if rules.color == "rgb":
        mode = _in_colour(decoded.mode)
        as_is = decoded.as_is and mode == decoded.mode
        return replace(decoded, mode=mode, pixels=as_mode(decoded, mode), as_is=as_is)
    if rules.color == "grey" and decoded.pixels.ndim == 3:
        return _reduced_to_grey(decoded, path)
    return decoded


def _read_shallow(path: Path, rules: Reading) -> DecodedImage:
    image = decode(path, rules)
    source = f"{image.format} {image.mode}"
    as_is = is_untouched_png(image) and image.mode in ("L", "RGB", "I;16") and "transparency" not in image.info
    notes: list[str] = []
    if image.format and path.suffix.lower() not in (*ENDINGS_OF[image.format], ".gz"):
        notes.append(f"{{images}} with {image.format} data under the ending {path.suffix}")
    if image.mode == "1":
        image = image.convert("L")
        notes.append("{images} with 1 bit written as 8-bit grey (0 and 255)")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        notes.append("palette of {images} replaced by its RGB colours")
    elif "transparency" in image.info and image.mode in ("L", "RGB"):
        image = image.convert(image.mode + "A")
    if image.mode in ("LA", "RGBA"):
        image = _without_alpha(image, path, rules, notes)
    if image.mode.startswith("I;16"):
        return DecodedImage("I;16", np.asarray(image).astype(np.uint16), tuple(notes), source, as_is)
    if image.mode in ("F", "I"):
        return DecodedImage("F", _as_float(np.asarray(image), path), tuple(notes), source)
    if image.mode not in ("L", "RGB"):
        where = f"{path} has Pillow mode {image.mode!r}; allowed are 1, L, LA, I;16, I, F, P, RGB and RGBA"
        raise _pixel_type(where)
    return DecodedImage(image.mode, np.asarray(image), tuple(notes), source, as_is)


def _as_float(values: np.ndarray, path: Path) -> np.ndarray:
    """float32 of the same values; refused if these need more than its 24 bits."""
    floats = values.astype(np.float32)
    if (floats.astype(np.float64) != values).any() and not np.isnan(floats).any():
        raise _pixel_type(f"{path} holds 32-bit values up to {values.max()}; allowed are up to {1 << 24}")
    return floats


def _pixel_type(where: str) -> RefusedFile:
    what, remedy = "images with an unsupported pixel type", "export them as 8-bit grey or RGB PNG"
    return RefusedFile("pixel-type", what, where, remedy)


def _read_deep(path: Path, rules: Reading) -> DecodedImage | None:
    """Read 16-bit RGB with libraries that keep all bits (Pillow does not); None for any other file."""
    with _open(path) as image:
        if not is_readable(image):
            return None
        _refuse_several_pages(image, path)
        orientation = _orientation(image, path, rules)
        image.load()  # complains about truncated files, which SimpleITK may not
        pixels = deep_pixels(path, image.format)
        if rules.exif == "turn" and orientation != 1:
            pixels = np.ascontiguousarray(TURNS[orientation](pixels))
        return DecodedImage("RGB;16", pixels, (), f"{image.format} RGB;16")


def _without_alpha(image: Image.Image, path: Path, rules: Reading, notes: list[str]) -> Image.Image:
    if rules.alpha == "refuse":
        refuse_transparency(image, path)
    opaque = image.getchannel("A").getextrema() == (255, 255)
    notes.append(ALPHA_NOTE if opaque else "transparency dropped from {images} (--alpha drop)")
    return image.convert(image.mode[:-1])


def refuse_transparency(image: Image.Image, path: Path) -> None:
    """Raise :class:`RefusedFile` unless the alpha channel of an LA or RGBA image is 255 everywhere."""
    low, high = image.getchannel("A").getextrema()
    if (low, high) != (255, 255):
        what = "files with transparency"
        remedy = "flatten them onto a background and export without alpha, or use the colours below it: --alpha drop"
        where = f"{path}: alpha goes from {low} to {high}; allowed is 255 everywhere"
        raise RefusedFile("transparency", what, where, remedy)


def _in_colour(mode: str) -> str:
    return {"L": "RGB", "I;16": "RGB;16"}.get(mode, mode)


def _reduced_to_grey(image: DecodedImage, path: Path) -> DecodedImage:
    coloured = (image.pixels != image.pixels[..., :1]).any(axis=2)
    if coloured.any():
        example = tuple(image.pixels[coloured][0].tolist())
        where = f"{path}: {int(coloured.sum())} pixels are not grey, such as RGB {example}; --color grey allows grey"
        raise RefusedFile("colour-among-grey", "images in colour", where, "leave --color grey away")
    mode = {"RGB": "L", "RGB;16": "I;16"}[image.mode]
    notes = (*image.notes, "{images} with equal channels written as grey")
    return replace(image, mode=mode, pixels=image.pixels[..., 0], notes=notes, as_is=False)


def as_mode(image: DecodedImage, mode: str) -> np.ndarray:
    """Pixels in the data set's common ``mode``: grey is repeated to (H, W, 3) where that has colour."""
    if mode.startswith("RGB") and image.pixels.ndim == 2:
        return np.repeat(image.pixels[..., None], 3, axis=2)
    return image.pixels


def value_counts(values: np.ndarray) -> np.ndarray:
    """Return how often each value occurs in (H, W) unsigned integers; 256 entries for uint8, up to the highest else."""
    if values.dtype == np.uint8 and values.size:
        return np.array(Image.fromarray(values).histogram())  # np.bincount would make 64-bit integers of them first
    return np.bincount(values.ravel())
