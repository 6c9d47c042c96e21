"""Training that begins at an encoder's ImageNet weights."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.distributed as dist

from nnunet_ext.architectures.encoders.pretrained import TimmEncoder, load_pretrained
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.naming import parse

SCRATCH = "_scratch"


class PretrainedEncoderTrainer(nnUNetTrainerExt):
    """Trainer of networks with an `encoder` of timm.

    Weights are loaded once, when a new training is initialised. A training that is continued has its own, and so has
    a network that predicts; neither needs a file or a connection.

    Class attributes:
        pretrained: begin at ImageNet weights; if not, at random ones.
    """

    pretrained: ClassVar[bool] = True
    _came_from = "none (from scratch)"
    _has_checkpoint = False

    def initialize(self) -> None:
        """Initialise as nnU-Net does, then load the encoder's weights, unless a checkpoint is about to be loaded.

        Raises:
            WeightsError: if they cannot be had.
        """
        super().initialize()
        if not self.pretrained or self._has_checkpoint:
            return
        self.was_initialized = False  # until the weights are there: who catches the error must not train without
        self._came_from = self._load_encoder()
        self.was_initialized = True
        self.print_to_log_file("pretrained encoder:", self._came_from)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Load a checkpoint; where that initialises the trainer (`--c`, `--val`), no other weights are loaded.

        Raises:
            CheckpointError: as for every trainer of ours.
        """
        if not self.was_initialized:
            self._has_checkpoint, self._came_from = True, "the checkpoint that is continued"
        super().load_checkpoint(filename_or_checkpoint)

    def describe_method(self) -> dict[str, Any]:
        """Return where the encoder's weights came from."""
        return super().describe_method() | {"pretrained": self._came_from}

    def _load_encoder(self) -> str:
        """Load in the first process, then in the others, which find what it has downloaded."""
        encoder = self.unwrapped_network.encoder
        assert isinstance(encoder, TimmEncoder)
        if not self.is_ddp:
            return load_pretrained(encoder, self._instead())
        if self.local_rank == 0:
            came_from = load_pretrained(encoder, self._instead())
        dist.barrier()
        if self.local_rank != 0:
            came_from = load_pretrained(encoder, self._instead())
        return came_from

    @classmethod
    def _instead(cls) -> str:
        """Say what to type to train without."""
        base = parse(cls.__name__).base
        return f"-tr {base}{SCRATCH}{cls.__name__.removeprefix(base)}"
