"""How the M2SNet paper trains.

M2SNet (X. Zhao et al., arXiv 2303.10894), Section 4.3, and the authors' train.py where the text leaves it open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from nnunet_ext.trainers.augmentation import flips_and_small_turns
from nnunet_ext.trainers.method_losses import lossnet, lossnet_at_224, structure_loss
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.schedules import EpochSchedule


def sgd(parameters: Iterable[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Build SGD with Nesterov momentum 0.9; groups of parameters keep their own learning rates."""
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=0.9, nesterov=True)


class Triangle(EpochSchedule):
    """Learning rate up and down in straight lines: lr(e) = max (1 - |2 (e + 1) / (E + 1) - 1|), e from 0 to E - 1.

    Args:
        optimizer: each group's learning rate is its own maximum.
        lr: not used; the recipe gives it to every schedule.
        num_epochs: E.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lr: float, num_epochs: int) -> None:
        super().__init__(optimizer, lambda e: max(0.0, 1 - abs(2 * (e + 1) / (num_epochs + 1) - 1)))


# nnU-Net's own training, with the loss that the method adds: equation (4) with nnU-Net's Dice + cross-entropy in the
# place of the structure loss, so that the decoder's effect and the losses' can be told apart.
RECIPE = Recipe(added_loss=lossnet)

# Section 4.3. From train.py: Nesterov, weight decay, the triangle, 0.1 x LossNet, one size of 224, 256, 288, 320 and
# 352 a batch (here: of the patch, in the same ratios), rotation by up to 10 degrees at every image, horizontal flips.
# 50 epochs of 91 iterations are the paper's polyp run (1,450 images, batch 16); epochs and iterations of the other
# tasks are given by suffixes.
PAPER_RECIPE = Recipe(
    optimizer=sgd,
    initial_lr=0.05,
    weight_decay=5e-4,
    schedule=Triangle,
    num_epochs=50,
    num_iterations_per_epoch=91,
    num_val_iterations_per_epoch=18,
    loss=structure_loss,
    added_loss=lossnet_at_224,
    augmentation=flips_and_small_turns,
    mirror_axes=(-1,),
    scales=(224 / 352, 256 / 352, 288 / 352, 320 / 352, 1),
    one_scale_a_batch=True,
)

# 0.005 for the pretrained backbone, 0.05 for the rest. (train.py means to, but looks for parameters of another name,
# and so gives 0.05 to all. So do we where the encoder is not a pretrained one.)
PAPER_RECIPE_PRETRAINED = replace(PAPER_RECIPE, encoder_lr_factor=0.1)
