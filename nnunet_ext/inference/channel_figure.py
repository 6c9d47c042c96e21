"""Feature maps of chosen channels and of others, drawn off screen with matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nnunet_ext.inference.channel_maps import Extent

Array = npt.NDArray[Any]

CHOSEN, OTHER = "#D55E00", "0.45"  # Okabe-Ito vermilion, grey
DPI = 120
PANEL, GAP = 1.55, 0.12  # inches: width of a map, and what is left between two
HEAD, RANGE, TITLE = 0.36, 0.27, 0.24  # inches above a map, below it, and of a selection's title
COLUMNS = 8  # most maps in a row
WHITE = 99.5  # % of a map's values that are not white
FOOT = (
    f"Each map in grey over its own range, which stands below it; the highest {100 - WHITE:g} % are white. "
    "Orange frames: chosen, highest scores first. Grey frames: not chosen, lowest scores first."
)


@dataclass(frozen=True)
class MapPanel:
    """A map of one channel: its number and score, `(h, w)` values, and where they are in pixels of the window."""

    channel: int
    score: float
    values: Array
    extent: Extent


@dataclass(frozen=True)
class SelectionView:
    """Maps of one selection.

    Attributes:
        title: a line.
        chosen: the chosen channels with the highest scores, at least one, highest first.
        others: of those that are not chosen the ones with the lowest scores, lowest first.
        curvature: |K * x| of the first chosen channel, where curvature is the score.
    """

    title: str
    chosen: Sequence[MapPanel]
    others: Sequence[MapPanel]
    curvature: MapPanel | None = None


@dataclass(frozen=True)
class CaseView:
    """One window of a case.

    Attributes:
        case: its name.
        where: a line on what is shown of it.
        image: `(H, W)` or `(H, W, 3)` uint8, without padding.
        predicted: `(H, W)` bool, where foreground is predicted.
        limits: (left, right, bottom, top) of the image in pixels of the window.
        aspect: height of a pixel over its width.
        selections: of the network, at least one.
    """

    case: str
    where: str
    image: Array
    predicted: Array
    limits: Extent
    aspect: float
    selections: Sequence[SelectionView]


@dataclass
class _Sheet:
    """Places panels by hand, in inches, which is exact and much faster than matplotlib's layouts.

    Attributes:
        figure: is made from its size.
        tall: height of a panel.
        top: how far from the upper edge the next thing stands.
    """

    figure: Figure
    tall: float
    top: float = 0.1

    def line(self, text: str, size: float, height: float) -> None:
        """Write one line of text, shortened to the figure's width."""
        width, total = self.figure.get_size_inches()
        longest = int((width - 2 * GAP) * 120 / size)  # a letter is some 0.6 of its size wide, 72 points an inch
        shown = text if len(text) <= longest else f"{text[: longest - 1]}…"
        self.figure.text(GAP / width, 1 - self.top / total, shown, fontsize=size, va="top")
        self.top += height

    def panel(self, column: int) -> Axes:
        """Return a panel of the row that stands at `top`."""
        width, total = self.figure.get_size_inches()
        left, bottom = GAP + column * (PANEL + GAP), total - self.top - HEAD - self.tall
        return self.figure.add_axes((left / width, bottom / total, PANEL / width, self.tall / total))

    def next_row(self) -> None:
        """Go on below the row."""
        self.top += HEAD + self.tall + RANGE


def draw(file: Path, view: CaseView) -> None:
    """Write a PNG: for each selection the image, maps of chosen channels, and below them maps of others."""
    left, right, bottom, top = view.limits
    tall = PANEL * min(2.0, max(0.25, (bottom - top) * view.aspect / (right - left)))
    grids = [_grid(selection) for selection in view.selections]
    columns = max(columns for _, _, columns in grids)
    rows = sum(above + below for above, below, _ in grids)
    foot = textwrap.wrap(FOOT, int(16 * (_width(columns) - 2 * GAP)))
    height = 0.67 + rows * (HEAD + tall + RANGE) + len(grids) * TITLE + 0.15 * len(foot) + 0.1
    figure = Figure(figsize=(_width(columns), height), dpi=DPI)
    FigureCanvasAgg(figure)
    sheet = _Sheet(figure, tall)
    sheet.line(view.case, 11, 0.25)
    sheet.line(view.where, 8.5, 0.32)
    for selection, grid in zip(view.selections, grids, strict=True):
        _draw_selection(sheet, view, selection, grid)
    for text in foot:
        sheet.line(text, 7.5, 0.15)
    figure.savefig(file, format="png")


def _width(columns: int) -> float:
    """Return the figure's width in inches; one of few maps has room for its titles."""
    return max(6.5, (columns + 1) * (PANEL + GAP) + GAP)


def _grid(selection: SelectionView) -> tuple[int, int, int]:
    """Return how many rows chosen channels and the others take, and the columns of maps."""
    columns = min(COLUMNS, max(len(selection.chosen), len(selection.others)))
    above, below = (-(-len(panels) // columns) for panels in (selection.chosen, selection.others))
    return above, max(below, int(selection.curvature is not None)), columns


def _draw_selection(sheet: _Sheet, view: CaseView, selection: SelectionView, grid: tuple[int, int, int]) -> None:
    above, below, columns = grid
    sheet.line(selection.title, 9.5, TITLE)
    for row in range(above + below):
        if row == 0:
            _draw_image(sheet.panel(0), view)
        elif row == above and selection.curvature is not None:
            title = f"channel {selection.curvature.channel}:\ncurvature |K * x|"
            _draw_map(sheet.panel(0), view, selection.curvature, title)
        chosen = row < above
        first = columns * (row if chosen else row - above)
        panels = selection.chosen if chosen else selection.others
        for column, panel in enumerate(panels[first : first + columns], 1):
            title = f"channel {panel.channel}\nscore {panel.score:.4g}"
            _draw_map(sheet.panel(column), view, panel, title, CHOSEN if chosen else OTHER)
        sheet.next_row()


def _draw_image(axes: Axes, view: CaseView) -> None:
    left, right, bottom, top = view.limits
    axes.imshow(view.image, cmap="gray", vmin=0, vmax=255, extent=view.limits, aspect=view.aspect)
    if view.predicted.any() and not view.predicted.all():
        height, width = view.predicted.shape
        x, y = left + 0.5 + np.arange(width), top + 0.5 + np.arange(height)
        axes.contour(x, y, view.predicted, levels=[0.5], colors=["#56B4E9"], linewidths=1.0)
    axes.set_title("image,\npredicted outline", fontsize=7.5, pad=3)
    axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))


def _draw_map(axes: Axes, view: CaseView, panel: MapPanel, title: str, colour: str | None = None) -> None:
    left, right, bottom, top = view.limits
    finite = panel.values[np.isfinite(panel.values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    white = float(np.percentile(finite, WHITE)) if finite.size else 0.0
    style: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest", "vmin": low}
    style["vmax"] = white if white > low else high
    axes.imshow(panel.values, extent=panel.extent, aspect=view.aspect, **style)
    axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    chosen = colour == CHOSEN
    weight = "bold" if chosen else "normal"
    axes.set_title(title, fontsize=7.5, pad=3, color=CHOSEN if chosen else "black", fontweight=weight)
    axes.set_xlabel(f"{low:.3g} to {high:.3g}" if finite.size else "not finite", fontsize=6.5, labelpad=2)
    for spine in axes.spines.values() if colour else ():
        spine.set(color=colour, linewidth=2.4 if chosen else 0.8)
