"""Training with dense slice supervision and slice selection.

Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), Section III-A and Table V.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from os.path import join
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host  # noqa: N813  (the module)
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from nnunet_ext.architectures.lifting.slice_selection import SliceSelection
from nnunet_ext.inference.table import FILE_NAME
from nnunet_ext.inference.validation import scored_validation
from nnunet_ext.losses.slicewise import SlicewiseLoss
from nnunet_ext.trainers.augmentation import flips_and_quarter_turns
from nnunet_ext.trainers.base import nnUNetTrainerExt
from nnunet_ext.trainers.method_losses import structure_loss
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.training_loss import CheckedLoss
from nnunet_ext.trainers.two_stage import is_second_stage


def adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Build AdamW with torch's default betas."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def warm_restarts(optimizer: torch.optim.Optimizer, lr: float, num_epochs: int) -> Any:
    """Build cosine annealing in four cycles, down to 1e-6; the paper does not state the period.

    Of the paper's 40 epochs, each cycle has 10. The last cycle ends with the training also where `num_epochs` is
    another multiple of 4, so that the slices are selected at a low learning rate.
    """
    return CosineAnnealingWarmRestarts(optimizer, T_0=max(1, math.ceil(num_epochs / 4)), T_mult=1, eta_min=1e-6)


def clip_values(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Clamp each element of the gradients to +-limit."""
    torch.nn.utils.clip_grad_value_(parameters, limit)


# Table V: AdamW, 1e-3, cosine annealing with warm restarts, clip 0.5, weighted BCE + weighted IoU, 40 epochs,
# scales 0.75, 1 and 1.25. Not stated there, chosen: weight decay 1e-4, restart period, flips and quarter turns.
PAPER_RECIPE = Recipe(
    optimizer=adamw,
    initial_lr=1e-3,
    weight_decay=1e-4,
    schedule=warm_restarts,
    num_epochs=40,
    loss=structure_loss,
    augmentation=flips_and_quarter_turns,
    clip_gradients=partial(clip_values, limit=0.5),
    scales=(0.75, 1.0, 1.25),
)


class SpatialLiftingTrainer(nnUNetTrainerExt):
    """Trainer of networks whose `TrainingOutput.logits` are slices and that have a `selection`.

    Every epoch ends with the slices' mean training losses and the selection in the network's buffers, so that each
    checkpoint predicts with the slices that were best in its own epoch; the last epoch's are the paper's.
    """

    paper_recipe: ClassVar[Recipe | None] = PAPER_RECIPE

    def initialize(self) -> None:
        """Initialise as nnU-Net does, and tell the selection how outputs become probabilities."""
        super().initialize()
        self._selection.set_sigmoid(self.label_manager.has_regions)

    @property
    def _selection(self) -> SliceSelection:
        selection = self.unwrapped_network.selection
        assert isinstance(selection, SliceSelection)
        return selection

    def _build_method_loss(self, plain: CheckedLoss) -> nn.Module:
        inner = super()._build_method_loss(plain)  # of a head that needs more than class scores
        return SlicewiseLoss(plain if inner is None else inner)

    def _finest_logits(self, logits: Any) -> Tensor:
        """Draw one slice: on average, its loss is the mean over slices. Slices are not judged by it."""
        return logits[:, :, int(torch.randint(logits.shape[2], ()))]

    def _at_own_scale(self, own: bool) -> None:
        """Slices are judged at the plan's own patch size only."""
        self.loss.method.recording = own

    def describe_method(self) -> dict[str, Any]:
        """Return depth, number and rule of the selection, and the slices that are selected now."""
        selection = self._selection
        return {
            "depth": len(selection.mean_loss),
            "n_selected": len(selection.selected),
            "selection_rule": "lowest mean training loss of the last finished epoch, at the plan's patch size",
            "selected": selection.selected.tolist(),
            "mean_loss": [round(v, 6) if math.isfinite(v) else None for v in selection.mean_loss.tolist()],
        }

    def on_train_start(self) -> None:
        """Start as nnU-Net does; weights taken with `-pretrained_weights` do not decide how outputs are read."""
        super().on_train_start()
        self._selection.set_sigmoid(self.label_manager.has_regions)

    def on_train_epoch_start(self) -> None:
        """Start as nnU-Net does; forget the previous epoch's slice losses."""
        super().on_train_epoch_start()
        self.loss.method.reset()

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log as nnU-Net does; select the slices with the lowest mean loss of this epoch, over all processes."""
        super().on_train_epoch_end(train_outputs)
        statistics = self.loss.method.statistics()
        if statistics is None:
            return
        if self.is_ddp:
            statistics = statistics.to(self.device)
            dist.all_reduce(statistics)
        self._selection.update(statistics[:-1] / statistics[-1])
        self.print_to_log_file("selected slices", self._selection.selected.tolist())

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does, and write each case's quality score to `validation/quality.csv`.

        A second stage sees parts of an image, of which there are no scores.
        """
        if is_second_stage(self):
            Path(self.output_folder, "validation", FILE_NAME).unlink(missing_ok=True)  # of an earlier validation
            self.print_to_log_file(f"no {FILE_NAME}: the second of two stages sees parts of an image")
            super().perform_actual_validation(save_probabilities)
            return
        cases = self.do_split()[1]
        rank, world = (self.local_rank, dist.get_world_size()) if self.is_ddp else (0, 1)
        folder = join(self.output_folder, "validation")
        with scored_validation(host, folder, cases, rank, world, self.print_to_log_file):
            super().perform_actual_validation(save_probabilities)
