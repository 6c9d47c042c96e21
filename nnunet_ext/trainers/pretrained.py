"""Training that begins at an encoder's ImageNet weights."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.distributed as dist

from nnunet_ext.architectures.encoders.pretrained import load_pretrained
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.suffixes import typed_otherwise


class PretrainedEncoderTrainer(nnUNetTrainerExt):
    """Trainer of networks with an `encoder` of timm, or that take timm's weights themselves (`Pretrained`).

    Weights are loaded once, when a new training is initialised. A training that is continued has its own, and so has
    a network that predicts; neither needs a file or a connection.

    Class attributes:
        pretrained: begin at ImageNet weights; if not, at random ones.
    """

    pretrained: ClassVar[bool] = True
    _came_from = "no ImageNet weights; the command tells whether -pretrained_weights were given"

    def initialize(self) -> None:
        """Initialise as nnU-Net does, then load the encoder's weights, unless a checkpoint is about to be loaded.

        Raises:
            WeightsError: if they cannot be had.
        """
        super().initialize()
        if self.continues:
            self._came_from = "the checkpoint that is continued"
        if self.continues or not self.pretrained:
            return
        self.was_initialized = False  # until the weights are there: who catches the error must not train without
        self._came_from = self._load_encoder()
        self.was_initialized = True
        self.print_to_log_file("pretrained encoder:", self._came_from)

    def describe_method(self) -> dict[str, Any]:
        """Return where the encoder's weights came from."""
        return super().describe_method() | {"pretrained": self._came_from}

    def _load_encoder(self) -> str:
        """Load in the first process, then in the others, which find what it has downloaded."""
        network: Any = self.unwrapped_network
        encoder = network if hasattr(network, "take") else network.encoder
        instead = typed_otherwise(type(self), add="scratch")
        if not self.is_ddp:
            return load_pretrained(encoder, instead)
        if self.local_rank == 0:
            came_from = load_pretrained(encoder, instead)
        dist.barrier()
        if self.local_rank != 0:
            came_from = load_pretrained(encoder, instead)
        return came_from
