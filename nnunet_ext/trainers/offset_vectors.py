"""Training of networks with offset vectors.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), equations (5) to
(7), around whatever loss a trainer has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_ext.losses.offset_confidence import OffsetConfidenceLoss
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.training_loss import CheckedLoss, of_one_scale


@dataclass(frozen=True)
class OffsetLoss:
    """Weights of the terms beside the fused class map's loss; see `OffsetConfidenceLoss`.

    Attributes:
        seed_weight: kappa in equation (5).
        initial_weight: lambda in equation (5).
        confidence_weight: of equation (6), 1 in equation (7).
        normalise: divide equation (5) by 1 + kappa + lambda, so that it is as large as the loss of a network without
            offsets. Without, it trains as with twice the learning rate, which alone may be a gain
            (`nnUNetTrainerLossScaled`).
        authors: the confidence loss as the authors' code sums it.
    """

    seed_weight: float = 0.5
    initial_weight: float = 0.5
    confidence_weight: float = 1.0
    normalise: bool = True
    authors: bool = False


@dataclass(frozen=True)
class OffsetRecipe(Recipe):
    """A recipe with the weights of the offset vectors' loss.

    Attributes:
        offset_loss: the weights.
    """

    offset_loss: OffsetLoss = OffsetLoss()


class OffsetVectorTrainer(nnUNetTrainerExt):
    """Trainer of networks whose `TrainingOutput` has `initial`, `seed`, `confidence` and `offsets` beside the logits.

    Other weights of the loss are two lines: `recipe = OffsetRecipe(offset_loss=OffsetLoss(normalise=False))`.
    """

    recipe: ClassVar[Recipe] = OffsetRecipe()

    @classmethod
    def _refuse_early(cls, plans: dict, configuration: str, dataset_json: dict) -> None:
        super()._refuse_early(plans, configuration, dataset_json)
        labels = PlansManager(plans).get_label_manager(dataset_json)
        if not labels.has_regions and labels.num_segmentation_heads < 2:
            raise ValueError(
                f"{cls.__name__} chooses between classes by looking at other pixels; dataset.json has "
                f'{dataset_json["labels"]}, which is one class. Add the label of a structure to "labels".'
            )
        fuse = getattr(getattr(cls.spec, "head", cls.spec), "fuse", "logits")
        if fuse != "logits" and (fuse == "sigmoid") != labels.has_regions:
            kind, right = ("regions", "sigmoid") if labels.has_regions else ("labels", "softmax")
            raise ValueError(
                f'{cls.__name__} fuses probabilities as fuse="{fuse}", but the dataset has {kind}. Set fuse="{right}", '
                'or leave it at "logits".'
            )

    def _build_method_loss(self, plain: CheckedLoss) -> nn.Module:
        weights = self.recipe.offset_loss if isinstance(self.recipe, OffsetRecipe) else OffsetLoss()
        return OffsetConfidenceLoss(
            of_one_scale(plain),
            plain if self.enable_deep_supervision else None,
            regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            auxiliary=self._auxiliary_loss(plain),
            **vars(weights),
        )

    def _auxiliary_loss(self, plain: CheckedLoss) -> nn.Module | None:
        """Return the loss of a network's auxiliary logits; None if it has none."""
        return None
