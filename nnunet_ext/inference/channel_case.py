"""One case through a network with instructive feature enhancement: what its selections chose, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunet_ext.inference.case_image import displayed, read_case, stored_image
from nnunet_ext.inference.channel_figure import CaseView, MapPanel, SelectionView
from nnunet_ext.inference.channel_maps import Shown, best_plane, curvature_map, cut
from nnunet_ext.inference.channel_record import Record, Selection, Window, chosen_channels, maps_of, record
from nnunet_ext.inference.channel_tables import CaseStatistics, SelectionStatistics


@dataclass(frozen=True)
class Subject:
    """A loaded model, and what is wanted of it.

    Attributes:
        predictor: from `unmirrored`.
        selections: of its network, at least one.
        n_channels: how many maps of chosen channels to show of each, and of others.
    """

    predictor: nnUNetPredictor
    selections: list[Selection]
    n_channels: int


def view_case(subject: Subject, case: str, files: list[str]) -> tuple[CaseStatistics, CaseView]:
    """Preprocess and predict one case as nnU-Net does; show the window with most predicted foreground.

    Args:
        case: its name.
        files: of its channels.

    Raises:
        CasesError: if the image has other channels than the model's.
        InspectionError: if the network does not use every selection once in a window.
    """
    predictor = subject.predictor
    volume, properties = read_case(predictor, files)
    found = record(predictor, subject.selections, volume)
    foreground = foreground_of(predictor, found.logits)
    number = richest_window(found, foreground)
    window = found.windows[number]
    inside = foreground[window.image]
    patch = tuple(predictor.configuration_manager.patch_size)
    shown = Shown(patch, window.part, window.part[0].start + best_plane(inside) if len(patch) == 3 else None)
    plane = _plane(window, shown)
    rows_and_columns = window.image[1:]
    image = displayed(stored_image(predictor, files, properties, volume.shape[1:])[:, plane])[rows_and_columns]
    maps = maps_of(predictor, subject.selections, volume, window)
    spacing = predictor.configuration_manager.spacing
    statistics = [
        selection_statistics(s, scores, number) for s, scores in zip(subject.selections, found.scores, strict=True)
    ]
    view = CaseView(
        case=case,
        where=_where(found, number, plane, volume),
        image=image,
        predicted=foreground[plane][rows_and_columns].numpy(),
        limits=shown.limits,
        aspect=float(spacing[-2] / spacing[-1]),
        selections=[
            view_selection(s, numbers, values, shown, subject.n_channels)
            for s, numbers, values in zip(subject.selections, statistics, maps, strict=True)
        ],
    )
    return CaseStatistics(case, len(found.windows), statistics), view


def foreground_of(predictor: nnUNetPredictor, logits: Tensor) -> Tensor:
    """Return where any foreground class is predicted, `(Z, H, W)` bool of `(K, Z, H, W)`."""
    if predictor.label_manager.has_regions:
        return (logits > 0).any(0)
    return logits.argmax(0) != 0


def richest_window(found: Record, foreground: Tensor) -> int:
    """Return the number of the window with most predicted foreground, the first of equals."""
    return int(np.argmax([int(foreground[window.image].sum()) for window in found.windows]))


def selection_statistics(selection: Selection, scores: Tensor, shown: int) -> SelectionStatistics:
    """Count over the windows.

    Args:
        scores: `(W, C)`.
        shown: number of the window that is shown.
    """
    order = scores[shown].sort(descending=True, stable=True).indices  # of equals the lower number, as the selection
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(1, len(order) + 1)
    chosen = chosen_channels(selection, scores)
    return SelectionStatistics(
        selection=selection,
        mean_scores=scores.mean(0).numpy(),
        n_chosen=chosen.sum(0).numpy(),
        shown_scores=scores[shown].numpy(),
        ranks=ranks.numpy(),
    )


def view_selection(
    selection: Selection, numbers: SelectionStatistics, maps: Tensor, shown: Shown, n_channels: int
) -> SelectionView:
    """Cut the maps of the chosen channels with the highest scores, and of the others with the lowest.

    Args:
        maps: `(C, *s)` of the window.
    """
    module = selection.module
    order = np.argsort(numbers.ranks)
    chosen, others = order[: module.k][:n_channels], order[module.k :][::-1][:n_channels]

    def panel(channel: int) -> MapPanel:
        values, extent = cut(maps[channel], shown)
        return MapPanel(int(channel), float(numbers.shown_scores[channel]), values, extent)

    curvature = None
    if module.score == "curvature":
        values, extent = curvature_map(maps[chosen[0]], module, shown)
        curvature = MapPanel(int(chosen[0]), float(numbers.shown_scores[chosen[0]]), values, extent)
    size = " x ".join(map(str, maps.shape[1:]))
    return SelectionView(
        title=f"{selection.label}: {module.k} of {module.channels} channels, {size}, {selection.how}",
        chosen=[panel(channel) for channel in chosen],
        others=[panel(channel) for channel in others],
        curvature=curvature,
    )


def _plane(window: Window, shown: Shown) -> int:
    """Return the index along the image's first axis of what is shown."""
    first = window.image[0]
    if isinstance(first, int):
        return first
    assert shown.plane is not None
    return first.start + shown.plane - shown.part[0].start


def _where(found: Record, number: int, plane: int, volume: Tensor) -> str:
    """Say what is shown of the image `(C, Z, H, W)`."""
    rows, columns = (place for place in found.windows[number].image[1:] if isinstance(place, slice))
    _, depth, height, width = volume.shape
    parts = [f"plane {plane} of {depth}"] if depth > 1 else []
    if (rows.start, rows.stop, columns.start, columns.stop) != (0, height, 0, width):
        parts.append(f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}")
    if len(found.windows) > 1:
        parts.append(f"window {number + 1} of {len(found.windows)} (most predicted foreground)")
    return ", ".join(parts) or "the whole image"
