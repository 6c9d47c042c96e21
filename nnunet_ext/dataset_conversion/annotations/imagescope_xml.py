"""Outlines in the XML files of Aperio ImageScope, as MoNuSeg and MoNuSAC have them."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from nnunet_ext.dataset_conversion.annotations.painting import Outline
from nnunet_ext.dataset_conversion.annotations.text_files import misformed, unsupported

KIND = "ImageScope XML"
ELLIPSE = "2"
NO_CLASS = ("", "Description")  # ImageScope's own column


def imagescope_outlines(root: Element, path: Path) -> tuple[Outline, ...]:
    """Outlines of ``Annotations/Annotation/Regions/Region/Vertices/Vertex``, in the file's order.

    The class is the ``Name`` of the layer's first ``Attribute``, or of the layer (``Annotation``). Regions with
    ``NegativeROA="1"`` are holes; they follow the other regions of their layer.

    Raises:
        RefusedFile: "outlines-malformed", "outline-kind" for ellipses.
    """
    outlines: list[Outline] = []
    for layer in root.iter("Annotation"):
        name = _class_of(layer)
        regions = [_outline(region, name, path) for region in layer.iterfind("Regions/Region")]
        outlines += sorted(regions, key=lambda outline: outline.erases)
    return tuple(outlines)


def _class_of(layer: Element) -> str:
    names = [attribute.get("Name", "").strip() for attribute in layer.iterfind("Attributes/Attribute")]
    names.append(layer.get("Name", "").strip())
    return next((name for name in names if name not in NO_CLASS), "")


def _outline(region: Element, name: str, path: Path) -> Outline:
    if region.get("Type") == ELLIPSE:
        raise unsupported(path, KIND, "region of type 2 (ellipse)", "polygons and rectangles")
    try:
        points = tuple((float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iterfind("Vertices/Vertex"))
    except (KeyError, ValueError) as error:
        raise misformed(path, KIND, error) from error
    return Outline(name, points, region.get("NegativeROA") == "1")
