"""Training of HRNet, HRNet with object-contextual representations, and OVeNet on both.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 4.
"""

from __future__ import annotations

from os.path import join
from typing import Any, ClassVar

from torch import nn

from nnunet_ext.losses.auxiliary import AuxiliaryLoss
from nnunet_ext.losses.ohem import OhemCrossEntropy
from nnunet_ext.trainers import ovenet
from nnunet_ext.trainers.offset_vectors import OffsetVectorTrainer
from nnunet_ext.trainers.pretrained import PretrainedEncoderTrainer
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.training_loss import CheckedLoss, of_one_scale


class HRNetTrainer(PretrainedEncoderTrainer):
    """Trainer of HRNet, with or without OCR; it begins at ImageNet weights."""

    paper_recipe: ClassVar[Recipe | None] = ovenet.BASELINE_RECIPE

    def _build_method_loss(self, plain: CheckedLoss) -> nn.Module | None:
        auxiliary = self._auxiliary_loss(plain)
        return None if auxiliary is None else AuxiliaryLoss(plain, auxiliary)

    def _auxiliary_loss(self, plain: CheckedLoss) -> nn.Module | None:
        """Return the loss of OCR's auxiliary logits: the final ones', but of all pixels where those are hard ones."""
        if not getattr(self.spec, "ocr", False):
            return None
        single = of_one_scale(plain)
        if not isinstance(single.loss, OhemCrossEntropy):
            return single
        # all pixels are hard at threshold 1; nnU-Net's cross-entropy of a batch that is ignored as a whole is NaN
        return OhemCrossEntropy(self.label_manager.ignore_label, threshold=1.0, min_kept=0)


class OVeNetHRNetTrainer(OffsetVectorTrainer, HRNetTrainer):
    """Trainer of OVeNet on HRNet; the offset branch begins at the ImageNet weights of the stages that it copies."""

    paper_recipe: ClassVar[Recipe | None] = ovenet.PAPER_RECIPE
    _auxiliary_loss = HRNetTrainer._auxiliary_loss  # not that of `OffsetVectorTrainer`, which comes first and has none


class FrozenTrainer(OVeNetHRNetTrainer):
    """Trainer of the offset branch alone, on a finished HRNet that `-pretrained_weights` gives (Table 5, "Fr")."""

    def describe_method(self) -> dict[str, Any]:
        """Return how many parameters are trained, too."""
        trained = sum(p.numel() for p in self.unwrapped_network.parameters() if p.requires_grad)
        return super().describe_method() | {"trained_parameters": trained}

    def on_train_start(self) -> None:
        """Start as the others do.

        Raises:
            RuntimeError: if no finished network was given; what is frozen would stay what it is.
        """
        if not self.continues and not any(k.startswith(("last_layer", "cls_head")) for k in self._taken):
            own = type(self).__name__
            base = own.replace("OVeNet_", "").replace("_Frozen", "")
            checkpoint = join(self.output_folder.replace(own, base), "checkpoint_final.pth")
            training = f"{self.plans_manager.dataset_name} {self.configuration_name} {self.fold}"
            raise RuntimeError(
                f"{own} trains the offset branch alone, on a finished {base}, and none was given. Train that one "
                f"first; then type: nnUNetv2_train {training} -tr {own} -pretrained_weights {checkpoint}"
            )
        super().on_train_start()
