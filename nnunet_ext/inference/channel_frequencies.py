"""How often each channel is chosen, as sorted bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nnunet_ext.inference.channel_tables import KINDS, Frequency

DPI = 120
STYLES: dict[str, dict[str, Any]] = {  # colours of Okabe and Ito
    "always": {"facecolor": "#D55E00", "hatch": "//", "edgecolor": "white", "linewidth": 0.3},
    "depends": {"facecolor": "#56B4E9", "edgecolor": "white", "linewidth": 0.3},
    "never": {"color": "#666666", "marker": "x", "markersize": 4, "linestyle": "none", "clip_on": False},
}
NUMBERED = 64  # most channels that have their numbers below the bars


def draw(file: Path, found: Sequence[Frequency]) -> None:
    """Write a PNG with a chart for each selection, the channels that are chosen most often first."""
    channels = max(len(frequency.chosen) for frequency in found)
    width, height = min(13.0, max(7.5, 0.17 * channels + 3)), 2.3 * len(found) + 0.4
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    for number, frequency in enumerate(found):
        bottom = height - 0.4 - 2.3 * number - 1.85
        axes = figure.add_axes((0.65 / width, bottom / height, (width - 2.4) / width, 1.5 / height))
        _draw_chart(axes, frequency)
    windows = found[0].n_windows
    title = f"how often each channel is chosen: share of {windows} window{'s' * (windows > 1)} of all images"
    figure.text(0.1 / width, 1 - 0.1 / height, title, fontsize=11, va="top")
    figure.savefig(file, format="png")


def _draw_chart(axes: Axes, frequency: Frequency) -> None:
    order = np.argsort(-frequency.chosen, kind="stable")
    shares, kinds = frequency.chosen[order], np.array(frequency.kinds)[order]
    for kind in ("always", "depends"):
        places = np.flatnonzero(kinds == kind)
        axes.bar(places, shares[places], **STYLES[kind])
    never = np.flatnonzero(kinds == "never")  # bars without height
    axes.plot(never, np.full(len(never), 0.02), **STYLES["never"])
    line = axes.axhline(frequency.expected, color="black", linestyle="--", linewidth=1)
    axes.set(ylim=(0, 1.02), xlim=(-0.7, len(order) - 0.3))
    axes.set_ylabel("share of windows", fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)
    selection = frequency.selection
    axes.set_title(f"{selection.label}: {selection.module.k} of {len(order)}, {selection.how}", fontsize=9, loc="left")
    _name_channels(axes, order)
    marks = [Patch(**STYLES["always"]), Patch(**STYLES["depends"]), Line2D([], [], **STYLES["never"]), line]
    names = [f"{kind} ({(kinds == kind).sum()})" for kind in KINDS] + [f"at random, k / C = {frequency.expected:.3g}"]
    axes.legend(marks, names, loc="upper left", bbox_to_anchor=(1.0, 1.03), frameon=False, fontsize=8)


def _name_channels(axes: Axes, order: np.ndarray) -> None:
    if len(order) <= NUMBERED:
        axes.set_xticks(range(len(order)), [str(channel) for channel in order], fontsize=6.5)
        axes.set_xlabel("channel", fontsize=8)
    else:
        axes.set_xticks([])
        axes.set_xlabel("channels, most often chosen first (their numbers: frequencies.csv)", fontsize=8)
