"""Pictures of what the slices of a lifted network see, drawn off screen with matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

Array = npt.NDArray[Any]

SELECTED, OTHER = "#D55E00", "0.6"  # Okabe-Ito vermilion, grey
WINDOW = "#56B4E9"
DPI = 130
PANEL = 1.55  # inches, width of one panel
COLUMNS = 8  # slices in a row


@dataclass(frozen=True)
class SliceStatistics:
    """What training said about the slices.

    Attributes:
        mean_loss: (D,) mean training loss of each slice; NaN if training ended before its first epoch did.
        selected: indices of the slices that predict, best first.
    """

    mean_loss: Sequence[float]
    selected: Sequence[int]

    @property
    def known(self) -> bool:
        """Whether any slice has a mean loss."""
        return any(map(math.isfinite, self.mean_loss))


@dataclass(frozen=True)
class Attribution:
    """What a window of the image each slice rests on.

    Attributes:
        name: what it is, for the titles.
        maps: `(D, h, w)` of the window, not negative.
        window: (top, left, height, width) in pixels of the shown image.
        whole: whether the window is the whole image.
        about: a line on what was computed and of which window, for the foot of the picture.
    """

    name: str
    maps: Array
    window: tuple[int, int, int, int]
    whole: bool
    about: str


@dataclass(frozen=True)
class CaseView:
    """One case, all arrays at the same size.

    Attributes:
        case: name of the case.
        class_name: the class whose probabilities are shown.
        image: `(H, W)` or `(H, W, 3)` uint8.
        slices: `(D, H, W)` probability of the class in each slice.
        fused: `(H, W)` probability of the class as the selected slices give it together.
        predicted: `(H, W)` bool, where the prediction is the class.
        attribution: if it was asked for.
    """

    case: str
    class_name: str
    image: Array
    slices: Array
    fused: Array
    predicted: Array
    attribution: Attribution | None = None


def case_figure(view: CaseView, statistics: SliceStatistics) -> Image.Image:
    """Draw the image, the prediction, every slice's probabilities and, if there, every slice's attribution."""
    height, width = view.fused.shape
    aspect = min(2.0, max(0.25, height / width))
    blocks = -(-len(view.slices) // COLUMNS)
    lines = blocks * (1 if view.attribution is None else 2)
    tall, overview = PANEL * aspect + 0.42, 2 * PANEL * aspect + 0.35
    figure = Figure(figsize=(COLUMNS * PANEL + 0.9, overview + lines * tall + 0.8), dpi=DPI, layout=_tight())
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[overview, lines * tall])
    top, below = parts
    figure.suptitle(f"{_shortened(view.case)}: class {view.class_name!r}", fontsize=11)
    _draw_overview(top, view)
    _draw_slices(below, view, statistics, blocks)
    if view.attribution is not None:
        figure.supxlabel(view.attribution.about, fontsize=8)
    return _as_image(figure)


def losses_figure(statistics: SliceStatistics) -> Image.Image:
    """Draw the slices' mean training losses as bars; those of the selected slices are coloured and hatched."""
    depth = len(statistics.mean_loss)
    figure = Figure(figsize=(max(5.0, 0.42 * depth), 3.2), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    floor = _floor(statistics)
    for name, chosen in (("selected: they predict", True), ("not selected", False)):
        indices = [d for d in range(depth) if (d in statistics.selected) == chosen]
        style: dict[str, Any] = {"color": SELECTED, "hatch": "//", "edgecolor": "white"} if chosen else {"color": OTHER}
        axes.bar(indices, [statistics.mean_loss[d] - floor for d in indices], bottom=floor, label=name, **style)
    axes.set(xlabel="slice", ylabel="mean training loss\n(lower is better)", xticks=range(depth))
    if statistics.known:
        axes.set_ylim(bottom=floor)
    else:
        axes.set(ylim=(0, 1), yticks=[])
        text = "no losses in this checkpoint:\nthe middle slices " + _listed(statistics.selected) + " predict"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return _as_image(figure)


def _floor(statistics: SliceStatistics) -> float:
    """Return where the bars start: low enough that the best slice has one, high enough that differences show."""
    losses = [loss for loss in statistics.mean_loss if math.isfinite(loss)] or [0.0]
    return min(losses) - (0.25 * (max(losses) - min(losses)) or 0.05)


def _draw_overview(figure: SubFigure, view: CaseView) -> None:
    image, fused, predicted = figure.subplots(1, 3)
    image.imshow(view.image, cmap="gray", vmin=0, vmax=255)
    image.set_title("image", fontsize=9)
    shown = fused.imshow(view.fused, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    fused.set_title("fused probability of the selected slices", fontsize=9)
    predicted.imshow(view.image, cmap="gray", vmin=0, vmax=255)
    if view.predicted.any() and not view.predicted.all():
        predicted.contour(view.predicted, levels=[0.5], colors=[SELECTED], linewidths=1.2)
    share = 100 * float(view.predicted.mean())
    predicted.set_title(f"prediction, outlined ({share:.1f} % of the pixels)", fontsize=9)
    for axes in (image, fused, predicted):
        _bare(axes)
    if view.attribution is not None and not view.attribution.whole:
        row, column, height, width = view.attribution.window
        for colour, line in (("black", 3.0), (WINDOW, 1.4)):
            image.add_patch(
                Rectangle((column, row), width - 1, height - 1, fill=False, edgecolor=colour, linewidth=line)
            )
        image.set_title("image, framed: where attribution was computed", fontsize=9)
    figure.colorbar(shown, ax=[image, fused, predicted], shrink=0.8, label="probability", pad=0.01)


def _draw_slices(figure: SubFigure, view: CaseView, statistics: SliceStatistics, blocks: int) -> None:
    each = 1 if view.attribution is None else 2
    grid = figure.add_gridspec(blocks * each, COLUMNS)
    highest = 0.0 if view.attribution is None else float(view.attribution.maps.max())
    placed: list[Axes] = []
    for d in range(len(view.slices)):
        block, column = divmod(d, COLUMNS)
        axes = figure.add_subplot(grid[block * each, column])
        axes.imshow(view.slices[d], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _title(axes, d, statistics)
        placed.append(axes)
        if view.attribution is not None:
            axes = figure.add_subplot(grid[block * each + 1, column])
            axes.imshow(view.attribution.maps[d], cmap="magma", vmin=0, vmax=highest or 1.0, interpolation="nearest")
            axes.set_title(f"{view.attribution.name} {d}", fontsize=7.5, pad=3)
            _frame(axes, d in statistics.selected)
            placed.append(axes)
    if view.attribution is not None:
        scale = ScalarMappable(Normalize(0, highest or 1.0), "magma")
        figure.colorbar(scale, ax=placed, shrink=1 / blocks, label=view.attribution.name, pad=0.01)


def _title(axes: Axes, d: int, statistics: SliceStatistics) -> None:
    loss = statistics.mean_loss[d]
    chosen = d in statistics.selected
    lines = f"slice {d}" + (f", rank {list(statistics.selected).index(d) + 1}" if chosen else "")
    lines += f"\nloss {loss:.4f}" if math.isfinite(loss) else "\nno loss"
    axes.set_title(lines, fontsize=7.5, pad=3, color=SELECTED if chosen else "black",
                   fontweight="bold" if chosen else "normal")  # fmt: skip
    _frame(axes, chosen)


def _frame(axes: Axes, chosen: bool) -> None:
    _bare(axes)
    for spine in axes.spines.values():
        spine.set(color=SELECTED if chosen else OTHER, linewidth=3.0 if chosen else 0.6)


def _tight() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05, wspace=0.02, hspace=0.02)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])


def _listed(selected: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(selected)))


def _shortened(name: str, longest: int = 60) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _as_image(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
