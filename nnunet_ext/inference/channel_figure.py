"""Feature maps of chosen channels and of others, drawn off screen with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from nnunet_ext.inference.channel_maps import Extent

Array = npt.NDArray[Any]

CHOSEN, OTHER = "#D55E00", "0.45"  # Okabe-Ito vermilion, grey
DPI = 120
PANEL = 1.55  # inches, width of one map
COLUMNS = 8  # most maps in a row
FOOT = (
    "Each map in grey over its own range (below it), black the lowest. Orange frames: chosen, highest scores first. "
    "Grey frames: not chosen, lowest scores first."
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
        title: a line.
        image: `(H, W)` or `(H, W, 3)` uint8, without padding.
        predicted: `(H, W)` bool, where foreground is predicted.
        limits: (left, right, bottom, top) of the image in pixels of the window.
        aspect: height of a pixel over its width.
        selections: of the network, at least one.
    """

    title: str
    image: Array
    predicted: Array
    limits: Extent
    aspect: float
    selections: Sequence[SelectionView]


def draw(file: Path, view: CaseView) -> None:
    """Write a PNG: for each selection the image, maps of chosen channels, and below them maps of others."""
    grids = [_grid(selection) for selection in view.selections]
    columns = max(columns for _, _, columns in grids)
    left, right, bottom, top = view.limits
    ratio = min(2.0, max(0.25, (bottom - top) * view.aspect / (right - left)))
    tall = PANEL * ratio + 0.52
    heights = [(above + below) * tall + 0.35 for above, below, _ in grids]
    size = ((columns + 1) * (PANEL + 0.08) + 0.2, sum(heights) + 0.75)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=size, dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(len(grids), 1, height_ratios=heights, squeeze=False)
    figure.suptitle(_shortened(view.title, int(size[0] * 11)), fontsize=11)
    for part, selection, (above, below, _) in zip(parts.ravel(), view.selections, grids, strict=True):
        _draw_selection(part, view, selection, (above, below, columns))
    figure.supxlabel(FOOT, fontsize=8, wrap=True)
    figure.savefig(file, format="png")


def _grid(selection: SelectionView) -> tuple[int, int, int]:
    """Return how many rows chosen channels and the others take, and the columns of maps."""
    columns = min(COLUMNS, max(len(selection.chosen), len(selection.others)))
    above, below = (-(-len(panels) // columns) for panels in (selection.chosen, selection.others))
    return above, max(below, int(selection.curvature is not None)), columns


def _draw_selection(figure: SubFigure, view: CaseView, selection: SelectionView, grid: tuple[int, int, int]) -> None:
    above, below, columns = grid
    cells = figure.add_gridspec(above + below, columns + 1)
    figure.suptitle(_shortened(selection.title, (columns + 1) * 18), fontsize=9.5, x=0.01, ha="left")
    _draw_image(figure.add_subplot(cells[0, 0]), view)
    if selection.curvature is not None:
        axes = figure.add_subplot(cells[above, 0])
        _draw_map(axes, view, selection.curvature, f"channel {selection.curvature.channel}:\ncurvature |K * x|")
    for panels, first, colour in ((selection.chosen, 0, CHOSEN), (selection.others, above, OTHER)):
        per_row = min(COLUMNS, columns)
        for number, panel in enumerate(panels):
            row, column = divmod(number, per_row)
            axes = figure.add_subplot(cells[first + row, column + 1])
            _draw_map(axes, view, panel, f"channel {panel.channel}\n{panel.score:.4g}", colour)


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
    style: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest", "vmin": low, "vmax": high}
    axes.imshow(panel.values, extent=panel.extent, aspect=view.aspect, **style)
    axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    chosen = colour == CHOSEN
    weight = "bold" if chosen else "normal"
    axes.set_title(title, fontsize=7.5, pad=3, color=CHOSEN if chosen else "black", fontweight=weight)
    axes.set_xlabel(f"{low:.3g} to {high:.3g}" if finite.size else "not finite", fontsize=6.5, labelpad=2)
    for spine in axes.spines.values() if colour else ():
        spine.set(color=colour, linewidth=2.4 if chosen else 0.8)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
