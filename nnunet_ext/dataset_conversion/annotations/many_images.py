"""One JSON file with the outlines of many images: COCO, and the VGG Image Annotator (VIA)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.dataset_conversion.annotations.coco_runs import CocoRuns
from nnunet_ext.dataset_conversion.annotations.outline_json import via_objects
from nnunet_ext.dataset_conversion.annotations.painting import Drawn, Outline, painted
from nnunet_ext.dataset_conversion.annotations.text_files import json_of, misformed
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask

HALF = 0.5  # COCO's (0, 0) is the upper left corner of the upper left pixel, not its centre


@dataclass(frozen=True)
class DrawnObjects:
    """Objects of one image from a file that holds those of many, painted in their order.

    Attributes:
        file: named in messages and not read again.
        drawn: outlines and run lengths.
        shape: (H, W) that the file names for the image; None to take the image's.
        outside: see :class:`nnunet_ext.dataset_conversion.annotations.polygons.Polygons`.
    """

    file: Path
    drawn: tuple[Drawn, ...]
    shape: tuple[int, int] | None = None
    outside: str = "refuse"

    @property
    def files(self) -> tuple[Path, ...]:
        """The JSON file."""
        return (self.file,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Paint.

        Raises:
            RefusedFile: "outlines-malformed" for run lengths that do not fill the image; see
                :func:`nnunet_ext.dataset_conversion.annotations.painting.painted`.
        """
        try:
            return painted(self.drawn, legend, self.shape or shape, self.file, outside=self.outside)
        except ValueError as error:
            raise misformed(self.file, "COCO", error) from error


def coco_annotations(path: Path, images_folder: Path | None = None) -> dict[str, DrawnObjects]:
    """``{file name of the image: objects}`` of a COCO file, images without objects included.

    Polygons are drawn by the centres of pixels, so that objects can differ from COCO's own tool by pixels that their
    line touches. Crowds (``iscrowd``) are painted first, under the single objects.

    Args:
        path: JSON with ``images``, ``annotations`` and ``categories``.
        images_folder: if given, images that are not there are left out.

    Raises:
        RefusedFile: "unreadable", "outlines-malformed".
    """
    content = json_of(path)
    try:
        names = {category["id"]: str(category["name"]) for category in content.get("categories", ())}
        images = {image["id"]: image for image in content["images"]}
        drawn: dict[Any, list[Drawn]] = {key: [] for key in images}
        for annotation in sorted(content["annotations"], key=lambda a: not a.get("iscrowd")):
            image = images[annotation["image_id"]]
            drawn[annotation["image_id"]] += _coco_parts(annotation, names, image)
        found = {image["file_name"]: _of_image(path, image, drawn[key]) for key, image in images.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise misformed(path, "COCO", error) from error
    if images_folder is None:
        return found
    there = {file.relative_to(images_folder).as_posix() for file in images_folder.rglob("*")}
    return {name: objects for name, objects in found.items() if name in there}


def _of_image(path: Path, image: Mapping[str, Any], drawn: list[Drawn]) -> DrawnObjects:
    return DrawnObjects(path, tuple(drawn), _size_of(image))


def _size_of(image: Mapping[str, Any]) -> tuple[int, int] | None:
    return (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None


def _coco_parts(annotation: Mapping[str, Any], names: Mapping[Any, str], image: Mapping[str, Any]) -> list[Drawn]:
    """Outlines or run lengths of one object; several outlines are its parts."""
    name = names[annotation["category_id"]] if names else ""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, Mapping):
        height, width = segmentation["size"]
        counts = segmentation["counts"]
        return [CocoRuns(name, counts if isinstance(counts, str) else tuple(counts), (int(height), int(width)))]
    return [
        Outline(name, tuple((x - HALF, y - HALF) for x, y in zip(part[::2], part[1::2], strict=True)))
        for part in segmentation
    ]


def via_annotations(path: Path, attribute: str = "") -> dict[str, DrawnObjects]:
    """``{file name of the image: objects}`` of a VIA file, a project or its exported annotations.

    Args:
        path: JSON.
        attribute: which of the ``region_attributes`` is the class; "" for the only one there is, if any.

    Raises:
        RefusedFile: "unreadable", "outlines-malformed", "outline-kind".
    """
    content = json_of(path)
    try:
        entries = content.get("_via_img_metadata", content)
        return {e["filename"]: DrawnObjects(path, via_objects(e, path, attribute)) for e in entries.values()}
    except (KeyError, TypeError, AttributeError) as error:
        raise misformed(path, "VIA", error) from error
