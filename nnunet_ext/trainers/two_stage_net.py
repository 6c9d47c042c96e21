"""Training of the two-stage paper's networks: both stages as one network, and the U-Net alone.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 4, and the authors' code where the text leaves it open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_ext.cascade.hosted import TwoStageNet, TwoStageNetSpec, enlarged_size
from nnunet_ext.cascade.hosted_loss import HostedLoss, shrink_labels, shrink_regions
from nnunet_ext.trainers.augmentation import without_chance
from nnunet_ext.trainers.augmentation_ife import BrightnessAndContrast, ButNotPadding, room_to_turn
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.ife import adam
from nnunet_ext.trainers.method_losses import focal_dice
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.schedules import EpochSchedule
from nnunet_ext.trainers.suffixes import typed_otherwise
from nnunet_ext.trainers.training_loss import CheckedLoss


@dataclass(frozen=True)
class TwoStageRecipe(Recipe):
    """A recipe with what the two-stage paper does beyond it.

    Attributes:
        enlarged_coarse: train the coarse network as the authors do, on boxes of 1/8 of the image cut from 1/8 + 1/20
            of it: objects are then 1.4 times as large as when it is tested. Without, at the scale that is tested.
        mirror_at_test: predict with mirroring, too, as nnU-Net does.
    """

    enlarged_coarse: bool = False
    mirror_at_test: bool = True


class Constant(EpochSchedule):
    """The learning rate as it is.

    Args:
        optimizer: keeps its own.
        lr, num_epochs: not used; the recipe gives them to every schedule.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lr: float, num_epochs: int) -> None:
        super().__init__(optimizer, lambda epoch: 1.0)


def flips_contrast_and_whole_turns(patch_size: Any, *args: Any, **kwargs: Any) -> BasicTransform:
    """Flips along the mirror axes, brightness and contrast, and turns by any angle, each by chance (1/2).

    Brightness changes by up to 0.1 of a channel's range in the patch, contrast by a factor of 0.9 to 1.1.

    Args:
        patch_size: (2,) pixels.
        args, kwargs: as for `nnUNetTrainer.get_training_transforms`, whose steps for labels, regions, masks and
            cascades are kept.
    """
    pipeline = nnUNetTrainer.get_training_transforms(patch_size, *args, **kwargs)
    kept: list[BasicTransform] = []
    for transform in without_chance(pipeline):
        kept.append(transform)
        if isinstance(transform, SpatialTransform):
            transform.p_rotation, transform.rotation = 0.5, (-math.pi, math.pi)
            kept.append(RandomTransform(ButNotPadding(BrightnessAndContrast(limit=0.1)), 0.5))
    pipeline.transforms = kept
    return pipeline


# From the paper: Adam, 1e-4, focal + Dice, flips, brightness and contrast of +-0.1, turns by any angle (of its medical
# data; here of all), each with probability 1/2. From the code: no weight decay, no schedule, horizontal flips, and none
# when it predicts.
#
# Its baseline and its coarse network have 200 epochs, its fine one 1000; here both networks learn at once, for 200, so
# that stages and baseline take the same number of steps. 77 iterations are an epoch of its largest dataset (BDD100K,
# 4,900 training images in batches of 64); of its others they are 1 to 8. Another number is given with `_<N>iters`, and
# more epochs with `_<N>epochs`. Batches are the plan's.
#
# Where we differ: images are nnU-Net's, normalised, and turned before they change in brightness (the authors' are 0 to
# 255, which the library that they name cuts off at 1: half of them become blank). What is turned in from outside is
# the image's own surroundings, or nnU-Net's padding, which is 0; theirs is a reflection.
PAPER_RECIPE = TwoStageRecipe(
    optimizer=adam,
    initial_lr=1e-4,
    weight_decay=0.0,
    schedule=Constant,
    num_epochs=200,
    num_iterations_per_epoch=77,
    num_val_iterations_per_epoch=15,
    loss=focal_dice,
    augmentation=flips_contrast_and_whole_turns,
    margin=room_to_turn,
    mirror_axes=(-1,),
    enlarged_coarse=True,
    mirror_at_test=False,
)
BASELINE_RECIPE = replace(PAPER_RECIPE, enlarged_coarse=False)


class TwoStageUNetTrainer(nnUNetTrainerExt):
    """Trainer of the paper's U-Net alone. It may train with mirroring and predict without."""

    paper_recipe: ClassVar[Recipe | None] = BASELINE_RECIPE

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """Decide as the base trainer does; the recipe may leave mirroring to the training."""
        decided = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if isinstance(self.recipe, TwoStageRecipe) and not self.recipe.mirror_at_test:
            self.inference_allowed_mirroring_axes: Any = None  # nnU-Net's own way to say so
        return decided


class TwoStageNetTrainer(TwoStageUNetTrainer):
    """Trainer of a `TwoStageNet`: both of its networks at once, each with the whole loss."""

    recipe: ClassVar[Recipe] = TwoStageRecipe()
    paper_recipe: ClassVar[Recipe | None] = PAPER_RECIPE

    @classmethod
    def _refuse_early(cls, plans: dict, configuration: str, dataset_json: dict) -> None:
        super()._refuse_early(plans, configuration, dataset_json)
        if cls.recipe.added_loss is not None:
            raise ValueError(
                f"{cls.__name__} adds a loss of whole maps (LossNet), and its two networks are trained on parts of "
                f"images at different scales. Type: {typed_otherwise(cls, drop='LossNet')}"
            )

    @property
    def _two_stages(self) -> TwoStageNet:
        network = self.unwrapped_network
        assert isinstance(network, TwoStageNet)
        return network

    def initialize(self) -> None:
        """Initialise as nnU-Net does, and tell the network how its outputs become probabilities and how it trains."""
        super().initialize()
        self._two_stages.set_sigmoid(self.label_manager.has_regions)
        self._two_stages.enlarged = isinstance(self.recipe, TwoStageRecipe) and self.recipe.enlarged_coarse

    def on_train_start(self) -> None:
        """Start as nnU-Net does; weights taken with `-pretrained_weights` do not decide how outputs are read."""
        super().on_train_start()
        self._two_stages.set_sigmoid(self.label_manager.has_regions)

    def describe_method(self) -> dict[str, Any]:
        """Return Np, the share of an image that is refined, and how much smaller the coarse network's images are."""
        spec = self.spec
        assert isinstance(spec, TwoStageNetSpec)
        return {"np": spec.grid, "budget": 1 / spec.grid, "factor": spec.factor}

    def _build_method_loss(self, plain: CheckedLoss) -> nn.Module:
        labels, network = self.label_manager, self.spec
        assert isinstance(network, TwoStageNetSpec)
        shrunk: Any = partial(shrink_labels, labels=labels.num_segmentation_heads, ignore_label=labels.ignore_label)
        if labels.has_regions:
            shrunk = partial(shrink_regions, ignore=labels.has_ignore_label)
        return HostedLoss(plain, shrunk, partial(enlarged_size, factor=network.factor))
