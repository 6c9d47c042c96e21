"""Charts of a report: Dice of every case, and learning curves. Pictures, drawn off screen with matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito
MARKERS = ("o", "s", "^", "D", "v", "P")
DPI = 150


def case_figure(per_case: pd.DataFrame, score: str = "Dice") -> Image.Image:
    """Draw one point per case and method; the cases of the methods are paired by a thin line.

    `per_case`: columns `case`, `method` and the score (in [0, 1]; NaN is left out). Cases are sorted by their
    mean over the methods, worst left.
    """
    wide = per_case.pivot_table(index="case", columns="method", values=score, sort=False)
    wide = wide.loc[wide.mean(axis=1).sort_values().index]
    figure, axes = _axes(width=7.2, height=3.2)
    axes.vlines(range(len(wide)), wide.min(axis=1), wide.max(axis=1), color="0.75", linewidth=1, zorder=1)
    for index, method in enumerate(wide.columns):
        axes.scatter(range(len(wide)), wide[method], **_style(index), label=str(method), s=28, zorder=2)
    axes.set(ylim=(-0.03, 1.03), ylabel=score, xlabel=f"test case, sorted by its mean {score}")
    axes.set_xticks([])
    return _finished(figure, axes, columns=len(wide.columns))


def learning_figure(curves: Mapping[str, Sequence[float]], label: str = "pseudo Dice") -> Image.Image:
    """Draw one curve per method: a value for each epoch, the first epoch is 1."""
    figure, axes = _axes(width=7.2, height=3.2)
    for index, (method, values) in enumerate(curves.items()):
        axes.plot(range(1, len(values) + 1), values, **_style(index), label=method, markersize=4, linewidth=1.6)
    axes.set(ylim=(-0.03, 1.03), xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finished(figure, axes, columns=len(curves))


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    return figure, axes


def _style(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def _finished(figure: Figure, axes: Axes, columns: int) -> Image.Image:
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=min(columns, 2),
        frameon=False,
        fontsize=9,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
