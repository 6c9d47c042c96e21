"""Recipe: how a network is trained, as one frozen value. None everywhere means: as nnU-Net does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from torch import nn
from torch.optim import Optimizer

from nnunet_ext.architectures.network import describe_part


@dataclass(frozen=True)
class Recipe:
    """What a trainer changes of nnU-Net's training. A field that is None leaves nnU-Net's own.

    nnU-Net's own (2.8): SGD, Nesterov momentum 0.99, learning rate 0.01, weight decay 3e-5, polynomial decay 0.9,
    1000 epochs of 250 training and 50 validation iterations, Dice + cross-entropy, gradients clipped to norm 12.

    Attributes:
        optimizer: `(parameters, learning_rate, weight_decay) -> torch.optim.Optimizer`.
        initial_lr: learning rate.
        weight_decay: L2 (SGD) or decoupled (AdamW).
        schedule: `(optimizer, learning_rate, num_epochs) -> scheduler`; `step(epoch)` is called at each epoch's start,
            so a resumed training is at the right place.
        num_epochs: epochs.
        num_iterations_per_epoch: training iterations an epoch.
        num_val_iterations_per_epoch: validation iterations an epoch.
        loss: `(label_manager) -> module(logits (B, K, *S), target)`, one scale; deep supervision is added around it.
        augmentation: same signature as `nnUNetTrainer.get_training_transforms`.
        clip_gradients: `(parameters) -> None`, applied before each optimiser step, after nnU-Net's clipping to norm 12
            (which cannot be left out without copying nnU-Net's training step).
        scales: sizes of the patch, as multiples of the plan's, at which each batch is trained, one optimiser step each
            (`trainers/multi_scale.py`); 1 is among them.
    """

    optimizer: Callable[[Iterable[nn.Parameter], float, float], Optimizer] | None = None
    initial_lr: float | None = None
    weight_decay: float | None = None
    schedule: Callable[[Optimizer, float, int], Any] | None = None
    num_epochs: int | None = None
    num_iterations_per_epoch: int | None = None
    num_val_iterations_per_epoch: int | None = None
    loss: Callable[[Any], nn.Module] | None = None
    augmentation: Callable[..., Any] | None = None
    clip_gradients: Callable[[list[nn.Parameter]], Any] | None = None
    scales: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.scales is not None and 1 not in self.scales:
            raise ValueError(f"scales={self.scales} lack 1, the plan's own patch size. E.g. scales=(0.75, 1.0, 1.25)")

    def describe(self) -> dict[str, Any]:
        """Return the fields that differ from nnU-Net's own, as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: describe_part(v) if callable(v) else v for k, v in values.items() if v is not None}
