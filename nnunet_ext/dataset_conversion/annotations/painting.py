"""Objects drawn one over the other: outlines and run lengths with class names, painted as labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from skimage.draw import polygon

from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.problems import RefusedFile

FEW_POINTS = "outlines with fewer than 3 points left out of {masks}"
OUTSIDE = "outlines wholly outside the image left out of {masks}"
NOBODY = -1


class Drawn(Protocol):
    """Something that marks pixels of an image."""

    @property
    def name(self) -> str:
        """Class name; "" if the file names none."""

    @property
    def erases(self) -> bool:
        """Whether it is a hole: it takes away what its own class has painted before."""

    def pixels(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows and columns of the pixels inside an image of ``shape``; None if it cannot be drawn."""

    def is_outside(self, shape: tuple[int, int]) -> bool:
        """Whether it has no point inside an image of ``shape``."""


@dataclass(frozen=True)
class Outline:
    """A polygon. Pixels belong to it if their centres lie inside or on the line.

    Attributes:
        name: class name; "" if the file names none.
        points: (x, y), x to the right in columns and y down in rows; the centre of the upper left pixel is (0, 0).
        erases: it is a hole.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    erases: bool = False

    def pixels(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows and columns inside; None with fewer than 3 points."""
        if len(self.points) < 3:
            return None
        x, y = np.asarray(self.points, dtype=float).T
        rows, columns = polygon(y, x, shape)
        return rows, columns

    def is_outside(self, shape: tuple[int, int]) -> bool:
        """Whether the smallest upright rectangle around it misses the image."""
        if len(self.points) < 3:
            return False
        x, y = np.asarray(self.points, dtype=float).T
        return bool(x.max() < -0.5 or y.max() < -0.5 or x.min() > shape[1] - 0.5 or y.min() > shape[0] - 0.5)


def painted(
    drawn: Sequence[Drawn], legend: Legend, shape: tuple[int, int], path: Path, *, outside: str = "refuse"
) -> DecodedMask:
    """Paint in the given order: later objects win, holes take away what their own class has.

    Pixels that nothing covers are label 0.

    Args:
        drawn: outlines, run lengths.
        legend: what class names mean; all are foreground with a binary one.
        shape: (H, W) of the image.
        path: file to name in messages.
        outside: what becomes of objects wholly outside the image: "refuse" (mostly the scale is wrong) or "leave out".

    Raises:
        RefusedFile: "unnamed-class" for class names that ``--labels`` lacks, "outline-outside".
    """
    names = list(dict.fromkeys(thing.name for thing in drawn))
    label_of = np.array([legend.label_of_name(name, path) for name in names] + [0], np.uint8)
    owner = np.full(shape, NOBODY, np.int32)  # the index of a name; NOBODY takes the last label, background
    contested = np.zeros(shape, bool)
    notes: dict[str, None] = {}
    for thing in drawn:
        if thing.is_outside(shape):
            if outside == "refuse":
                raise _outside(thing, shape, path)
            notes[OUTSIDE] = None
        elif (inside := thing.pixels(shape)) is None:
            notes[FEW_POINTS] = None
        else:
            _paint(thing, names.index(thing.name), inside, owner, contested, label_of)
    return DecodedMask(label_of[owner], "polygons", notes=tuple(notes), overlap=int(contested.sum()))


def _paint(
    thing: Drawn,
    index: int,
    inside: tuple[np.ndarray, np.ndarray],
    owner: np.ndarray,
    contested: np.ndarray,
    label_of: np.ndarray,
) -> None:
    before = owner[inside]
    if thing.erases:
        owner[inside] = np.where(before == index, NOBODY, before)
        return
    contested[inside] |= (before != NOBODY) & (label_of[before] != label_of[index])
    owner[inside] = index


def _outside(thing: Drawn, shape: tuple[int, int], path: Path) -> RefusedFile:
    points = getattr(thing, "points", ())
    first = f" at x {points[0][0]:g}, y {points[0][1]:g}" if points else ""
    named = f"an outline of {thing.name!r}" if thing.name else "an outline"
    where = f"{path}: {named}{first} lies outside its image of {shape[1]} x {shape[0]} (width x height)"
    remedy = "check that image and outlines have one scale, and belong together; or remove the outline"
    return RefusedFile("outline-outside", "outlines wholly outside the image", where, remedy)
