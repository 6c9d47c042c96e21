"""What a trainer's loss is made of: a check of shapes, the method's loss beside nnU-Net's, what is added to both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn

from nnunet_ext.architectures.network import TrainingOutput


class Weighted(nn.Module):
    """A loss times a number."""

    def __init__(self, loss: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight

    def forward(self, output: Tensor | list[Tensor], target: Any) -> Tensor:
        """Return the scalar product."""
        return self.weight * self.loss(output, target)


class CheckedLoss(nn.Module):
    """A loss of logits that checks their shapes at its first call.

    nnU-Net itself cuts surplus outputs off silently and broadcasts a missing channel.

    Args:
        loss: `(logits, target) -> scalar`, tensors or lists of scales.
        n_heads: K, the channels that logits must have.
    """

    def __init__(self, loss: nn.Module, n_heads: int) -> None:
        super().__init__()
        self.loss, self.n_heads = loss, n_heads
        self._checked = False

    def forward(self, output: Tensor | list[Tensor], target: Any) -> Tensor:
        """Return the scalar loss.

        Raises:
            ValueError: if outputs and targets differ in number or size, or the outputs' channels are not K.
        """
        if not self._checked:
            self._check(output, target)
        return self.loss(output, target)

    def _check(self, output: Any, target: Any) -> None:
        outputs, targets = ([v] if isinstance(v, Tensor) else list(v) for v in (output, target))
        sizes = [tuple(o.shape[2:]) for o in outputs], [tuple(t.shape[2:]) for t in targets]
        if sizes[0] != sizes[1] or any(o.shape[1] != self.n_heads for o in outputs):
            raise ValueError(
                f"the network's outputs {[tuple(o.shape) for o in outputs]} do not fit the targets "
                f"{[tuple(t.shape) for t in targets]} with {self.n_heads} classes or regions"
            )
        self._checked = True


def of_one_scale(checked: CheckedLoss) -> CheckedLoss:
    """Return a loss without nnU-Net's deep supervision around it."""
    inner = checked.loss
    return CheckedLoss(inner.loss if isinstance(inner, DeepSupervisionWrapper) else inner, checked.n_heads)


class TrainingLoss(nn.Module):
    """Sends `TrainingOutput`s to the method's loss and plain logits to nnU-Net's; adds the recipe's added loss to both.

    Args:
        plain: nnU-Net's (or the recipe's) loss of logits, used in validation and by methods without extra outputs.
        method: `(logits, target, **extra) -> scalar`, or None.
        finest: takes the logits `(B, K, *S)` that the added loss is to see out of those of a `TrainingOutput`.

    Attributes:
        added: `(logits (B, K, *S), target) -> scalar`, at the finest scale; None for none.
    """

    def __init__(self, plain: nn.Module, method: nn.Module | None, finest: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.plain, self.method, self.finest = plain, method, finest
        self.added: nn.Module | None = None

    def forward(self, output: Tensor | list[Tensor] | TrainingOutput, target: Any) -> Tensor:
        """Return the scalar loss."""
        take: Callable[[Any], Tensor] = finest_scale
        if not isinstance(output, TrainingOutput):
            loss, logits = self.plain(output, target), output
        elif self.method is None:
            raise TypeError("the network returned a TrainingOutput, but the trainer builds no method loss for it")
        else:
            loss, logits, take = self.method(output.logits, target, **output.extra), output.logits, self.finest
        return loss if self.added is None else loss + self.added(take(logits), finest_scale(target))


def finest_scale(scales: Tensor | list[Tensor]) -> Tensor:
    """Return the first of a list of scales, or the tensor that is no list."""
    return scales if isinstance(scales, Tensor) else scales[0]
