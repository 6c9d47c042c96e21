"""Losses of methods, built from what a trainer knows: what a recipe's `loss` and `added_loss` name."""

from __future__ import annotations

from typing import Any, Literal

import torch.distributed as dist
from torch import nn

from nnunet_ext.losses.focal_dice import FocalDiceLoss
from nnunet_ext.losses.lossnet import LossNet, LossNetLoss, vgg16_features
from nnunet_ext.losses.ohem import OhemCrossEntropy
from nnunet_ext.losses.structure import StructureLoss
from nnunet_ext.trainers.suffixes import typed_otherwise
from nnunet_ext.trainers.training_loss import Weighted

LOSSNET_WEIGHT = 0.1  # of the authors' train.py; equation (4) of the paper has none


def structure_loss(trainer: Any) -> nn.Module:
    """Build weighted cross-entropy + weighted IoU for a dataset's labels or regions."""
    return _structure_loss(trainer, as_coded=False)


def structure_loss_as_coded(trainer: Any) -> nn.Module:
    """Build plain cross-entropy + weighted IoU, which is what the public code of the structure loss computes."""
    return _structure_loss(trainer, as_coded=True)


STRUCTURE_LOSSES = (structure_loss, structure_loss_as_coded)


def _structure_loss(trainer: Any, as_coded: bool) -> nn.Module:
    labels, configuration = trainer.label_manager, trainer.configuration_manager
    return StructureLoss(
        labels.has_regions,
        labels.ignore_label,
        as_coded=as_coded,
        patch_size=configuration.patch_size,
        spacing=configuration.spacing,
    )


def focal_dice(trainer: Any) -> nn.Module:
    """Build focal + Dice loss, as the two-stage paper trains, for a dataset's labels or regions."""
    return FocalDiceLoss(trainer.label_manager.has_regions, trainer.label_manager.ignore_label)


def ohem(trainer: Any) -> nn.Module:
    """Build cross-entropy of the hardest pixels, as the OVeNet paper trains; of labels, not of regions."""
    return OhemCrossEntropy(trainer.label_manager.ignore_label)


def lossnet(trainer: Any) -> nn.Module:
    """Build 0.1 x LossNet, on maps of at most 224 pixels a side: larger ones are resized to it, smaller ones are not.

    Raises:
        WeightsError: if VGG-16's weights cannot be had.
    """
    return _lossnet(trainer, "shrink")


def lossnet_at_224(trainer: Any) -> nn.Module:
    """Build 0.1 x LossNet as the paper has it, on maps of 224 x 224 pixels.

    Raises:
        WeightsError: if VGG-16's weights cannot be had.
    """
    return _lossnet(trainer, 224)


def _lossnet(trainer: Any, size: int | Literal["shrink"]) -> nn.Module:
    """Build it beside the network: not in its state dict, the optimiser or DistributedDataParallel."""
    instead = typed_otherwise(type(trainer), add="noLossNet", drop="LossNet")
    if trainer.continues:
        instead = f"this training was begun with them; begin another one with {instead}"
    if trainer.is_ddp and trainer.local_rank != 0:
        dist.barrier()  # the first process downloads
    features = vgg16_features(instead)
    if trainer.is_ddp and trainer.local_rank == 0:
        dist.barrier()
    labels, spacing = trainer.label_manager, trainer.configuration_manager.spacing
    loss = LossNetLoss(LossNet(features, size), labels.has_regions, labels.ignore_label, spacing=spacing)
    return Weighted(loss.to(trainer.device), LOSSNET_WEIGHT)
