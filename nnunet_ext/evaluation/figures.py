"""Charts of a report: scores of every case, and learning curves. Pictures, drawn off screen with matplotlib.

Methods differ in colour (Okabe and Ito's), marker and dashes, so that a print in grey tells them apart, too.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1)), (0, (3, 1)))
DPI = 150
MARKED = 12  # points of a curve that have a marker
LONGEST = 36  # letters of names that stand side by side in a legend
MOST_CASES = 80  # that are drawn one by one


def case_figure(per_case: pd.DataFrame, score: str = "Dice") -> Image.Image:
    """Draw one point per case and method; the cases of the methods are paired by a thin line.

    `per_case`: columns `case`, `method` and the score (in [0, 1]; NaN is left out). Cases are sorted by their
    mean over the methods, worst left.
    """
    wide = per_case.pivot_table(index="case", columns="method", values=score, sort=False)
    wide = wide.loc[wide.mean(axis=1).sort_values().index]
    figure, axes = new_figure(width=7.2, height=3.2)
    axes.vlines(range(len(wide)), wide.min(axis=1), wide.max(axis=1), color="0.75", linewidth=1, zorder=1)
    for index, method in enumerate(wide.columns):
        axes.scatter(range(len(wide)), wide[method], **style(index), label=str(method), s=28, zorder=2)
    axes.set(ylim=(-0.03, 1.03), ylabel=score, xlabel=f"case, sorted by its mean {score}")
    axes.set_xticks([])
    return finished(figure, axes, columns=len(wide.columns))


def distribution_figure(per_case: pd.DataFrame, score: str = "Dice") -> Image.Image:
    """Draw of each method the share of cases that score at most a value: for more cases than `case_figure` shows.

    `per_case`: as for `case_figure`.
    """
    figure, axes = new_figure(width=7.2, height=3.2)
    for index, (method, rows) in enumerate(per_case.groupby("method", sort=False)):
        values = np.sort(rows[score].dropna().to_numpy(float))
        share = np.arange(1, len(values) + 1) / max(1, len(values))
        axes.step(values, share, where="post", **curve(index, len(values)), label=str(method))
    axes.set(ylim=(-0.03, 1.03), xlabel=f"{score} of a case", ylabel="share of cases up to it")
    return finished(figure, axes, columns=per_case["method"].nunique())


def learning_figure(
    curves: Mapping[str, Sequence[float]],
    label: str = "pseudo Dice",
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> Image.Image:
    """Draw one curve per method: a value for each epoch, the first epoch is 1; `bands`: lowest and highest of folds."""
    figure, axes = new_figure(width=7.2, height=3.2)
    for index, (method, values) in enumerate(curves.items()):
        epochs = np.arange(1, len(values) + 1)
        if bands is not None and method in bands:
            axes.fill_between(epochs, *bands[method], color=COLOURS[index % len(COLOURS)], alpha=0.15, linewidth=0)
        axes.plot(epochs, values, **curve(index, len(values)), label=method)
    axes.set(ylim=(-0.03, 1.03), xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return finished(figure, axes, columns=len(curves))


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of inches, and its axes with horizontal lines."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    return figure, axes


def style(index: int) -> dict[str, Any]:
    """Return colour and marker of a method by its place."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def curve(index: int, points: int) -> dict[str, Any]:
    """Return the look of a method's curve by its place: some of its points have a marker."""
    dashes = DASHES[index % len(DASHES)]
    return {
        **style(index),
        "linestyle": dashes,
        "linewidth": 1.6,
        "markersize": 4,
        "markevery": max(1, points // MARKED),
    }


def finished(figure: Figure, axes: Axes, columns: int) -> Image.Image:
    """Return the figure as a picture, with a legend above it where there is something to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        ncols = min(columns, 2) if max(map(len, labels)) <= LONGEST else 1
        figure.legend(handles, labels, loc="outside upper left", ncols=ncols, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
