"""A published checkpoint as the file that nnU-Net's `-pretrained_weights` reads."""

from __future__ import annotations

from pathlib import Path

import torch

from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.architectures.published.msnet_weights import convert_checkpoint
from nnunet_ext.trainers import checkpoints
from nnunet_ext.trainers.naming import PRESETS, resolve
from nnunet_ext.trainers.suffixes import with_option
from nnunet_ext.weights import WeightsError


def import_weights(source: Path, trainer_name: str, target: Path) -> str:
    """Convert the authors' checkpoint of a trainer's network; the file is whole or not there.

    Args:
        source: as the authors' training saved it.
        trainer_name: one of the trainers whose network is a published one.
        target: the file to write, which must not exist.

    Returns:
        The command that begins a training at these weights.

    Raises:
        TrainerNameError: if there is no such trainer.
        WeightsError: if its network has no published checkpoints, the checkpoint is of another network, or the target
            exists.
    """
    trainer = resolve(trainer_name)
    if not isinstance(trainer.spec, MSNetSpec):  # type: ignore[attr-defined]
        possible = ", ".join(name for name in PRESETS if isinstance(resolve(name).spec, MSNetSpec))  # type: ignore[attr-defined]
        raise WeightsError(f"-tr {trainer_name}: its network was not published as a checkpoint. Choose of: {possible}")
    if target.exists():
        raise WeightsError(f"{target} exists. Choose another name, or remove it if it is not needed.")
    converted = convert_checkpoint(source, trainer.spec)  # type: ignore[attr-defined]
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write_atomically(target, lambda temporary: torch.save(converted, temporary))
    begin = trainer_name if not trainer.pretrained else with_option(trainer_name, "scratch")  # type: ignore[attr-defined]
    return f"nnUNetv2_train DATASET 2d FOLD -tr {begin} -pretrained_weights {target}"
