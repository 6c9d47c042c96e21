"""Ground truth of the made data set: branching vessels and separate cells, drawn without anti-aliasing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

MIN_WIDTH, MAX_WIDTH = 2.0, 6.0
CELLS_PER_PIXEL = 30 / 160**2


@dataclass
class _Tip:
    """The growing end of a vessel: position and width in pixels, heading in radians."""

    row: float
    column: float
    heading: float
    width: float
    depth: int


def draw_vessels(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, tuple[float, float]]:
    """Grow branching vessels from one point, 6 px wide there and 2 px at their ends.

    Args:
        size: (H, W) in pixels.
        rng: source of randomness.

    Returns:
        Mask (H, W) bool, and the (row, column) that the vessels grow from.
    """
    mask = np.zeros(size, bool)
    origin = (rng.uniform(0.25, 0.75) * size[0], rng.choice([0.15, 0.85]) * size[1])
    n = int(rng.integers(4, 7))
    start = rng.uniform(0, 2 * np.pi)
    tips = [
        _Tip(*origin, start + 2 * np.pi * k / n + rng.uniform(-0.3, 0.3), rng.uniform(4.2, MAX_WIDTH), 0)
        for k in range(n)
    ]
    while tips:
        tips += _grow(tips.pop(), mask, rng)
    return mask, origin


def _grow(tip: _Tip, mask: np.ndarray, rng: np.random.Generator) -> list[_Tip]:
    """Draw one vessel until it is thin or leaves the image; returns the branches that it sends out."""
    branches: list[_Tip] = []
    bend = 0.0
    while tip.width >= MIN_WIDTH and 0 <= tip.row < mask.shape[0] and 0 <= tip.column < mask.shape[1]:
        _stamp(mask, tip.row, tip.column, tip.width / 2)
        bend = 0.93 * bend + rng.normal(0, 0.0065)
        tip.heading += bend
        tip.row += 0.7 * np.sin(tip.heading)
        tip.column += 0.7 * np.cos(tip.heading)
        tip.width -= 0.7 * 0.015
        if tip.depth < 3 and tip.width > 1.25 * MIN_WIDTH and rng.random() < 0.02:
            side = rng.choice([-1.0, 1.0])
            turned = tip.heading + side * rng.uniform(0.45, 0.9)
            branches.append(_Tip(tip.row, tip.column, turned, tip.width * rng.uniform(0.6, 0.85), tip.depth + 1))
            tip.heading -= side * rng.uniform(0.05, 0.25)
    return branches


def _stamp(mask: np.ndarray, row: float, column: float, radius: float) -> None:
    """Set the pixels whose centre is within ``radius`` of a point."""
    top, left = max(int(row - radius), 0), max(int(column - radius), 0)
    window = mask[top : int(row + radius) + 2, left : int(column + radius) + 2]
    rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
    window |= (rows + top - row) ** 2 + (columns + left - column) ** 2 <= radius**2


def draw_cells(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Place about 30 deformed ellipses per 160 x 160 pixels that neither overlap nor touch.

    Args:
        size: (H, W) in pixels.
        rng: source of randomness.

    Returns:
        Instances (H, W) int32: 0 background, 1 to n cells.
    """
    instances = np.zeros(size, np.int32)
    wanted = round(CELLS_PER_PIXEL * size[0] * size[1] * rng.uniform(0.75, 1.15))
    placed = 0
    for _ in range(30 * wanted):
        cell = _cell(size, rng)
        grown = ndimage.binary_dilation(cell, iterations=2)
        if cell.sum() >= 20 and not (instances[grown] > 0).any():
            placed += 1
            instances[cell] = placed
        if placed == wanted:
            break
    return instances


def _cell(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One ellipse (H, W) bool whose outline is bent by three waves."""
    row, column = rng.uniform(0, size[0]), rng.uniform(0, size[1])
    long = rng.uniform(5.5, 12.0)
    short = long * rng.uniform(0.6, 1.0)
    turn = rng.uniform(0, np.pi)
    rows, columns = np.ogrid[: size[0], : size[1]]
    along = (np.cos(turn) * (columns - column) + np.sin(turn) * (rows - row)) / long
    across = (np.cos(turn) * (rows - row) - np.sin(turn) * (columns - column)) / short
    angle = np.arctan2(across, along)
    waves = sum(rng.uniform(0, 0.22) / k * np.cos((k + 1) * angle + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3))
    return np.hypot(along, across) <= 1.0 + waves
