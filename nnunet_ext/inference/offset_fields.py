"""Offset vectors, confidence and initial class scores, gathered while nnU-Net predicts with a network that has them.

OVeNet (`architectures/heads/offset_vectors.py`) refines class scores in every window and pass by itself, and nnU-Net
adds what comes out. Here what it was made of is added beside it with the same weights. In a mirrored pass, offsets
along the mirrored axis point the other way, so that they change their sign before they are added. The confidence is
added as the probability F. So the field of a case is what its windows did on average, and refining the mean of the
initial scores with it gives not quite the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.inference.gathering import flip_order, unwrapped

Found = tuple[Tensor, Tensor]  # initial logits (K, *S), fields (n + 1, *S): offsets in axis order, then F


def has_offsets(network: nn.Module | None) -> bool:
    """Whether the network inside its wrappers has a method `refined`."""
    return callable(getattr(unwrapped(network), "refined", None))


class PredictionAndOffsets(nn.Module):
    """`(B, C, *S)` -> S_f and S_i, `(B, K, *S)`, and the fields, `(B, n + 1, *S)`: offsets in axis order, then F."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the network once."""
        refined: Any = self.network.refined(x)  # type: ignore[operator]
        return refined.fused, refined.initial, torch.cat([refined.offsets, torch.sigmoid(refined.confidence)], 1)


class OffsetPasses:
    """Stands for the network while nnU-Net predicts one window, and adds up the mirrored passes (`Passes`).

    Args:
        network: a `PredictionAndOffsets`.
        mirror_axes: as nnU-Net has them, 0 for the first axis of S; None if passes are not mirrored.
    """

    def __init__(self, network: nn.Module, mirror_axes: Sequence[int] | None) -> None:
        self._network = network
        self._flips = flip_order(mirror_axes, first=2)  # of (B, K, *S)
        self.n_passes = 0
        self._total: Found | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Predict `(B, C, *S)` -> `(B, K, *S)`."""
        logits, initial, fields = self._network(x)
        axes = next(self._flips)
        initial, fields = torch.flip(initial, axes).float(), _turned_back(fields.float(), axes)
        self._total = (initial, fields) if self._total is None else (self._total[0] + initial, self._total[1] + fields)
        self.n_passes += 1
        return logits

    @property
    def total(self) -> Found:
        """The passes' sums, `(B, K, *S)` and `(B, n + 1, *S)`, all turned back.

        Raises:
            RuntimeError: if nnU-Net made another number of passes than mirroring has.
        """
        if self._total is None or next(self._flips, None) is not None:
            raise RuntimeError("nnU-Net mirrors in another way than this version of nnunet_ext knows")
        return self._total


def _turned_back(fields: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the fields `(B, n + 1, *S)` of an image that was mirrored along `axes`, as of the image itself."""
    n, last = fields.shape[1] - 1, fields.ndim
    sign = torch.ones(n + 1, device=fields.device)
    for channel, axis in enumerate(range(last - n, last)):
        if axis in axes:
            sign[channel] = -1
    return torch.flip(fields, axes) * sign.view(-1, *[1] * (last - 2))


class OffsetWindows:
    """Adds windows over an image, weighted as nnU-Net weights them (`Windows`). One network's.

    Args:
        shape: the padded image's.
        windows: nnU-Net's slicers, in the order in which it predicts them.
        weight: `patch`-shaped, or 1.
        device: where nnU-Net collects results.
    """

    def __init__(
        self, shape: Sequence[int], windows: Sequence[tuple], weight: Tensor | float, device: torch.device
    ) -> None:
        self._shape, self._device = tuple(shape), device
        self._windows: Iterator[tuple] = iter(windows)
        self._weight = torch.as_tensor(weight, device=device).float()
        self._sums: Found | None = None
        self._weights = torch.zeros(self._shape, device=device)

    def add(self, total: Found, n_passes: int) -> None:
        """Add the next window: `(1, K, *patch)` and `(1, n + 1, *patch)`, sums over passes."""
        place = next(self._windows)[1:]
        if self._sums is None:  # class scores in half precision, as nnU-Net's; it holds no positions
            kinds = (torch.half, torch.float32)
            initial, fields = (
                torch.zeros((t.shape[1], *self._shape), dtype=kind, device=self._device)
                for t, kind in zip(total, kinds, strict=True)
            )
            self._sums = initial, fields
        for sums, window in zip(self._sums, total, strict=True):
            weighted = window[0].to(self._device) * (self._weight / n_passes)
            sums[_of_channels(place)] += weighted.to(sums.dtype)
        self._weights[place] += self._weight

    def result(self, crop: tuple[slice, ...]) -> Found:
        """Return initial logits `(K, *S)` and fields `(n + 1, *S)`, cut to the image before padding.

        Raises:
            RuntimeError: if nnU-Net predicted another number of windows, or scores are beyond half precision.
        """
        if self._sums is None or next(self._windows, None) is not None:
            raise RuntimeError("nnU-Net predicts windows in another way than this version of nnunet_ext knows")
        initial, fields = (sums.div_(self._weights)[_of_channels(crop)] for sums in self._sums)
        if not bool(torch.isfinite(initial).all()):
            raise RuntimeError("the initial class scores are too large for half precision")
        return initial, fields


def _of_channels(place: tuple) -> tuple:
    """Return the index of a place in `(K, *S)`."""
    return (slice(None), *place)


@dataclass
class OffsetFields:
    """One case at the plan's resolution, the mean over folds (`Gathered`). S has three axes.

    Attributes:
        n_folds: how many will be added.
        initial: `(K, *S)` logits S_i.
        fields: `(n + 1, *S)` offsets in voxels along the last n axes, in axis order, then F, 0 to 1.
        logits: `(K, *S)`, what nnU-Net exports.
    """

    n_folds: int = 1
    initial: Tensor = field(default_factory=lambda: torch.zeros(()))
    fields: Tensor = field(default_factory=lambda: torch.zeros(()))
    logits: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, initial: Tensor, fields: Tensor) -> None:
        """Add a fold; on the CPU, as nnU-Net adds them, which leaves the device to the next fold."""
        self.initial = self.initial + initial.cpu() / self.n_folds
        self.fields = self.fields + fields.cpu() / self.n_folds

    def close(self, logits: Tensor) -> None:
        """Take what is predicted."""
        self.logits = logits


class OffsetGatherer:
    """Gathers the offset vectors of a network (a `Gatherer`).

    Args:
        network: without wrappers; has a method `refined`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network: nn.Module = PredictionAndOffsets(network)

    def passes(self, mirror_axes: Sequence[int] | None) -> OffsetPasses:
        """Begin a window."""
        return OffsetPasses(self.network, mirror_axes)

    def windows(
        self, shape: Sequence[int], windows: Sequence[tuple], weight: Tensor | float, device: torch.device
    ) -> OffsetWindows:
        """Begin an image."""
        return OffsetWindows(shape, windows, weight, device)

    def case(self, n_folds: int) -> OffsetFields:
        """Begin a case."""
        return OffsetFields(n_folds)
