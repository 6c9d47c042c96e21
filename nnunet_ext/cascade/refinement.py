"""One image in two stages: which windows are chosen, and the sum of what the fine network says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.cascade import regions
from nnunet_ext.cascade.settings import SelectiveRefinement

PIXELS_AT_ONCE = 2**20  # of the windows that are given to the network together
PART = 2**24  # pixels that are merged at once


@dataclass(frozen=True)
class CoarseMap:
    """What the coarse network says of an image, at its own resolution.

    Attributes:
        logits: `(K, *s)` float32.
        has_regions: each output is a sigmoid of its own, not one softmax.
        enlarged: "logits" or "probabilities": what is interpolated. Where objects are a few coarse pixels wide, logits
            keep more of them; probabilities are the paper's.
    """

    logits: Tensor
    has_regions: bool = False
    enlarged: str = "logits"

    @property
    def probabilities(self) -> Tensor:
        """`(K, *s)`."""
        return self._probabilities(self.logits)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.has_regions else logits.softmax(0)

    def parts(self, shape: Sequence[int], device: torch.device) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        """Yield the enlarged map in slabs, so that a large volume of many classes is never there as a whole.

        Args:
            shape: (3,) S.
            device: on which it is enlarged.

        Yields:
            the slab's place in S, and its `(K, *slab)` probabilities.
        """
        maps = (self.logits if self.enlarged == "logits" else self.probabilities).to(device)
        axis = max(range(3), key=lambda a: shape[a])
        step = max(1, PART // (maps.shape[0] * math.prod(shape) // shape[axis]))
        matrix = regions.interpolation(maps.shape[axis + 1], shape[axis]).to(maps)
        for begin in range(0, shape[axis], step):
            slab = matrix[begin : begin + step]
            part = torch.tensordot(maps, slab, dims=([axis + 1], [1])).movedim(-1, axis + 1)
            size = [slab.shape[0] if a == axis else s for a, s in enumerate(shape)]
            place = tuple(slice(begin, begin + slab.shape[0]) if a == axis else slice(None) for a in range(3))
            large = regions.upsample(part, size)
            yield place, self._probabilities(large) if self.enlarged == "logits" else large


@dataclass(frozen=True)
class Grid:
    """The windows of an image, as nnU-Net orders them.

    Attributes:
        starts: first pixel of the windows along each of the three axes, in the image before padding; may be negative.
        patch: (3,) pixels of a window.
        shape: (3,) pixels of the image before padding.
    """

    starts: tuple[tuple[int, ...], ...]
    patch: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, slicers: Sequence[tuple], crop: Sequence[slice], shape: Sequence[int]) -> Grid:
        """Read nnU-Net's slicers.

        Args:
            slicers: of the padded image, channels first; an axis that 2D networks go along is a number.
            crop: (3,) where the image is in the padded one.
            shape: (3,) of the image.
        """
        boxes = [[(s, s + 1) if isinstance(s, int) else (s.start, s.stop) for s in slicer[1:]] for slicer in slicers]
        starts = [sorted({box[axis][0] - crop[axis].start for box in boxes}) for axis in range(3)]
        patch = [stop - start for start, stop in boxes[0]]
        assert math.prod(map(len, starts)) == len(slicers), "windows are the product of their starts"
        return cls(tuple(map(tuple, starts)), tuple(patch), tuple(shape))

    def confidences(self, coarse: CoarseMap, settings: SelectiveRefinement, seed: int = 0) -> Tensor:
        """Return the `(n,)` confidence of each window; `seed` is for the control."""
        if settings.criterion == "random":
            return torch.rand(math.prod(map(len, self.starts)), generator=torch.Generator().manual_seed(seed)) / 2
        if settings.criterion == "pixel_margin":
            margin = regions.pixel_margin(coarse.probabilities, coarse.has_regions)
            return regions.window_means(margin, self.starts, self.patch, self.shape)[0] / 2
        means = regions.window_means(coarse.probabilities, self.starts, self.patch, self.shape)
        return regions.confidence(means, coarse.has_regions)


class FineSum:
    """What the fine network says of the chosen windows, weighted as nnU-Net weights windows.

    Args:
        heads: K.
        shape: (3,) of the padded image.
        weight: `(*patch)` of a window, or 1.
        device: of the sums; half precision, as nnU-Net's.
    """

    def __init__(self, heads: int, shape: Sequence[int], weight: Tensor | float, device: torch.device) -> None:
        self.logits = torch.zeros((heads, *shape), dtype=torch.half, device=device)
        self.total = torch.zeros(tuple(shape), dtype=torch.half, device=device)
        self.weight = weight

    def release(self) -> None:
        """Give the memory back."""
        self.logits = self.total = torch.empty(0)

    def add(self, slicer: tuple, logits: Tensor) -> None:
        """Add the `(K, *patch)` logits of a window."""
        self.logits[slicer] += (logits * self.weight).to(self.logits)
        self.total[slicer[1:]] += self.weight

    def merged(self, crop: Sequence[slice], coarse: CoarseMap, coarse_weight: float, keep: bool = False) -> Tensor:
        """Return what nnU-Net takes for logits, `(K, *padded)` half; anything outside of the image.

        Args:
            crop: (3,) where the image is in the padded one.
            coarse: of the same image.
            coarse_weight: w0.
            keep: the sum, to go on adding. Else the result stands in its place: a large volume has no room for both.

        Raises:
            RuntimeError: if a logit is too large for half precision.
        """
        if torch.any(torch.isinf(self.logits)):
            raise RuntimeError("the fine network's logits are too large for half precision (inf)")
        result = self.logits.clone() if keep else self.logits
        box = (slice(None), *crop)
        inside, total, has_regions = result[box], self.total[box[1:]], coarse.has_regions
        with torch.autocast(result.device.type, enabled=False):  # interpolation in half precision would make ties
            for part, coarse_part in coarse.parts(total.shape, result.device):
                here = (slice(None), *part)
                weight = total[part].float()
                raw = inside[here].float() / torch.where(weight > 0, weight, 1)
                fine = raw.sigmoid() if has_regions else raw.softmax(0)
                logs = regions.as_logits(regions.merge(coarse_part, fine, weight, coarse_weight), has_regions)
                # the likeliest class at 0: half precision is finest where classes are about equal
                inside[here] = (logs if has_regions else logs - logs.amax(0)).half()
        return result


def refine(
    predict: Callable[[Tensor], Tensor], data: Tensor, slicers: Sequence[tuple], total: FineSum, batch_size: int,
    device: Any,
) -> None:  # fmt: skip
    """Give windows to the fine network, several at once, and add what it says.

    Args:
        predict: `(B, C, *patch)` -> `(B, K, *patch)` logits, mirrored or not.
        data: `(C, *S)` padded image.
        slicers: of the chosen windows, in any order.
        total: takes the logits.
        batch_size: windows at once, at most; fewer if they are large.
        device: of the network.
    """
    pixels = math.prod(data[slicers[0]].shape[1:]) if slicers else 1
    at_once = max(1, min(batch_size, PIXELS_AT_ONCE // pixels))
    for begin in range(0, len(slicers), at_once):
        chosen = slicers[begin : begin + at_once]
        logits = predict(torch.stack([data[s] for s in chosen]).to(device))
        for slicer, one in zip(chosen, logits, strict=True):
            total.add(slicer, one.to(total.logits.device))
