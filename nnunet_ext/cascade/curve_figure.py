"""Dice against cost, drawn off screen with matplotlib."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

LINE, COARSE, FULL = "#0072B2", "#D55E00", "#009E73"  # Okabe-Ito blue, vermilion, green
DPI = 150
PERCENTILES = (0.1, 0.9)


def draw(file: Path, curve: pd.DataFrame, cases: pd.DataFrame, title: str) -> None:
    """Write a PNG: the mean Dice of each budget against its cost, and how single cases lie around it.

    Args:
        file: to write.
        curve: of `curve_tables.curve_table`.
        cases: of `curve_tables.cases_table`.
        title: a line.
    """
    figure = Figure(figsize=(7.2, 4.8), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    line = curve.sort_values("share_of_stock")
    _draw_cases(axes, line, cases)
    axes.plot(line["share_of_stock"], line["dice"], "-o", color=LINE, zorder=3, label="mean over cases")
    _mark(axes, line)
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
    axes.set_xlabel("network forwards of both stages, share of the fine network's on all windows (log scale)")
    axes.set_ylabel("Dice (mean over classes)")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(file, format="png")


def _draw_cases(axes: Axes, line: pd.DataFrame, cases: pd.DataFrame) -> None:
    """Draw single cases, and the range of most of them."""
    cost = line.set_index("budget")["share_of_stock"]
    axes.scatter(cases["budget"].map(cost), cases["dice"], s=7, color="0.6", alpha=0.6, lw=0, zorder=1, label="a case")
    low, high = (cases.groupby("budget")["dice"].quantile(q) for q in PERCENTILES)
    label = f"{PERCENTILES[0]:.0%} to {PERCENTILES[1]:.0%} of the cases"
    order = line["budget"]
    axes.fill_between(cost[order], low[order], high[order], color=LINE, alpha=0.15, lw=0, zorder=0, label=label)


def _mark(axes: Axes, line: pd.DataFrame) -> None:
    """Mark the coarse network alone and the full refinement; write the budget beside every other point."""
    for budget, colour, name in ((0.0, COARSE, "coarse network alone"), (1.0, FULL, "fine network on all windows")):
        row = line[line["budget"] == budget]
        if len(row):
            dice = float(row["dice"].iloc[0])
            axes.plot(
                row["share_of_stock"], row["dice"], "s", ms=9, color=colour, zorder=4, label=f"{name}: {dice:.3f}"
            )
            axes.axhline(dice, color=colour, ls=":", lw=1, zorder=2)
    for _, row in line[~line["budget"].isin((0.0, 1.0))].iterrows():
        place = (float(row["share_of_stock"]), float(row["dice"]))
        text = f"budget {row['budget']:g}"
        box = {"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1}
        axes.annotate(text, place, (0, -12), textcoords="offset points", fontsize=7.5, ha="center", va="top", bbox=box)
