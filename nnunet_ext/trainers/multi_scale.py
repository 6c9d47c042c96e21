"""Training at several scales: each batch once at every size, with an optimiser step each.

Spatial Lifting for Dense Prediction, Section IV-C and Table V (factors 0.75, 1 and 1.25), done as in the public loop of
HSNet and CASCADE, on which that comparison is built: bilinear, with aligned corners. Where we differ: masks are resized
to the nearest pixel with the same aligned corners, because they hold labels, not one grey value; sizes are rounded to
what the network takes without padding (there: multiples of 32); and scales that come out as the same size are trained
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_ext.architectures.network import NetworkSpec
from nnunet_ext.architectures.padding import nearest_multiple
from nnunet_ext.architectures.topology import Topology


def training_sizes(spec: NetworkSpec | None, topology: Topology, scales: Sequence[float]) -> list[tuple[int, ...]]:
    """Return the distinct patch sizes of the scales, in their order; that of scale 1 is the plan's own.

    Args:
        spec: of the network; None for the plan's own.
        topology: read from the plan.
        scales: multiples of the plan's patch size.
    """
    sizes = []
    for scale in scales:
        wanted = [p * scale for p in topology.patch_size]
        if scale == 1:
            size = tuple(topology.patch_size)
        elif spec is None:
            size = nearest_multiple(wanted, topology.total_stride, topology.total_stride)
        else:
            size = spec.fitting_size(topology, wanted)
        sizes.append(size)
    return list(dict.fromkeys(sizes))


def resize_batch(batch: dict[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """Resize a batch of patches.

    Args:
        batch: `data` `(B, C, *S)` and `target` `(B, 1, *S)`, or a list of targets, finest first, for deep supervision.
        size: (dims,) of the result; coarser targets keep their ratio to the finest.

    Returns:
        the batch with these two resized.
    """
    data, target = batch["data"], batch["target"]
    before = data.shape[2:]
    if tuple(before) == tuple(size):
        return batch
    mode = {4: "bilinear", 5: "trilinear"}[data.dim()]
    resized = F.interpolate(data, size=tuple(size), mode=mode, align_corners=True)

    def labels(t: Tensor) -> Tensor:
        ratio = [s / b for s, b in zip(size, before, strict=True)]
        return nearest([max(1, round(n * r)) for n, r in zip(t.shape[2:], ratio, strict=True)], t)

    targets = [labels(t) for t in target] if isinstance(target, list) else labels(target)
    return {**batch, "data": resized, "target": targets}


def nearest(size: Sequence[int], labels: Tensor) -> Tensor:
    """Resize `(B, C, *S)` to the nearest pixel, with aligned corners."""
    for axis, (after, before) in enumerate(zip(size, labels.shape[2:], strict=True), start=2):
        if after != before:
            places = torch.linspace(0, before - 1, after, dtype=torch.float64).round().long()
            labels = labels.index_select(axis, places.to(labels.device))
    return labels


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move a batch once, before it is resized for each scale."""
    target = batch["target"]
    targets = (
        [t.to(device, non_blocking=True) for t in target]
        if isinstance(target, list)
        else target.to(device, non_blocking=True)
    )
    return {**batch, "data": batch["data"].to(device, non_blocking=True), "target": targets}
