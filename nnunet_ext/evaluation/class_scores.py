"""The scores of one class in one case that need more than counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nnunet_ext.evaluation.metrics.registry import METRICS
from nnunet_ext.evaluation.metrics.surface import surface_distances

Mask = npt.NDArray[np.bool_]


def class_scores(
    metrics: Sequence[str],
    reference: Mask,
    prediction: Mask,
    spacing: Sequence[float],
    probabilities: npt.NDArray[np.float32] | None,
) -> list[float]:
    """Score one class.

    Args:
        metrics: names of those that need distances, masks or probabilities.
        reference, prediction: boolean `(H, W)` or `(D, H, W)`.
        spacing: size of a pixel along each axis.
        probabilities: the same shape, for metrics that need them.

    Returns:
        A value a metric. Distances are measured once for all of them.
    """
    needs = {name: METRICS[name].needs for name in metrics}
    inputs: dict[str, tuple] = {"masks": (reference, prediction), "probabilities": (reference, probabilities)}
    if "distances" in needs.values():
        inputs["distances"] = (surface_distances(reference, prediction, spacing),)
    return [float(METRICS[name].compute(*inputs[need])) for name, need in needs.items()]
