"""How often each channel is chosen, as sorted bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nnunet_ext.inference.channel_tables import KINDS, Frequency

DPI = 120
COLOURS = {"always": "#D55E00", "depends": "#56B4E9", "never": "#999999"}  # Okabe-Ito
NUMBERED = 48  # most channels that have their numbers below the bars


def draw(file: Path, found: Sequence[Frequency]) -> None:
    """Write a PNG with a chart for each selection, the channels that are chosen most often first."""
    channels = max(len(frequency.chosen) for frequency in found)
    size = (min(12.0, max(7.5, 0.2 * channels + 1.5)), 2.5 * len(found) + 0.7)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    charts: Any = figure.subplots(len(found), 1, squeeze=False)
    for axes, frequency in zip(charts.ravel(), found, strict=True):
        _draw_chart(axes, frequency)
    windows = found[0].n_windows
    figure.suptitle(f"how often each channel is chosen: share of {windows} window{'s' * (windows > 1)}", fontsize=11)
    figure.savefig(file, format="png")


def _draw_chart(axes: Axes, frequency: Frequency) -> None:
    order = np.argsort(-frequency.chosen, kind="stable")
    kinds = np.array(frequency.kinds)[order]
    for kind in KINDS:
        places = np.flatnonzero(kinds == kind)
        shares = frequency.chosen[order][places]
        label = f"{kind} ({len(places)})"
        if kind == "never":  # bars without height
            axes.plot(places, np.zeros(len(places)), "|", color=COLOURS[kind], markersize=7, label=label, clip_on=False)
        else:
            hatch = "//" if kind == "always" else None
            axes.bar(places, shares, color=COLOURS[kind], hatch=hatch, edgecolor="white", linewidth=0.3, label=label)
    expected = frequency.expected
    axes.axhline(expected, color="black", linestyle="--", linewidth=1, label=f"k / C = {expected:.3g}")
    axes.set(ylim=(0, 1.02), xlim=(-0.7, len(order) - 0.3), ylabel="share of windows")
    selection = frequency.selection
    axes.set_title(f"{selection.label}, {selection.how}: {frequency.counted()}", fontsize=9, loc="left")
    if len(order) <= NUMBERED:
        axes.set_xticks(range(len(order)), [str(channel) for channel in order], fontsize=6.5)
        axes.set_xlabel("channel", fontsize=8)
    else:
        axes.set_xticks([])
        axes.set_xlabel("channels, most often chosen first (numbers: frequencies.csv)", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
