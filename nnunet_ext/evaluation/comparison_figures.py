"""Charts of a comparison of trainers: case by case, fold by fold, by structure, and quality scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from PIL import Image

from nnunet_ext.evaluation.figures import COLOURS, finished, new_figure, style

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
MOST_BARS = 20  # values of a column that are drawn


def scatter_figure(scores: pd.DataFrame, a: str, b: str, metric: str) -> Image.Image:
    """Draw a point a case: the score of trainer `b` across, of `a` upwards; above the diagonal `a` has more.

    `scores`: columns `trainer`, `case` and `score`; repeats of a case are averaged, NaN is left out.
    """
    wide = scores.pivot_table(index="case", columns="trainer", values="score").reindex(columns=[a, b]).dropna()
    figure, axes = new_figure(width=4.6, height=4.3)
    axes.grid(axis="x", color="0.9")
    x, y = wide[b].to_numpy(float), wide[a].to_numpy(float)
    low, high = _limits(np.r_[x, y])
    axes.plot([low, high], [low, high], color="0.5", linewidth=1, linestyle="--", zorder=1)
    axes.scatter(x, y, s=24, color=COLOURS[0], edgecolors="white", linewidths=0.4, alpha=0.85, zorder=2)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(f"{metric}, {b}", fontsize=8)
    axes.set_ylabel(f"{metric}, {a}", fontsize=8)
    where: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "color": "0.25"}
    axes.text(0.03, 0.97, f"{int((y > x).sum())} cases above", va="top", **where)
    axes.text(0.97, 0.03, f"{int((y < x).sum())} cases below", ha="right", **where)
    return finished(figure, axes, columns=1)


def fold_figure(scores: pd.DataFrame, metric: str) -> Image.Image:
    """Draw of each fold and trainer the mean over the fold's cases; a line joins a trainer's folds.

    `scores`: columns `trainer`, `fold`, `case` and `score`.
    """
    means = scores.groupby(["trainer", "fold"], sort=False)["score"].mean()
    folds = sorted(scores["fold"].unique())
    figure, axes = new_figure(width=7.2, height=3.0)
    names = list(dict.fromkeys(scores["trainer"]))
    for index, name in enumerate(names):
        places = np.arange(len(folds)) + 0.08 * (index - (len(names) - 1) / 2)
        line: dict[str, Any] = {"linewidth": 0.8, "linestyle": ":", "markersize": 6}
        axes.plot(places, means[name].reindex(folds), **style(index), **line, label=name)
    axes.set_xticks(range(len(folds)), [str(f) for f in folds])
    axes.set(xlabel="fold", ylabel=f"mean {metric} of its cases", xlim=(-0.5, len(folds) - 0.5))
    return finished(figure, axes, columns=len(names))


def bar_figure(table: pd.DataFrame, by: str, value: str) -> Image.Image:
    """Draw a bar for each value of a column and each trainer, with whiskers for 95 % intervals where there are any.

    `table`: columns named by `by` and `value`, `trainer`, and perhaps `low`, `high`. Beyond `MOST_BARS` values, those
    with most cases (column `cases`) are drawn.
    """
    groups = list(dict.fromkeys(table[by]))
    if len(groups) > MOST_BARS:
        groups = list(table.groupby(by)["cases"].max().sort_values(ascending=False).index[:MOST_BARS])
    trainers = list(dict.fromkeys(table["trainer"]))
    width = 0.8 / len(trainers)
    figure, axes = new_figure(width=7.2, height=max(2.0, 0.9 + 0.2 * len(groups) * (len(trainers) + 1)))
    axes.grid(axis="x", color="0.9")
    axes.grid(visible=False, axis="y")
    for index, name in enumerate(trainers):
        rows = table[table["trainer"] == name].set_index(by).reindex(groups)
        _bars(axes, np.arange(len(groups)) + (index + 0.5) * width - 0.4, rows, value, index, name, width)
    axes.set_yticks(range(len(groups)), [str(g) for g in groups])
    axes.set(xlabel=value, ylabel=by, xlim=(0, 1))
    axes.invert_yaxis()
    return finished(figure, axes, columns=len(trainers))


def quality_figure(joined: pd.DataFrame) -> Image.Image:
    """Draw a point a case: quality score across, true Dice upwards, a marker for each trainer.

    `joined`: columns `trainer`, `quality` and `Dice`.
    """
    figure, axes = new_figure(width=4.6, height=4.0)
    axes.grid(axis="x", color="0.9")
    for index, (name, rows) in enumerate(joined.groupby("trainer", sort=False)):
        shown: dict[str, Any] = {**style(index), "s": 24, "alpha": 0.8, "edgecolors": "white", "linewidths": 0.4}
        axes.scatter(rows["quality"], rows["Dice"], **shown, label=name)
    axes.set(xlabel="quality score (agreement of slices)", ylabel="true Dice", ylim=(-0.03, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return finished(figure, axes, columns=1)


def _bars(axes: Axes, places: Any, rows: pd.DataFrame, value: str, index: int, name: str, width: float) -> None:
    look: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "hatch": HATCHES[index % len(HATCHES)],
        "edgecolor": "white",
    }
    axes.barh(places, rows[value], height=width * 0.92, label=name, **look)
    if "low" in rows:
        known = rows["low"].notna() & rows["high"].notna()
        errors = [(rows[value] - rows["low"])[known], (rows["high"] - rows[value])[known]]
        line: dict[str, Any] = {"fmt": "none", "ecolor": "0.1", "elinewidth": 1, "capsize": 2}
        axes.errorbar(rows[value][known], places[known.to_numpy()], xerr=np.maximum(errors, 0), **line)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return axis limits with a margin, so that points at the edge are seen."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) if high > low and math.isfinite(high - low) else 0.05
    return low - margin, high + margin
