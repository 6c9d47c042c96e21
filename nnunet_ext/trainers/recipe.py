"""Recipe: how a network is trained, as one frozen value. None everywhere means: as nnU-Net does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
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
        optimizer: `(parameters or groups of them, learning_rate, weight_decay) -> torch.optim.Optimizer`.
        initial_lr: learning rate.
        weight_decay: L2 (SGD) or decoupled (AdamW).
        schedule: `(optimizer, learning_rate, num_epochs) -> scheduler`; `step(epoch)` is called at each epoch's start,
            so a resumed training is at the right place.
        num_epochs: epochs.
        num_iterations_per_epoch: training iterations an epoch.
        num_val_iterations_per_epoch: validation iterations an epoch.
        encoder_lr_factor: times the learning rate is that of the parameters of `network.encoder`. nnU-Net logs that of
            the others. Needs a schedule that keeps the ratio (nnU-Net's does not).
        needs_labels: the loss needs one class a voxel: region-based datasets are refused before anything is made.
        loss: `(trainer) -> module(logits (B, K, *S), target)`, one scale; deep supervision is added around it. The
            trainer is given for its `label_manager`, `configuration_manager` and `device`.
        loss_factor: times the loss (nnU-Net's or `loss`) is trained with; the added loss is not multiplied.
        added_loss: `(trainer) -> module(logits (B, K, *S), target)`, added to the loss, at the finest scale.
        augmentation: same signature as `nnUNetTrainer.get_training_transforms`.
        margin: augmentation is given a region of this multiple of the patch, at least, or of what this function makes
            of the patch's size (dims,); nnU-Net's own suffices for its own scales and small rotations. Not along the
            first axis where slices are augmented one by one.
        padding_is_ignored: voxels outside of the image, and those that nnU-Net's crop to nonzero marks as empty, get
            the ignore label, where the dataset has one, and not that of class 0.
        mirror_axes: spatial axes (-1 is the last) that are mirrored, in training and in test-time augmentation.
        clip_gradients: `(parameters) -> None`, applied before each optimiser step, after nnU-Net's clipping to norm 12
            (which cannot be left out without copying nnU-Net's training step).
        scales: sizes of the patch, as multiples of the plan's, at which each batch is trained, one optimiser step each
            (`trainers/multi_scale.py`); 1 is among them.
        one_scale_a_batch: one of `scales`, drawn at random, for each batch, in the place of all.
    """

    optimizer: Callable[[Iterable[Any], float, float], Optimizer] | None = None
    initial_lr: float | None = None
    weight_decay: float | None = None
    schedule: Callable[[Optimizer, float, int], Any] | None = None
    num_epochs: int | None = None
    num_iterations_per_epoch: int | None = None
    num_val_iterations_per_epoch: int | None = None
    encoder_lr_factor: float | None = None
    needs_labels: bool | None = None
    loss: Callable[[Any], nn.Module] | None = None
    loss_factor: float | None = None
    added_loss: Callable[[Any], nn.Module] | None = None
    augmentation: Callable[..., Any] | None = None
    margin: float | Callable[[Sequence[int]], Sequence[int]] | None = None
    padding_is_ignored: bool | None = None
    mirror_axes: tuple[int, ...] | None = None
    clip_gradients: Callable[[list[nn.Parameter]], Any] | None = None
    scales: tuple[float, ...] | None = None
    one_scale_a_batch: bool | None = None

    def __post_init__(self) -> None:
        if self.encoder_lr_factor is not None and (self.schedule is None or self.optimizer is None):
            raise ValueError(
                f"encoder_lr_factor={self.encoder_lr_factor} needs an optimizer and a schedule in the recipe: "
                "nnU-Net's own schedule gives all parameters the same learning rate."
            )
        if self.scales is not None and 1 not in self.scales:
            raise ValueError(f"scales={self.scales} lack 1, the plan's own patch size. E.g. scales=(0.75, 1.0, 1.25)")

    def describe(self) -> dict[str, Any]:
        """Return the fields that differ from nnU-Net's own, as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: _described(v) for k, v in values.items() if v is not None}


def _described(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return describe_part(value) if callable(value) else value


def encoder_and_rest(network: nn.Module, lr: float, factor: float) -> list[dict[str, Any]]:
    """Return a network's parameters in two groups with learning rates of their own, the encoder's last.

    Args:
        network: has a submodule `encoder`.
        lr: learning rate of the other parameters.
        factor: times `lr` is that of the encoder's.
    """
    encoder = list(network.get_submodule("encoder").parameters())
    of_encoder = {id(p) for p in encoder}
    rest = [p for p in network.parameters() if id(p) not in of_encoder]
    return [{"params": rest, "lr": lr}, {"params": encoder, "lr": lr * factor}]
