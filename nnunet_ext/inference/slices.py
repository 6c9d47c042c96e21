"""Every slice's logits of a lifted network, gathered while nnU-Net predicts with it.

nnU-Net adds the fused logits of mirrored passes, windows and folds, and never sees slices. Here they are added beside
it, in the same order and with the same weights, as margins: how far each foreground output is above the background.
A label depends on nothing else, and it saves a channel a slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.lifting import quality
from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.inference.gathering import flip_order, unwrapped

BLOCK = 2**18  # numbers
LIMIT = 1000.0  # of a window's margins, before weights of up to 10 and a sum in half precision, which ends at 65504


def lifted_network(network: nn.Module | None) -> LiftedNetwork | None:
    """Return the lifted network inside DistributedDataParallel and torch.compile; None if it is another one."""
    inner = unwrapped(network)
    return inner if isinstance(inner, LiftedNetwork) else None


class PredictionAndSlices(nn.Module):
    """`(B, C, *S)` -> what the lifted network predicts, `(B, K, *S)`, and every slice's logits, `(B, K, D, *S)`."""

    def __init__(self, lifted: LiftedNetwork) -> None:
        super().__init__()
        self.lifted = lifted

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network once."""
        slices = self.lifted.slices(x)
        return self.lifted.selection(slices), slices


class MirroredPasses:
    """Stands for the network while nnU-Net predicts one window, and adds up the mirrored passes' margins.

    Args:
        network: a `PredictionAndSlices`.
        mirror_axes: as nnU-Net has them, 0 for the first axis of S; None if passes are not mirrored.
        sigmoid: each output is a sigmoid of its own; else one softmax.
    """

    def __init__(self, network: nn.Module, mirror_axes: Sequence[int] | None, sigmoid: bool) -> None:
        self._network, self._sigmoid = network, sigmoid
        self._flips = flip_order(mirror_axes, first=3)  # of (B, F, D, *S)
        self.n_passes = 0
        self._total: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Predict `(B, C, *S)` -> `(B, K, *S)`."""
        logits, slices = self._network(x)
        total, axes = self._total, next(self._flips)
        if total is None:
            n_outputs = slices.shape[1] if self._sigmoid else slices.shape[1] - 1
            shape = (len(slices), n_outputs, *slices.shape[2:])
            total = torch.empty(shape, dtype=torch.float32, device=slices.device)
        for block in _blocks(total[0]):
            margins = quality.margins(slices[:, :, block], self._sigmoid)
            if self._total is None:  # the plain pass
                total[:, :, block] = margins
            else:
                total[:, :, block] += torch.flip(margins, axes)
        self._total = total
        self.n_passes += 1
        return logits

    @property
    def total(self) -> Tensor:
        """The passes' sum, `(B, F, D, *S)`, all turned back.

        Raises:
            RuntimeError: if nnU-Net made another number of passes than mirroring has.
        """
        if self._total is None or next(self._flips, None) is not None:
            raise RuntimeError("nnU-Net mirrors in another way than this version of nnunet_ext knows")
        return self._total


def _blocks(margins: Tensor) -> Iterator[slice]:
    """Divide `(F, D, *S)` along D. On the CPU, a block's steps stay in the cache: a third of whole arrays' time."""
    depth = margins.shape[1]
    n = max(1, BLOCK * depth // margins.numel()) if margins.device.type == "cpu" else depth
    return (slice(d, d + n) for d in range(0, depth, n))


class WindowSums:
    """Adds windows' margins over an image, weighted as nnU-Net weights them. One network's, slices in rank order.

    Args:
        shape: the padded image's.
        windows: nnU-Net's slicers, in the order in which it predicts them.
        weight: `patch`-shaped, or 1.
        order: `(D,)` slices by rank.
        device: where nnU-Net collects results.
        sigmoid: each output is a sigmoid of its own; else one softmax.
    """

    def __init__(
        self,
        shape: Sequence[int],
        windows: Sequence[tuple],
        weight: Tensor | float,
        order: Tensor,
        device: torch.device,
        sigmoid: bool,
    ) -> None:
        self._shape, self._weight, self._order, self._device = tuple(shape), weight, order, device
        self._sigmoid = sigmoid
        self._windows: Iterator[tuple] = iter(windows)
        self._single = len(windows) == 1
        self._sums: Tensor | None = None
        self._weights = torch.ones(self._shape, device=device)
        if not self._single:
            self._weights = torch.zeros(self._shape, dtype=torch.half, device=device)

    def add(self, total: Tensor, n_passes: int) -> None:
        """Add the next window.

        Args:
            total: `(1, F, D, *patch)`, a sum over passes.
            n_passes: how many passes.
        """
        place, total = next(self._windows)[1:], total[0]
        if self._single:  # one weight for all slices and passes changes no label: nothing to multiply
            self._sums = total.index_select(1, self._order).to(self._device).view(*total.shape[:2], *self._shape)
            self._weights *= n_passes
            return
        if self._sums is None:
            self._sums = torch.zeros((*total.shape[:2], *self._shape), dtype=torch.half, device=self._device)
        scale = torch.as_tensor(self._weight, device=total.device).float() / n_passes
        window = self._sums[_of_slices(place)]
        for block in _blocks(total):
            margins = quality.bounded(total.index_select(1, self._order[block]), self._sigmoid, LIMIT * n_passes)
            window[:, block] += (margins * scale).to(self._device, torch.half)
        self._weights[place] += self._weight

    def result(self, crop: tuple[slice, ...]) -> tuple[Tensor, Tensor, list[int]]:
        """Return the sums `(F, D, *S)`, the weights `(*S)`, both cut to the image before padding, and the order."""
        if self._sums is None or next(self._windows, None) is not None:
            raise RuntimeError("nnU-Net predicts windows in another way than this version of nnunet_ext knows")
        return self._sums[_of_slices(crop)], self._weights[crop], self._order.tolist()


def _of_slices(place: tuple) -> tuple:
    """Return the index of a place in `(F, D, *S)`."""
    return (slice(None), slice(None), *place)


@dataclass
class SlicedPrediction:
    """One case's slices, at the plan's resolution, added over passes, windows and folds. S has three axes.

    Args:
        sigmoid: each output is a sigmoid of its own; else one softmax.
        n_selected: S, how many slices predict.
        n_folds: how many will be added; sums and weights are means over them, which half precision holds.
    """

    sigmoid: bool
    n_selected: int
    n_folds: int = 1
    orders: list[list[int]] = field(default_factory=list)
    sums: Tensor = field(default_factory=lambda: torch.zeros(()))
    weights: Tensor = field(default_factory=lambda: torch.zeros(()))
    prediction: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, sums: Tensor, weights: Tensor, order: Iterable[int]) -> None:
        """Add a fold: `(F, D, *S)` and `(*S)`, slices in rank order, and which slice has which rank."""
        if self.n_folds > 1:  # as nnU-Net does: folds are added on the CPU, and leave the device to the next fold
            sums, weights = sums.cpu().div_(self.n_folds), weights.cpu().div_(self.n_folds)
        self.sums = self.sums.add_(sums) if self.orders else sums
        self.weights = self.weights.add_(weights) if self.orders else weights
        self.orders.append(list(order))

    def close(self, logits: Tensor) -> None:
        """Take what is predicted, `(K, *S)` logits, as `prediction`, `(F, *S)` bool on the CPU."""
        n_outputs = len(logits) if self.sigmoid else len(logits) - 1
        self.prediction = torch.empty((n_outputs, *logits.shape[1:]), dtype=torch.bool)
        for z, rows in quality.pieces(logits.shape[1:]):
            margins = quality.margins(logits[None, :, None, z, rows], self.sigmoid)[:, :, 0]
            self.prediction[:, z, rows] = quality.binarise(margins, self.sigmoid)[0].cpu()

    def maps(self, planes: slice = slice(None)) -> Tensor:
        """Return each slice's label in some planes, `(F, D, Z, H, W)` bool on the CPU, in rank order."""
        sums = self.sums[:, :, planes]
        found = torch.empty(sums.shape, dtype=torch.bool)
        for z, rows in quality.pieces(sums.shape[2:]):
            found[:, :, z, rows] = quality.binarise(sums[None, :, :, z, rows], self.sigmoid)[0].cpu()
        return found

    def agreement(self) -> quality.Agreement:
        """Return the quality."""
        return quality.agreement_of_margins(self.sums, self.sigmoid, self.n_selected)

    def probabilities(self, planes: slice = slice(None)) -> Tensor:
        """Return each slice's foreground probabilities in some planes, `(F, D, Z, H, W)` float32, in rank order."""
        mean = self.sums[:, :, planes].float() / self.weights[planes].float()
        return quality.probabilities(mean[None], self.sigmoid)[0]


class SliceGatherer:
    """Gathers the slices of a lifted network (a `Gatherer`).

    Args:
        lifted: the network without wrappers.
        sigmoid: each output is a sigmoid of its own; else one softmax.
    """

    def __init__(self, lifted: LiftedNetwork, sigmoid: bool) -> None:
        self.network: nn.Module = PredictionAndSlices(lifted)
        self._selection, self._sigmoid = lifted.selection, sigmoid

    def passes(self, mirror_axes: Sequence[int] | None) -> MirroredPasses:
        """Begin a window."""
        return MirroredPasses(self.network, mirror_axes, self._sigmoid)

    def windows(
        self, shape: Sequence[int], windows: Sequence[tuple], weight: Tensor | float, device: torch.device
    ) -> WindowSums:
        """Begin an image, with the order of the slices as the fold's weights have it."""
        order = quality.rank_order(self._selection.selected, self._selection.mean_loss)
        return WindowSums(shape, windows, weight, order, device, self._sigmoid)

    def case(self, n_folds: int) -> SlicedPrediction:
        """Begin a case."""
        return SlicedPrediction(self._sigmoid, len(self._selection.selected), n_folds)
