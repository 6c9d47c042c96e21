"""Which file endings hold images, which annotations, and what a name is without its ending."""

from __future__ import annotations

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


def annotation_of(path: Path) -> Annotation:
    """Return how a mask file is read, by its ending."""
    if ending_of(path) in IMAGE_ENDINGS:
        return MaskFile(path)
    from nnunet_ext.dataset_conversion.annotations.by_ending import annotation_for

    return annotation_for(path)
