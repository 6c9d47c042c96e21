"""Decoding of image and mask files into arrays, strictly: what could be misread is refused."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

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
    try:
        with Image.open(_opened(path), formats=FORMATS) as image:
            _refuse_hidden_traps(image, path, rules)
            image.load()
            return _turned(image) if rules.exif == "turn" else image
    except DECODER_ERRORS as error:
        remedy = "copy or export these files again, or remove the pair"
        raise RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", remedy) from error


def _opened(path: Path) -> Path | BinaryIO:
    return io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix.lower() == ".gz" else path


def _turned(image: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    if turned is not image:
        turned.format = image.format
    return turned


def _refuse_hidden_traps(image: Image.Image, path: Path, rules: Reading) -> None:
    pages = getattr(image, "n_frames", 1)
    if pages != 1:
        what, remedy = "files with several pages", "export one page a file; 3D stacks are not 2D images"
        raise RefusedFile("several-pages", what, f"{path} has {pages} pages; allowed is 1", remedy)
    if is_deep_colour(image):
        what = "colour files with 16 bits a channel"
        where, remedy = f"{path}; allowed are 8-bit colour and 8- or 16-bit grey", "export them with 8 bits a channel"
        raise RefusedFile("16-bit-colour", what, where, remedy)
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation != 1 and rules.exif == "refuse":
        what = "files whose EXIF orientation would turn image and mask apart"
        remedy = (
            "if the masks were drawn on the turned images, as viewers show them, pass --exif turn; if they fit the "
            "unturned pixels, pass --exif ignore"
        )
        raise RefusedFile("exif-orientation", what, f"{path}: EXIF orientation {orientation}; allowed is 1", remedy)


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a file that is open, but not loaded, has 16 bits a colour channel; Pillow would keep 8 of them."""
    if image.mode not in ("LA", "RGB", "RGBA") or image.format not in ("PNG", "TIFF", "PPM"):
        return False
    tiles = getattr(image, "tile", None) or [("", None, 0, "")]
    arguments = tiles[0][3] or ""
    if image.format == "PPM":
        return isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255
    raw_mode = arguments if isinstance(arguments, str) else str(arguments[0])
    return raw_mode.partition(";")[2].startswith("16")


def read_image(path: Path, rules: Reading = PLAIN) -> DecodedImage:
    """Decode one image to grey or RGB without changing a pixel value.

    Raises:
        RefusedFile: see :func:`decode`; also for transparency and for modes such as CMYK.
    """
    deep = _deep_colour(path)
    decoded = deep if deep is not None else _read_shallow(path, rules)
    if rules.color == "rgb":
        mode = _in_colour(decoded.mode)
        as_is = decoded.as_is and mode == decoded.mode
        return replace(decoded, mode=mode, pixels=as_mode(decoded, mode), as_is=as_is)
    if rules.color == "grey" and decoded.pixels.ndim == 3:
        return _reduced_to_grey(decoded, path)
    return decoded


def _read_shallow(path: Path, rules: Reading) -> DecodedImage:
    image = decode(path, rules)
    source, orientation = f"{image.format} {image.mode}", image.getexif().get(ORIENTATION, 1)
    as_is = image.format == "PNG" and image.mode in ("L", "RGB", "I;16") and orientation == 1
    notes: list[str] = []
    if image.format and path.suffix.lower() not in (*ENDINGS_OF[image.format], ".gz"):
        notes.append(f"{{images}} hold {image.format} data under the ending {path.suffix}")
    if image.mode == "1":
        image = image.convert("L")
        notes.append("{images} with 1 bit written as 8-bit grey (0 and 255)")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        notes.append("palette of {images} replaced by its RGB colours")
    elif "transparency" in image.info and image.mode in ("L", "RGB"):
        image, as_is = image.convert(image.mode + "A"), False
    if image.mode in ("LA", "RGBA"):
        image = _without_alpha(image, path, rules, notes)
    if image.mode.startswith("I;16"):
        return DecodedImage("I;16", np.asarray(image).astype(np.uint16), tuple(notes), source, as_is)
    if image.mode in ("F", "I"):
        return DecodedImage("F", np.asarray(image, dtype=np.float32), tuple(notes), source)
    if image.mode not in ("L", "RGB"):
        what, remedy = "images with an unsupported pixel type", "export them as 8-bit grey or RGB PNG"
        allowed = "1, L, LA, I;16, I, F, P, RGB and RGBA"
        where = f"{path} has Pillow mode {image.mode!r}; allowed are {allowed}"
        raise RefusedFile("pixel-type", what, where, remedy)
    return DecodedImage(image.mode, np.asarray(image), tuple(notes), source, as_is)


def _deep_colour(path: Path) -> DecodedImage | None:
    """Read 16-bit RGB with libraries that keep all bits (Pillow does not); None for any other file."""
    try:
        with Image.open(_opened(path), formats=FORMATS) as image:
            kind = image.format if is_deep_colour(image) and image.mode == "RGB" else ""
        if kind == "TIFF":
            import tifffile

            pixels = tifffile.imread(path)
        elif kind == "PNG":
            import SimpleITK

            pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        else:
            return None
    except (*DECODER_ERRORS, RuntimeError):  # reported by `decode`, in one form for all files
        return None
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint16:
        return None
    return DecodedImage("RGB;16", pixels, (), f"{kind} RGB;16")


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
