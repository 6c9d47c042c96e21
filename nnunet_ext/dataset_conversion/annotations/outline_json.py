"""Outlines in JSON files: of LabelMe, of Cityscapes, and of the VGG Image Annotator (VIA)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_ext.dataset_conversion.annotations.painting import Drawn, Outline
from nnunet_ext.dataset_conversion.annotations.text_files import misformed, unsupported


@dataclass(frozen=True)
class Disc:
    """A circle with its inside: pixels whose centres are no farther from ``centre`` (x, y) than ``radius``."""

    name: str
    centre: tuple[float, float]
    radius: float

    @property
    def erases(self) -> bool:
        """Discs are no holes."""
        return False

    def pixels(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns inside."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        inside = np.nonzero(np.hypot(columns - self.centre[0], rows - self.centre[1]) <= self.radius)
        return inside[0], inside[1]

    def is_outside(self, shape: tuple[int, int]) -> bool:
        """Whether the square around it misses the image."""
        (x, y), r = self.centre, self.radius
        return x + r < -0.5 or y + r < -0.5 or x - r > shape[1] - 0.5 or y - r > shape[0] - 0.5


def labelme_objects(content: Mapping[str, Any], path: Path) -> tuple[Drawn, ...]:
    """Shapes of a LabelMe file: polygons, rectangles and circles.

    Raises:
        RefusedFile: "outlines-malformed", "outline-kind" for other shapes.
    """
    try:
        return tuple(_labelme_shape(shape, path) for shape in content["shapes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise misformed(path, "LabelMe", error) from error


def _labelme_shape(shape: Mapping[str, Any], path: Path) -> Drawn:
    name, points = str(shape["label"]), _points(shape["points"])
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return Outline(name, points)
    if kind == "rectangle":
        (left, top), (right, bottom) = points
        return Outline(name, ((left, top), (right, top), (right, bottom), (left, bottom)))
    if kind == "circle":
        (x, y), (at_x, at_y) = points
        return Disc(name, (x, y), float(np.hypot(at_x - x, at_y - y)))
    raise unsupported(path, "LabelMe", f"shape of type {kind!r}", "polygon, rectangle and circle")


def cityscapes_objects(content: Mapping[str, Any], path: Path) -> tuple[Drawn, ...]:
    """Polygons of a ``*_gtFine_polygons.json`` of Cityscapes; deleted ones are left out.

    Raises:
        RefusedFile: "outlines-malformed".
    """
    try:
        kept = [thing for thing in content["objects"] if not thing.get("deleted")]
        return tuple(Outline(str(thing["label"]), _points(thing["polygon"])) for thing in kept)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise misformed(path, "Cityscapes", error) from error


def via_objects(entry: Mapping[str, Any], path: Path, attribute: str = "") -> tuple[Drawn, ...]:
    """Regions of one image of a VIA file: polygons, rectangles and circles.

    Args:
        entry: what the file holds for one image.
        path: file to name in messages.
        attribute: which of the ``region_attributes`` is the class; "" for the only one there is, if any.

    Raises:
        RefusedFile: "outlines-malformed", "outline-kind" for other shapes.
    """
    regions = entry["regions"]
    regions = list(regions.values()) if isinstance(regions, Mapping) else regions  # VIA 1 numbers them
    try:
        return tuple(_via_region(region, path, attribute) for region in regions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise misformed(path, "VIA", error) from error


def _via_region(region: Mapping[str, Any], path: Path, attribute: str) -> Drawn:
    attributes, shape = region.get("region_attributes") or {}, region["shape_attributes"]
    if not attribute and len(attributes) > 1:
        raise KeyError(f"one class among the attributes {', '.join(attributes)}")
    name = str(attributes[attribute] if attribute else next(iter(attributes.values()), ""))
    kind = shape["name"]
    if kind == "polygon":
        return Outline(name, _points(list(zip(shape["all_points_x"], shape["all_points_y"], strict=True))))
    if kind == "rect":
        left, top = float(shape["x"]), float(shape["y"])
        right, bottom = left + float(shape["width"]), top + float(shape["height"])
        return Outline(name, ((left, top), (right, top), (right, bottom), (left, bottom)))
    if kind == "circle":
        return Disc(name, (float(shape["cx"]), float(shape["cy"])), float(shape["r"]))
    raise unsupported(path, "VIA", f"region of type {kind!r}", "polygon, rect and circle")


def _points(points: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)
