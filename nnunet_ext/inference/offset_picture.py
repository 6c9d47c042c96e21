"""A picture of a case's offset vectors: where they point, how far they are believed, and what they changed.

Vectors have the colours of optical flow, as in Fig. 2 of OVeNet: Offset Vector Network for Semantic Segmentation
(S. Alexandropoulos, C. Sakaridis, P. Maragos): the hue is the direction, and shorter vectors are lighter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.ndimage import maximum_filter  # type: ignore[import-untyped]
from torchvision.utils import flow_to_image

from nnunet_ext.inference.offset_maps import OffsetMaps
from nnunet_ext.inference.pictures import gray

Array = npt.NDArray[Any]
PANEL = 5.0  # inches, the longer side
TITLE = 3.8  # inches, that titles take
LEGEND = 1.2  # inches
DPI = 130
VISIBLE = 1.5  # dots of the picture, that a changed pixel takes at least
LABELS = colormaps["tab10"]
CHANGED = (255, 25, 25, 255)
SHARE = 99  # % of vectors that are shorter than what has the full colour


@dataclass(frozen=True)
class Plane:
    """The plane that is drawn, `(H, W)`; `flow` is `(2, H, W)`: dx to the right, dy down, in widths of a pixel."""

    image: Array
    predicted: Array
    confidence: Array
    changed: Array
    flow: Array
    aspect: float  # height of a pixel over its width
    title: str


def draw(file: IO[bytes], name: str, maps: OffsetMaps) -> None:
    """Write a PNG of an image, or of the plane of a volume in which most labels changed.

    Args:
        file: open for writing.
        name: of the case, for the title.
        maps: what is drawn.
    """
    plane = most_changed(name, maps)
    height, width = plane.image.shape
    ratio = min(max(height * plane.aspect / width, 0.4), 2.5)
    panel = (max(PANEL / max(ratio, 1), TITLE), PANEL * min(ratio, 1))
    figure = Figure(figsize=(2 * panel[0] + LEGEND, 2 * panel[1] + 0.8), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 3, width_ratios=[panel[0], panel[0], LEGEND])
    (first, second, wheel), (third, fourth, bar) = axes
    _prediction(first, plane)
    _offsets(second, wheel, plane)
    _changes(third, plane)
    shown = fourth.imshow(plane.confidence, cmap="viridis", vmin=0, vmax=1, aspect=plane.aspect)
    fourth.set_title("confidence F: 1 takes the label at the vector's end", fontsize=9)
    figure.colorbar(shown, cax=bar.inset_axes((0.05, 0.15, 0.15, 0.7)))
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in (wheel, bar):
        axis.axis("off")
    figure.suptitle(plane.title if len(plane.title) < 90 else f"...{plane.title[-87:]}", fontsize=10)
    FigureCanvasAgg(figure).print_png(file)


def most_changed(name: str, maps: OffsetMaps) -> Plane:
    """Return the plane in which the refinement changed most labels, the middle one if it changed none."""
    axis = maps.plane_axis
    rows, columns = (a for a in range(3) if a != axis)
    counts = maps.changed.sum((rows, columns))
    index = int(counts.argmax()) if counts.any() else len(counts) // 2

    def at(values: Array) -> Array:
        return values.take(index, axis)

    why = "most labels changed" if counts.any() else "no label changed in any"
    whole = f"{name}, plane {index} of {len(counts)} along axis {axis}: {why}"
    aspect = maps.spacing[rows] / maps.spacing[columns]
    dx, dy = (at(maps.offsets[maps.axes.index(a)]) for a in (columns, rows))
    return Plane(
        image=gray(torch.from_numpy(at(maps.image))[None]),
        predicted=at(maps.predicted),
        confidence=at(maps.confidence),
        changed=at(maps.changed),
        flow=np.stack([dx, dy * np.float32(aspect)]),
        aspect=aspect,
        title=name if len(counts) == 1 else whole,
    )


def flow_colours(flow: Array, longest: float) -> Array:
    """Return `(H, W, 3)` uint8 colours of `(2, H, W)` vectors, (dx, dy); those beyond `longest` have its full colour.

    torchvision scales by the longest vector that it gets, so it gets one more, of the length that is wanted.
    """
    length = np.maximum(np.hypot(*flow), 1e-12)
    bounded = flow * np.minimum(1, longest / length)
    scale = np.zeros((2, 1, flow.shape[2]), flow.dtype)
    scale[0] = longest
    given = torch.from_numpy(np.concatenate([bounded, scale], 1)).float()
    return flow_to_image(given)[:, :-1].permute(1, 2, 0).numpy()


def _prediction(axis: Axes, plane: Plane) -> None:
    axis.imshow(plane.image, cmap="gray", vmin=0, vmax=1, aspect=plane.aspect)
    colours = LABELS((plane.predicted.astype(int) - 1) % LABELS.N, bytes=True)
    colours[..., 3] = np.where(plane.predicted == 0, 0, 128)
    axis.imshow(colours, aspect=plane.aspect, interpolation="nearest")
    axis.set_title("image and prediction", fontsize=9)


def _offsets(axis: Axes, legend: Axes, plane: Plane) -> None:
    longest = max(float(np.percentile(np.hypot(*plane.flow), SHARE)), 1e-3)
    axis.imshow(flow_colours(plane.flow, longest), aspect=plane.aspect)
    axis.set_title("offset vectors: where each pixel looks", fontsize=9)
    y, x = np.mgrid[-1:1:101j, -1:1:101j]
    wheel = flow_colours(np.stack([x, y]) * longest, longest)
    wheel[np.hypot(x, y) > 0.99] = 255
    legend.imshow(wheel)
    legend.set_title("direction", fontsize=8, pad=3)
    unit = "pixels" if plane.aspect == 1 else "pixels' widths"
    legend.text(50, 108, f"rim: {longest:.3g} {unit}\nor more", fontsize=8, ha="center", va="top")


def _changes(axis: Axes, plane: Plane) -> None:
    axis.imshow(plane.image, cmap="gray", vmin=0, vmax=1, aspect=plane.aspect)
    size = max(1, round(VISIBLE * max(plane.changed.shape) / (PANEL * DPI)))
    colours = np.zeros((*plane.changed.shape, 4), np.uint8)
    colours[maximum_filter(plane.changed, size=size)] = CHANGED
    axis.imshow(colours, aspect=plane.aspect, interpolation="nearest")
    axis.set_title(f"labels that the refinement changed: {plane.changed.mean():.2%} of the pixels", fontsize=9)
