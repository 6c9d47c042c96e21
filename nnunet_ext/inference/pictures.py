"""Two pictures a case: where the slices disagree, and what each of them says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from nnunet_ext.inference.slices import SlicedPrediction

SELECTED = "tab:orange"


def uncertainty(maps: Tensor, prediction: Tensor) -> Tensor:
    """Return the share of slices whose label is not the predicted one; the variation ratio, seen from the prediction.

    Args:
        maps: `(F, D, *S)` bool, each slice's label.
        prediction: `(F, *S)` bool.

    Returns:
        `(*S)` float32 in [0, 1]. A slice differs at a voxel if any of its foreground outputs does.
    """
    return (maps != prediction[:, None].to(maps.device)).any(0).float().mean(0)


def write(folder: Path, name: str, sliced: SlicedPrediction, image: Tensor) -> None:
    """Write `NAME_uncertainty.png` and `NAME_slices.png`.

    Args:
        folder: is made if it is not there.
        name: of the case.
        sliced: of an image, or of a volume, of which the plane with the largest sum of uncertainty is shown.
        image: `(C, *S)`, preprocessed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plane, doubt = _least_certain(sliced)
    title = name if sliced.prediction.shape[1] == 1 else f"{name}, plane {plane}"
    prediction = sliced.prediction[:, plane].any(0).cpu().numpy()
    foreground = sliced.probabilities(slice(plane, plane + 1))[:, :, 0].cpu()
    shown = foreground.amax(0) if sliced.sigmoid else foreground.sum(0)
    _uncertainty_picture(gray(image[:, plane]), prediction, doubt.numpy(), title, folder / f"{name}_uncertainty")
    _montage(shown.numpy(), sliced, title, folder / f"{name}_slices")


def _least_certain(sliced: SlicedPrediction) -> tuple[int, Tensor]:
    """Return the index and the uncertainty `(H, W)` of the plane where it sums up to most; holds one at a time."""
    best, found = 0, None
    for plane in range(sliced.prediction.shape[1]):
        one = slice(plane, plane + 1)
        doubt = uncertainty(sliced.maps(one), sliced.prediction[:, one])[0]
        if found is None or doubt.sum() > found.sum():
            best, found = plane, doubt
    assert found is not None
    return best, found


def gray(image: Tensor) -> np.ndarray:
    """Return `(H, W)` in [0, 1] of `(C, H, W)`: the channels' mean, stretched."""
    mean = image.cpu().float().mean(0)
    low, high = torch.quantile(mean.flatten()[:: max(1, mean.numel() // 2**20)], torch.tensor([0.005, 0.995]))
    return ((mean - low) / (high - low).clamp(min=1e-6)).clamp(0, 1).numpy()


def _uncertainty_picture(image: np.ndarray, prediction: np.ndarray, doubt: np.ndarray, title: str, file: Path) -> None:
    aspect = image.shape[0] / image.shape[1]
    figure = Figure(figsize=(9, 4.5 * min(max(aspect, 0.4), 2) + 0.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(image, cmap="gray", vmin=0, vmax=1)
    if prediction.any() and not prediction.all():
        left.contour(prediction, levels=[0.5], colors=SELECTED, linewidths=0.8)
    left.set_title("image and prediction", fontsize=9)
    shown = right.imshow(doubt, cmap="magma", vmin=0, vmax=1)
    right.set_title("uncertainty: share of slices with another label", fontsize=9)
    figure.colorbar(shown, ax=right, shrink=0.8)
    _finish(figure, [left, right], title, file)


def _montage(probabilities: np.ndarray, sliced: SlicedPrediction, title: str, file: Path) -> None:
    """Draw `(D, H, W)` in rank order."""
    depth, height, width = probabilities.shape
    columns = math.ceil(math.sqrt(depth))
    rows = math.ceil(depth / columns)
    figure = Figure(figsize=(9, 9 / columns * rows * min(max(height / width, 0.4), 2) + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    same = all(order == sliced.orders[0] for order in sliced.orders)
    for rank, axis in enumerate(axes):
        if rank >= depth:
            axis.set_visible(False)
            continue
        axis.imshow(probabilities[rank], cmap="gray", vmin=0, vmax=1)
        selected = rank < sliced.n_selected
        what = f"slice {sliced.orders[0][rank]}" if same else f"rank {rank + 1}"
        axis.set_title(f"{what}, selected" if selected else what, fontsize=8, color=SELECTED if selected else "black")
        for spine in axis.spines.values() if selected else ():
            spine.set(edgecolor=SELECTED, linewidth=2.5)
    _finish(figure, list(axes), f"{title}: foreground probability of each slice, best in training first", file)


def _finish(figure: Figure, axes: list[Axes], title: str, file: Path) -> None:
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(title if len(title) < 90 else f"...{title[-87:]}", fontsize=9)
    FigureCanvasAgg(figure).print_png(f"{file}.png")
