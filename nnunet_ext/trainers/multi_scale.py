"""Training at several scales: each batch once at every size, with an optimiser step each.

Spatial Lifting for Dense Prediction, Section IV-C and Table V (factors 0.75, 1 and 1.25), done as in the public loop of
HSNet and CASCADE, on which that comparison is built: images are resized bilinearly with aligned corners, masks by
nearest neighbour. Where we differ: sizes are rounded to what the network takes without padding (there: multiples of
32), and scales that come out as the same size are trained once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

    def nearest(t: Tensor) -> Tensor:
        to = [max(1, round(s * n / b)) for s, n, b in zip(t.shape[2:], size, before, strict=True)]
        return F.interpolate(t.float(), size=to, mode="nearest").to(t.dtype)

    targets = [nearest(t) for t in target] if isinstance(target, list) else nearest(target)
    return {**batch, "data": resized, "target": targets}
