"""A loss of the finest scale, added to another loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class AddedLoss(nn.Module):
    """`base(output, target) + added(finest output, finest target)`.

    Args:
        base: loss of logits `(B, K, *S)`, or of a list of them, finest first.
        added: loss of the finest logits and their target; None where no loss is computed.
    """

    def __init__(self, base: Callable[..., Tensor], added: Callable[..., Tensor] | None) -> None:
        super().__init__()
        self.base, self.added = base, added

    def forward(self, output: Tensor | list[Tensor], target: Any) -> Tensor:
        """Return the scalar sum.

        Raises:
            RuntimeError: without an added loss.
        """
        if self.added is None:
            raise RuntimeError("this trainer was set up to validate or predict: its added loss was not built")
        finest = [v if isinstance(v, Tensor) else v[0] for v in (output, target)]
        return self.base(output, target) + self.added(*finest)
