"""Distances between the borders of two masks: Hausdorff, average surface distance, surface Dice.

The border is the part of a mask that touches its outside through a side (4 neighbours in 2D, 6 in 3D); the outside of
the image is outside. `surface_distances` measures once, for every pixel of either border, how far the other border is;
everything else is a function of its result:

    hausdorff                   the largest of all distances
    hausdorff_percentile        the larger of the two directed percentiles (MONAI's)
    hausdorff_percentile_pooled a percentile of both directions together (MedPy's)
    assd_mean_of_means          the mean of the two directed means (older MedPy, the IFE paper)
    assd_pooled                 the mean over both directions together (MONAI, MedPy)
    directed_mean               the mean over the prediction's border alone (MED of GOALS)
    surface_dice                the share of both borders within a tolerance (NSD, pixels of the border counted equal)

The two averages differ by a third on some images: name the one that is reported. Percentiles are interpolated linearly,
as NumPy does by default. Both masks empty: NaN. One empty: infinity, and surface Dice 0; `penalised` gives the image's
diagonal instead, for a mean that has to be finite.

Lengths are pixels, or the unit of `spacing`. Neighbours are looked up in a k-d tree where borders are short, and in
SciPy's distance transform where they fill the image, both exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage  # type: ignore[import-untyped]
from scipy.spatial import KDTree  # type: ignore[import-untyped]

from nnunet_ext.evaluation.metrics.undefined import Floats, Mask, checked_masks, ratio

DENSE = 0.1  # share of border pixels in the box from which on the distance transform is faster; measured
ROUNDING = 1e-6  # three pixels of 0.4 mm are within 1.2 mm


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Both directed lists of distances between two borders.

    `to_reference`: (n,) float64, from each border pixel of the prediction to the nearest of the reference.
    `to_prediction`: (m,), the other way. Infinite where the other mask is empty; a list is empty if its own mask is.
    `diagonal`: length of the image's diagonal, between the outer corners.
    """

    to_reference: Floats
    to_prediction: Floats
    diagonal: float

    @property
    def lists(self) -> tuple[Floats, Floats]:
        """Both lists."""
        return self.to_reference, self.to_prediction

    @property
    def pooled(self) -> Floats:
        """Both lists as one, (n + m,)."""
        return np.concatenate(self.lists)

    @property
    def value_if_empty(self) -> float | None:
        """What a distance is if a mask is empty: NaN (both), infinity (one); None if neither is."""
        empty = sum(len(values) == 0 for values in self.lists)
        return (None, math.inf, math.nan)[empty]


def surface_distances(
    reference: Mask, prediction: Mask, spacing: float | Sequence[float] | None = None
) -> SurfaceDistances:
    """Measure the distances between the borders of two masks.

    Args:
        reference: boolean, 2D or 3D (any number of axes). An axis of length 1 is dropped: a volume of one slice is
            a 2D image.
        prediction: boolean, the same shape.
        spacing: size of a pixel along each axis, or along all; None for lengths in pixels.

    Raises `ValueError` for masks that are not boolean or differ in shape, and for a spacing that is not positive or
    has another number of axes.
    """
    checked_masks(reference, prediction)
    steps = _spacing(spacing, reference.shape)
    diagonal = float(np.linalg.norm(np.multiply(reference.shape, steps)))
    kept = [axis for axis, n in enumerate(reference.shape) if n != 1] or [0]
    steps, shape = steps[kept], [reference.shape[axis] for axis in kept]
    reference, prediction = _cropped(reference.reshape(shape), prediction.reshape(shape))
    borders = border(reference), border(prediction)
    points = [np.argwhere(edge) for edge in borders]
    return SurfaceDistances(
        to_reference=_nearest(points[1], points[0], borders[0], steps),
        to_prediction=_nearest(points[0], points[1], borders[1], steps),
        diagonal=diagonal,
    )


def border(mask: Mask) -> Mask:
    """Return the pixels of a mask that have a neighbour (4 in 2D, 6 in 3D) outside of it or lie at the image's edge."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        source, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= source[:-1]
        kept[:-1] &= source[1:]
        kept[:1] = kept[-1:] = False
    return mask & ~inner


def hausdorff(d: SurfaceDistances) -> float:
    """Return the largest distance."""
    return _scored(d, lambda: max(values.max() for values in d.lists))


def hausdorff_percentile(d: SurfaceDistances, percentile: float = 95.0) -> float:
    """Return the larger of the two directed percentiles; HD95 as MONAI has it."""
    return _scored(d, lambda: max(np.percentile(values, percentile) for values in d.lists))


def hausdorff_percentile_pooled(d: SurfaceDistances, percentile: float = 95.0) -> float:
    """Return the percentile of both directions together; HD95 as MedPy has it."""
    return _scored(d, lambda: np.percentile(d.pooled, percentile))


def assd_mean_of_means(d: SurfaceDistances) -> float:
    """Return the mean of the two directed means: both borders weigh the same."""
    return _scored(d, lambda: sum(values.mean() for values in d.lists) / 2)


def assd_pooled(d: SurfaceDistances) -> float:
    """Return the mean of all distances: every border pixel weighs the same."""
    return _scored(d, lambda: d.pooled.mean())


def directed_mean(d: SurfaceDistances) -> float:
    """Return the mean distance of the prediction's border from the reference's; what is missed does not count."""
    return _scored(d, lambda: d.to_reference.mean())


def surface_dice(d: SurfaceDistances, tolerance: float = 1.0) -> float:
    """Return the share of both borders that is at most `tolerance` from the other one, 0 to 1; NaN if both are empty.

    Raises `ValueError` for a negative tolerance.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more; got {tolerance}")
    limit = tolerance * (1 + ROUNDING)
    near = sum(int(np.count_nonzero(values <= limit)) for values in d.lists)
    return float(ratio(near, sum(map(len, d.lists))))


def penalised(distance: float, d: SurfaceDistances) -> float:
    """Return the image's diagonal for an infinite distance (one mask is empty), else the distance."""
    return d.diagonal if math.isinf(distance) else distance


def _scored(d: SurfaceDistances, score: Any) -> float:
    empty = d.value_if_empty
    return float(score()) if empty is None else empty


def _spacing(spacing: float | Sequence[float] | None, shape: tuple[int, ...]) -> Floats:
    steps = np.asarray(1.0 if spacing is None else spacing, np.float64)
    if steps.shape not in ((), (len(shape),)) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(f"spacing must be a positive number, or one for each of {len(shape)} axes; got {spacing}")
    return np.broadcast_to(steps, len(shape))


def _cropped(reference: Mask, prediction: Mask) -> tuple[Mask, Mask]:
    """Cut both masks to the box around their union, outside of which there is nothing to measure."""
    either = reference | prediction
    box = []
    for axis in range(either.ndim):
        present = np.flatnonzero(either.any(axis=tuple(k for k in range(either.ndim) if k != axis)))
        box.append(slice(present[0], present[-1] + 1) if present.size else slice(0, 0))
    return reference[tuple(box)], prediction[tuple(box)]


def _nearest(points: npt.NDArray[np.intp], others: npt.NDArray[np.intp], edge: Mask, steps: Floats) -> Floats:
    """Return the distance of each of `points` (n, axes) from the nearest of `others`, the pixels of `edge`."""
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    if len(points) + len(others) < DENSE * edge.size:
        tree = KDTree(others * steps, compact_nodes=False, balanced_tree=False)
        return np.asarray(tree.query(points * steps)[0])
    found = ndimage.distance_transform_edt(~edge, sampling=steps, return_distances=False, return_indices=True)
    squares = np.zeros(len(points))
    for axis, step in enumerate(steps):
        squares += ((found[axis][tuple(points.T)] - points[:, axis]) * step) ** 2
    return np.sqrt(squares)
