"""What is gathered beside nnU-Net's logits while it predicts, and what all kinds of it share.

nnU-Net mirrors a window, adds windows and averages folds, and sees logits only. A `Gatherer` follows it: its network
stands for nnU-Net's, its `passes` see each mirrored pass, its `windows` each window, its case each fold.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel


class Passes(Protocol):
    """Stands for the network while nnU-Net predicts one window."""

    n_passes: int

    def __call__(self, x: Tensor) -> Tensor:
        """Predict `(B, C, *S)` -> `(B, K, *S)`, and add what else the network says."""

    @property
    def total(self) -> Any:
        """The passes' sum, all turned back."""


class Windows(Protocol):
    """One network's windows over an image, weighted as nnU-Net weights them."""

    def add(self, total: Any, n_passes: int) -> None:
        """Add the next window: a sum over passes."""

    def result(self, crop: tuple[slice, ...]) -> tuple:
        """Return what a case's `add` takes, cut to the image before padding."""


class Gathered(Protocol):
    """One case, added over folds."""

    @property
    def add(self) -> Callable[..., None]:
        """Take the result of a fold's windows."""

    def close(self, logits: Tensor) -> None:
        """Take what nnU-Net predicts, `(K, *S)` logits."""


class Gatherer(Protocol):
    """How something beside the logits is gathered.

    Attributes:
        network: `(B, C, *S)` -> a tuple that begins with the logits; shares its parameters with nnU-Net's network.
    """

    network: nn.Module

    def passes(self, mirror_axes: Sequence[int] | None) -> Passes:
        """Begin a window; axes as nnU-Net has them, 0 for the first axis of S."""

    def windows(
        self, shape: Sequence[int], windows: Sequence[tuple], weight: Tensor | float, device: torch.device
    ) -> Windows:
        """Begin an image of padded `shape`; nnU-Net's slicers in order, their weight, where results are collected."""

    def case(self, n_folds: int) -> Gathered:
        """Begin a case."""


def flip_order(mirror_axes: Sequence[int] | None, first: int) -> Iterator[tuple[int, ...]]:
    """Yield the axes of each of nnU-Net's passes: none, then each axis, then pairs of axes, and so on.

    Args:
        mirror_axes: as nnU-Net has them, 0 for the first axis of S; None if passes are not mirrored.
        first: where S begins in the tensors to flip.
    """
    axes = [a + first for a in mirror_axes or ()]
    return iter([c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)])


def unwrapped(network: nn.Module | None) -> nn.Module | None:
    """Return the network inside DistributedDataParallel and torch.compile."""
    return list(_layers(network))[-1]


def is_compiled(network: nn.Module | None) -> bool:
    """Whether torch.compile is among a network's wrappers."""
    return any(isinstance(layer, OptimizedModule) for layer in _layers(network))


def _layers(network: nn.Module | None) -> Iterator[nn.Module | None]:
    """Yield a network, and what is in it, until no wrapper is left.

    nnU-Net nests them: its distributed validation compiles DistributedDataParallel around a compiled network.
    """
    yield network
    while isinstance(network, (OptimizedModule, DistributedDataParallel)):
        network = network._orig_mod if isinstance(network, OptimizedModule) else network.module
        yield network
