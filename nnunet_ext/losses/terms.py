"""Terms of a sum of losses, each with a weight that may be 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

Logits = Tensor | list[Tensor]


def checked_weights(**weights: float) -> None:
    """Refuse weights that are negative or not finite.

    Raises:
        ValueError: naming the weight.
    """
    for name, value in weights.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is a factor of a loss, finite and not negative, not {value}.")


def weighted(weight: float, loss: Callable[..., Tensor], logits: Logits, target: Any) -> Tensor:
    """Return `weight * loss(logits, target)`.

    With the weight 0 the loss is not called. The result is then a 0 that depends on every tensor of `logits`, with a
    gradient of zeros, as DistributedDataParallel needs it of parameters that nothing else uses. It is a sum over no
    elements, so that it is 0 whatever the tensors hold; 0 times an infinite loss is not.
    """
    if weight == 0:
        return _nothing([logits] if isinstance(logits, Tensor) else logits)
    return weight * loss(logits, target)


def _nothing(tensors: list[Tensor]) -> Tensor:
    total = tensors[0][:0].sum()
    for tensor in tensors[1:]:
        total = total + tensor[:0].sum()
    return total


def scales_of(values: Logits) -> list[Tensor]:
    """Return outputs or targets as a list of scales, finest first; a tensor is the only one."""
    return [values] if isinstance(values, Tensor) else list(values)
