"""A published checkpoint as the file that nnU-Net's `-pretrained_weights` reads."""

from __future__ import annotations

from pathlib import Path

import torch

from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.architectures.published.msnet_weights import DENSE, MSNET, convert_checkpoint
from nnunet_ext.trainers import checkpoints
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.suffixes import typed_otherwise
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
        possible = f"{DENSE} (M2SNet), {MSNET}"
        raise WeightsError(f"-tr {trainer_name}: its network was not published as a checkpoint. Choose of: {possible}")
    if target.exists():
        raise WeightsError(f"{target} exists. Choose another name, or remove it if it is not needed.")
    converted = convert_checkpoint(source, trainer.spec)  # type: ignore[attr-defined]
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write_atomically(target, lambda temporary: torch.save(converted, temporary))
    begin = typed_otherwise(trainer, add="scratch") if trainer.pretrained else f"-tr {trainer_name}"  # type: ignore[attr-defined]
    return f"nnUNetv2_train DATASET 2d FOLD {begin} -pretrained_weights {target}"
