"""Outlines of one image's objects in an XML or JSON file, drawn as labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.dataset_conversion.annotations.imagescope_xml import imagescope_outlines
from nnunet_ext.dataset_conversion.annotations.outline_json import cityscapes_objects, labelme_objects, via_objects
from nnunet_ext.dataset_conversion.annotations.painting import Drawn, painted
from nnunet_ext.dataset_conversion.annotations.text_files import json_of, xml_of
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.problems import RefusedFile

KNOWN = "ImageScope XML, and JSON of LabelMe, Cityscapes or VIA"
SIZES = (("imageHeight", "imageWidth"), ("imgHeight", "imgWidth"))  # LabelMe, Cityscapes


@dataclass(frozen=True)
class Polygons:
    """A file of outlines for one image: ImageScope XML, or JSON of LabelMe, Cityscapes or VIA, told by the content.

    A pixel belongs to an outline if its centre lies inside or on the line. x is to the right, in columns, y is down,
    in rows, and the centre of the upper left pixel is (0, 0). Later outlines win; pixels in no outline are label 0.
    Outlines that are partly outside the image are cut.

    Attributes:
        path: the file.
        outside: what becomes of outlines wholly outside the image: "refuse" (mostly the scale is wrong) or "leave out".
    """

    path: Path
    outside: str = "refuse"

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Draw the outlines in the size that the file names, or else in that of the image.

        Raises:
            RefusedFile: "unreadable", "outlines-unknown", "outlines-malformed", "outlines-many" for a file of several
                images, "outline-kind" for what is no outline; see
                :func:`nnunet_ext.dataset_conversion.annotations.painting.painted`.
        """
        drawn, own_shape = drawn_in(self.path)
        return painted(drawn, legend, own_shape or shape, self.path, outside=self.outside)


def drawn_in(path: Path) -> tuple[Sequence[Drawn], tuple[int, int] | None]:
    """Objects of a file in their order, and the (H, W) that it names, if it does.

    Raises:
        RefusedFile: see :meth:`Polygons.read`.
    """
    if path.suffix.lower() == ".xml":
        root = xml_of(path)
        if root.tag != "Annotations":
            raise _unknown(path, f"XML with the root element {root.tag!r}")
        return imagescope_outlines(root, path), None
    content = json_of(path)
    if not isinstance(content, Mapping):
        raise _unknown(path, f"JSON with a {type(content).__name__}")
    if "shapes" in content:
        return labelme_objects(content, path), _named_shape(content)
    if "objects" in content:
        return cityscapes_objects(content, path), _named_shape(content)
    if "annotations" in content and "images" in content:
        raise _many(path, "a COCO file", len(content["images"]))
    entries = content.get("_via_img_metadata", content)
    if entries and all(isinstance(entry, Mapping) and "regions" in entry for entry in entries.values()):
        if len(entries) > 1:
            raise _many(path, "a VIA file", len(entries))
        return via_objects(next(iter(entries.values())), path), None
    raise _unknown(path, f"JSON with {', '.join(map(repr, list(content)[:5])) or 'nothing'}")


def _named_shape(content: Mapping[str, Any]) -> tuple[int, int] | None:
    for height, width in SIZES:
        if isinstance(content.get(height), int) and isinstance(content.get(width), int):
            return content[height], content[width]
    return None


def _unknown(path: Path, found: str) -> RefusedFile:
    remedy = "export the outlines in one of these formats, or as masks"
    return RefusedFile("outlines-unknown", "files of outlines in no known format", f"{path}: {found}; {KNOWN}", remedy)


def _many(path: Path, kind: str, n: int) -> RefusedFile:
    where = f"{path} is {kind} with {n} images; allowed is one file for each image"
    remedy = "name the file as the annotations of all images"
    return RefusedFile("outlines-many", "one file of outlines for many images", where, remedy)
