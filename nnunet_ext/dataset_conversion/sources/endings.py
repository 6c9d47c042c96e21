"""Which file endings hold images, which annotations, and what a name is without its ending."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Annotation
from nnunet_ext.dataset_conversion.masks import MaskFile

IMAGE_ENDINGS = (
    *(".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".ppm.gz", ".pgm.gz"),
)
ANNOTATION_ENDINGS = (".json", ".xml", ".mat")
OTHER_IMAGE_ENDINGS = (
    *(".webp", ".jp2", ".jpe", ".jfif", ".tga", ".heic", ".avif"),
    *(".npy", ".npz", ".nii", ".gz", ".nrrd", ".mha", ".mhd", ".dcm", ".svs", ".exr", ".svg"),
)


def ending_of(path: Path) -> str:
    """File ending in small letters, ``.ppm.gz`` as a whole."""
    two = "".join(path.suffixes[-2:]).lower()
    return two if two in IMAGE_ENDINGS else path.suffix.lower()


def stem_of(path: Path) -> str:
    """File name without its ending."""
    return path.name[: len(path.name) - len(ending_of(path))]


def composed(name: str) -> str:
    """Return the name in Unicode form NFC: macOS writes an accent as a character of its own, and names must match."""
    return unicodedata.normalize("NFC", name)


def typed_path(text: str, base: Path) -> Path:
    """Return a path as lists and tables have it: relative to ``base``, with "~", and perhaps with Windows' slashes."""
    path = base / os.path.expanduser(text)
    return path if "\\" not in text or path.exists() else base / os.path.expanduser(text.replace("\\", "/"))


def annotation_of(path: Path) -> Annotation:
    """Return how a mask file is read, by its ending."""
    if ending_of(path) in IMAGE_ENDINGS:
        return MaskFile(path)
    from nnunet_ext.dataset_conversion.annotations.by_ending import annotation_for

    return annotation_for(path)
