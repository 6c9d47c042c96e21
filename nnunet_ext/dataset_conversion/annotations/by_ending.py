"""The kind of annotation that a file's ending tells."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.mat_array import MatArray
from nnunet_ext.dataset_conversion.annotations.polygons import Polygons
from nnunet_ext.dataset_conversion.cases import Annotation
from nnunet_ext.dataset_conversion.masks import MaskFile

POLYGON_ENDINGS = (".json", ".xml")
MAT_ENDINGS = (".mat",)


def annotation_for(path: Path) -> Annotation:
    """Outlines for ``.json`` and ``.xml``, the only 2D array of a ``.mat``, a mask file for everything else.

    Nothing is opened.
    """
    ending = path.suffix.lower()
    if ending in POLYGON_ENDINGS:
        return Polygons(path)
    return MatArray(path) if ending in MAT_ENDINGS else MaskFile(path)
