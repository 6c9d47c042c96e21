"""Modules whose outputs become probabilities inside: by a softmax, or by sigmoids where training is region-based."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class KnowsActivation(nn.Module):
    """A module that is told by its trainer how logits become probabilities, and keeps it in its weights.

    Buffers:
        uses_sigmoid: bool; True for region-based training, where every output is a sigmoid of its own.
    """

    uses_sigmoid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("uses_sigmoid", torch.tensor(False))
        self._sigmoid = False  # python copy of the buffer: a branch on a tensor would break the compiled graph
        self.register_load_state_dict_post_hook(_read_back)

    def set_sigmoid(self, enabled: bool) -> None:
        """Say whether outputs are sigmoids (region-based training) or one softmax."""
        self.uses_sigmoid.fill_(enabled)
        self._sigmoid = enabled


def _read_back(module: nn.Module, _incompatible: Any) -> None:
    if isinstance(module, KnowsActivation):
        module._sigmoid = bool(module.uses_sigmoid)
