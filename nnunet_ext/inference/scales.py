"""Prediction at several scales of the image, for any network.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 4, tests
at 0.5, 0.75, 1, 1.25, 1.5 and 1.75, mirrored. Each scaled image is predicted by nnU-Net's own sliding window, mirroring
included. The logits are resized back and added as probabilities, in logarithms, so that nothing underflows.

Where we differ: the authors' code adds exp(logits) (`total="exp"`), so that a scale with larger logits has more weight.
The default is the mean of the softmax, or of the sigmoids of regions. nnU-Net's windows have the patch's size at every
scale; theirs are the whole image up to scale 1.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 8.0  # an image of 8 times the size takes 64 times the work, a volume 512 times
SMALLEST_LOG = -87.0  # exp of it is float32's smallest normal number
EXAMPLE = "--scales 0.5 0.75 1 1.25 1.5 1.75"


class ScalesError(ValueError):
    """Scales that cannot be predicted at; the message says what to type."""


@dataclass(frozen=True)
class Scales:
    """At which sizes to predict, and how to add what is predicted.

    Attributes:
        factors: of the preprocessed image's size; different, above 0, up to 8.
        total: `mean` of probabilities, or the sum of `exp` of logits, as the authors have it.

    Raises:
        ScalesError: for other factors.
    """

    factors: tuple[float, ...]
    total: Literal["mean", "exp"] = "mean"

    def __post_init__(self) -> None:
        wrong = [f for f in self.factors if not 0 < f <= LARGEST]
        if wrong or not self.factors:
            raise ScalesError(f"--scales {self}: each is above 0, up to {LARGEST:g}; type for example {EXAMPLE}")
        once = dict.fromkeys(self.factors)
        if len(once) < len(self.factors):
            raise ScalesError(f"--scales {self}: name each scale once; type --scales {_text(once)}")

    def __str__(self) -> str:
        return _text(self.factors)

    @property
    def change_something(self) -> bool:
        """Whether there is more than scale 1 alone, which is nnU-Net's own prediction."""
        return self.factors != (1.0,)

    def check(self, regions: bool) -> None:
        """Refuse before work what a network's outputs do not allow.

        Raises:
            ScalesError: for the sum of exponentials where outputs are sigmoids.
        """
        if regions and self.total == "exp":
            raise ScalesError(
                "--scales-sum exp is of classes that exclude each other (softmax), but this dataset has regions "
                "(sigmoids). Leave --scales-sum out: the probabilities' mean is taken then."
            )

    def predict(
        self, network: Callable[[Tensor], Tensor], image: Tensor, axes: int, regions: bool, n_masks: int = 0
    ) -> Tensor:
        """Predict at each scale.

        Args:
            network: `(C, *S)` -> logits `(K, *S)` of any S; half precision will do.
            image: `(C, *S)`, three axes S.
            axes: 2 resizes the planes of S (bilinear), 3 all of it (trilinear).
            regions: each output is a sigmoid of its own; else one softmax.
            n_masks: how many of the last channels are masks of a cascade's previous stage, which are resized to
                their nearest pixel.

        Returns:
            `(K, *S)` float32 on the CPU, whose softmax (sigmoid) is the mean of the scales'. The mean has log p, at
            least -87, or for regions the logit, -87 to 87.
        """
        size = image.shape[1:]
        total = _Total(size, axes, "exp" if self.total == "exp" else "regions" if regions else "softmax")
        for factor in self.factors:
            scaled = [max(1, round(factor * s)) for s in size[3 - axes :]]
            n_images = len(image) - n_masks
            parts = [resized(image[:n_images], scaled)]
            if n_masks:
                parts.append(resized(image[n_images:], scaled, "nearest-exact"))
            total.add(network(torch.cat(parts)))
        return total.result()


def resized(values: Tensor, size: Sequence[int], mode: str = "linear") -> Tensor:
    """Resize the last axes of `(C, *S)`, S of three axes; linear, without smoothing, corners not aligned."""
    if list(values.shape[-len(size) :]) == list(size):
        return values
    if mode == "linear":
        mode = "bilinear" if len(size) == 2 else "trilinear"
    if len(size) == 2:  # planes are the batch
        return F.interpolate(values.transpose(0, 1).float(), tuple(size), mode=mode).transpose(0, 1)
    return F.interpolate(values[None].float(), tuple(size), mode=mode)[0]


class _Total:
    """The logarithm of a sum of probabilities. Between two scales it stands on the CPU: the device is the network's."""

    def __init__(self, size: Sequence[int], axes: int, form: Literal["softmax", "regions", "exp"]) -> None:
        self._size, self._form, self._n = tuple(size[3 - axes :]), form, 0
        self._sums: list[Tensor] = []

    def add(self, logits: Tensor) -> None:
        """Add a scale's `(K, *S)` logits, on their device if it can: it may be full, or count in 32 bits."""
        added = False
        with contextlib.suppress(RuntimeError):  # as nnU-Net tries again
            self._add(logits)
            added = True
        if not added:  # outside the handling of the error, which would keep the memory of what failed
            self._add(logits.cpu())
        self._n += 1

    def _add(self, logits: Tensor) -> None:
        parts = self._parts(resized(logits, self._size).float())
        if self._sums:
            parts = [torch.logaddexp(s.to(p.device), p) for s, p in zip(self._sums, parts, strict=True)]
        self._sums = [p.cpu() for p in parts]

    def _parts(self, logits: Tensor) -> list[Tensor]:
        if self._form == "exp":
            return [logits]
        if self._form == "softmax":
            return [F.log_softmax(logits, 0)]
        return [F.logsigmoid(logits), F.logsigmoid(-logits)]

    def result(self) -> Tensor:
        if self._form == "exp":
            return self._sums[0]
        if self._form == "softmax":
            return (self._sums[0] - math.log(self._n)).clamp_(min=SMALLEST_LOG)
        inside, outside = self._sums
        return (inside - outside).clamp_(SMALLEST_LOG, -SMALLEST_LOG)


def _text(factors: Sequence[float] | dict[float, None]) -> str:
    return " ".join(f"{f:g}" for f in factors)
