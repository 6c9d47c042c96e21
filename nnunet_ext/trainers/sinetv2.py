"""Training of SINetV2, with and without instructive feature enhancement.

Concealed Object Detection (D.-P. Fan et al., TPAMI 2022): each of the network's four outputs has the
loss, whatever that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nnunet_ext.losses.summed_outputs import SummedOutputsLoss
from nnunet_ext.trainers.ife import PAPER_RECIPE_64
from nnunet_ext.trainers.pretrained import PretrainedEncoderTrainer
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.training_loss import CheckedLoss


@dataclass(frozen=True)
class SummedRecipe(Recipe):
    """A recipe that says how the losses of several outputs are put together.

    Attributes:
        normalise: their mean, so that learning rate and clipping of gradients mean what they do for a network of one
            output; not their sum, which the paper has and which trains with SGD as with four times the learning rate.
    """

    normalise: bool = True


PAPER_RECIPE = SummedRecipe(**vars(PAPER_RECIPE_64), normalise=False)  # IFE's, of the sum


class SINetV2Trainer(PretrainedEncoderTrainer):
    """Trainer of SINetV2; it begins at ImageNet weights. The recipe's loss, or nnU-Net's, is that of each output."""

    recipe: ClassVar[Recipe] = SummedRecipe()
    paper_recipe: ClassVar[Recipe | None] = PAPER_RECIPE

    def _build_method_loss(self, plain: CheckedLoss) -> nn.Module:
        normalise = self.recipe.normalise if isinstance(self.recipe, SummedRecipe) else True
        return SummedOutputsLoss(plain, normalise)
