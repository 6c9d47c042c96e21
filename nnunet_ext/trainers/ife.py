"""How the IFE paper trains.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023), "Implementation Details", and the authors' code where the text leaves it open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from nnunet_ext.trainers.augmentation_ife import contrast_flips_and_turns, room_to_turn
from nnunet_ext.trainers.method_losses import structure_loss_as_coded
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.schedules import EpochSchedule


def adam(parameters: Iterable[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Build Adam with torch's default betas; weight decay is L2."""
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)


class TenthInSecondHalf(EpochSchedule):
    """The whole learning rate in the first half of the epochs, a tenth in the second: lr(e) = 0.1^floor(2 e / E) max.

    Of the paper's 100 epochs that is a tenth each 50. Of another number it stays the half: a training of 10 epochs
    would else never come to the lower rate. Of an odd number, the middle epoch belongs to the first half.

    Where we differ: the authors' code counts from 1, so that it lowers the rate one epoch earlier, and once more for
    epoch 100 alone.

    Args:
        optimizer: each group's learning rate is its own maximum.
        lr: not used; the recipe gives it to every schedule.
        num_epochs: E.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lr: float, num_epochs: int) -> None:
        super().__init__(optimizer, lambda e: 0.1 ** (2 * e // num_epochs))


def clip_norm(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Shrink the gradients, all by the same factor, to a norm of at most `limit` over all parameters."""
    torch.nn.utils.clip_grad_norm_(parameters, limit)


# From the paper: Adam, 1e-4, a tenth each 50 of 100 epochs, one of six sizes for each batch (it says seven, and lists
# six), tested at 224. From the code: no weight decay, clip 1, the structure loss as it is widely copied, augmentation.
#
# The paper's images are resized: to 224 to be tested, to 224 to 384 to be trained. nnU-Net cuts patches out of images
# of their own size. The plan's patch, at which it also predicts, is here what 224 is there, and batches are enlarged up
# to 384 / 224 of it. That is up to 2.9 times the pixels (5 times the voxels of a volume), and about as much more memory
# than nnU-Net has planned for. Where it is too much, plan for less: `nnUNetv2_plan_experiment -gpu_memory_target`.
# Sizes are rounded to what the network takes without padding: there are fewer than six where two become the same.
#
# 986 iterations are an epoch of the paper's UNet: 31,548 training images in batches of 32; 184 are its 5,884 of
# validation. nnU-Net's batches are the plan's; another number is given with `_<N>iters`.
PAPER_RECIPE = Recipe(
    optimizer=adam,
    initial_lr=1e-4,
    weight_decay=0.0,
    schedule=TenthInSecondHalf,
    num_epochs=100,
    num_iterations_per_epoch=986,
    num_val_iterations_per_epoch=184,
    loss=structure_loss_as_coded,
    augmentation=contrast_flips_and_turns,
    margin=room_to_turn,
    mirror_axes=(-2, -1),
    clip_gradients=partial(clip_norm, limit=1.0),
    scales=tuple(size / 224 for size in (224, 256, 288, 320, 352, 384)),
    one_scale_a_batch=True,
)

# DeepLabV3+ and SINetV2: batches of 64.
PAPER_RECIPE_64 = replace(PAPER_RECIPE, num_iterations_per_epoch=493, num_val_iterations_per_epoch=92)
