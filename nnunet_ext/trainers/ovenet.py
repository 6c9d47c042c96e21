"""How the OVeNet paper trains.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 4.1, and
the authors' configuration for Cityscapes where the text leaves it open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from nnunet_ext.trainers.augmentation import flips_and_scales
from nnunet_ext.trainers.method_losses import ohem
from nnunet_ext.trainers.offset_vectors import OffsetLoss, OffsetRecipe
from nnunet_ext.trainers.recipe import Recipe


def sgd(parameters: Iterable[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Build SGD with momentum 0.9, without Nesterov's."""
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=0.9)


# Learning rate 0.01, momentum 0.9, weight decay 5e-4, polynomial decay 0.9 (nnU-Net's own; the authors' decays at every
# iteration, ours at every epoch), 484 epochs, scales 0.5 to 2, horizontal flips, online hard examples. 371 iterations
# an epoch are Cityscapes' 2,975 images in the code's batches of 8; give another dataset's with `_<N>iters`. Padding has
# no label: it is ignored where the dataset has an ignore label.
BASELINE_RECIPE = Recipe(
    optimizer=sgd,
    initial_lr=0.01,
    weight_decay=5e-4,
    num_epochs=484,
    num_iterations_per_epoch=371,
    num_val_iterations_per_epoch=62,
    loss=ohem,
    needs_labels=True,
    augmentation=flips_and_scales,
    mirror_axes=(-1,),
    margin=2.0,
    padding_is_ignored=True,
)

# Equations (5) and (7): the terms are added as they are, so that the whole is about twice the baseline's loss.
PAPER_RECIPE = OffsetRecipe(**vars(BASELINE_RECIPE), offset_loss=OffsetLoss(normalise=False))
