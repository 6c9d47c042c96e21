"""nnUNetTrainerExt: the one place that knows nnU-Net's hooks.

A method is a subclass with a `spec` (what network) and a `recipe` (how it is trained); where it needs more of the
network than class scores, its network returns a `TrainingOutput` in training mode and the trainer gives
`_build_method_loss` (docs/adr/0002-training-outputs.md). Every hook wraps nnU-Net's own through `super()`.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from os.path import isfile, join
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.crossval_split import generate_crossval_split
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext.architectures.network import NetworkSpec
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError
from nnunet_ext.trainers import checkpoints, manifest, multi_scale
from nnunet_ext.trainers.augmentation import ignoring_padding
from nnunet_ext.trainers.recipe import Recipe, encoder_and_rest
from nnunet_ext.trainers.taken_weights import tell_what_stays
from nnunet_ext.trainers.training_loss import CheckedLoss, TrainingLoss, Weighted, finest_scale
from nnunet_ext.trainers.two_stage import labels_of_previous_stage, look_for_coarse, selective_validation


def topology_of(configuration: ConfigurationManager) -> Topology:
    """Return the topology that a configuration of nnU-Net's plans describes."""
    architecture = {
        "network_class_name": configuration.network_arch_class_name,
        "arch_kwargs": configuration.network_arch_init_kwargs,
    }
    return Topology.from_plan(
        architecture, configuration.patch_size, configuration.normalization_schemes, configuration.spacing
    )


class nnUNetTrainerExt(nnUNetTrainer):
    """nnU-Net's trainer with a network from a `spec` and a training from a `recipe`.

    Class attributes (a variant is a subclass that sets them):
        spec: what network; None builds the plan's own as stock nnU-Net does.
        recipe: what of nnU-Net's training is changed.
        paper_recipe: the recipe of the suffix `_paper`; None if the method's paper gives none.

    Attributes:
        continues: a checkpoint is being or was loaded, so nothing that only a beginning needs is looked for.
    """

    spec: ClassVar[NetworkSpec | None] = None
    recipe: ClassVar[Recipe] = Recipe()
    paper_recipe: ClassVar[Recipe | None] = None
    continues = False
    _taken: Sequence[str] = ()  # names of the tensors that `-pretrained_weights` has given

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net reads this very signature)
    ) -> None:
        self._refuse_early(plans, configuration, dataset_json)
        super().__init__(plans, configuration, fold, dataset_json, device)
        previous = labels_of_previous_stage(self)
        if previous is not None:
            self.folder_with_segs_from_previous_stage = previous
        self._apply_recipe()

    # ---------------------------------------------------------------- before work starts

    @classmethod
    def _refuse_early(cls, plans: dict, configuration: str, dataset_json: dict) -> None:
        """Raise what can be known before nnU-Net makes a folder.

        Raises:
            RuntimeError: if nnUNet_results is not set.
            UnsupportedPlanError: if the network cannot be built for this configuration.
            ValueError: if the recipe cannot be trained on this dataset, or the network on batches of this size.
        """
        if not os.environ.get("nnUNet_results"):
            raise RuntimeError(
                "nnUNet_results is not set, so there is no place for the training. "
                "Type: export nnUNet_results=/a/folder   (`nnunet_ext doctor` checks all folders)"
            )
        labels = PlansManager(plans).get_label_manager(dataset_json)
        if cls.recipe.needs_labels and labels.has_regions:
            raise ValueError(
                f'{cls.__name__} trains with a loss that needs one class a voxel (OHEM), and "labels" in dataset.json '
                "has regions (lists). Train without _paper."
            )
        if cls.spec is not None:
            manager = PlansManager(plans).get_configuration(configuration)
            cls._check_plan(topology_of(manager), f"configuration {configuration!r}")
            if manager.batch_size < cls.spec.least_batch:
                raise ValueError(
                    f"{cls.__name__} normalises over the images of a batch and needs {cls.spec.least_batch} or more; "
                    f'configuration {configuration!r} has "batch_size": {manager.batch_size}. Set another in the plans '
                    "file, or plan with smaller patches."
                )

    @classmethod
    def _check_plan(cls, topology: Topology, where: str) -> None:
        if cls.spec is None:
            return
        try:
            cls.spec.check(topology)
        except UnsupportedPlanError as error:
            raise UnsupportedPlanError(f"{cls.__name__} cannot be built for {where}: {error}") from None

    def _apply_recipe(self) -> None:
        """Set what nnU-Net's `__init__` has just set to its own defaults."""
        recipe = self.recipe
        for name in ("initial_lr", "weight_decay", "num_epochs", "num_iterations_per_epoch"):
            if getattr(recipe, name) is not None:
                setattr(self, name, getattr(recipe, name))
        if recipe.num_val_iterations_per_epoch is not None:
            self.num_val_iterations_per_epoch = recipe.num_val_iterations_per_epoch
        if recipe.augmentation is not None:
            self.get_training_transforms = recipe.augmentation
        if recipe.padding_is_ignored:
            for name in ("get_training_transforms", "get_validation_transforms"):
                setattr(self, name, ignoring_padding(getattr(self, name), self.label_manager.ignore_label))
        # a short training keeps ten resumable checkpoints as a long one does (nnU-Net: every 50 of 1000 epochs)
        self.save_every: int = max(1, min(50, self.num_epochs // 10))
        if self.spec is not None and not self.spec.supports_deep_supervision:
            self.enable_deep_supervision = False
        elif len(self.configuration_manager.pool_op_kernel_sizes) < 3:
            # nnU-Net gives the coarsest output weight 0: with a single output, the loss would be 0 / 0
            self.enable_deep_supervision = False

    # ---------------------------------------------------------------- network

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network for training and for inference; nnU-Net calls it on the class.

        Raises:
            UnsupportedPlanError: if the spec cannot be built for this configuration.
        """
        if cls.spec is None:
            return nnUNetTrainer.build_network_architecture(
                plans_manager,
                configuration_manager,
                num_input_channels,
                num_output_channels,
                enable_deep_supervision,
            )
        topology = topology_of(configuration_manager)
        cls._check_plan(topology, f"patch_size {list(topology.patch_size)}")
        return cls.spec.build(topology, num_input_channels, num_output_channels, enable_deep_supervision)

    @classmethod
    def describe_network(cls) -> dict[str, str]:
        """Return the network's parts by slot."""
        return {"network": "the plan's own"} if cls.spec is None else cls.spec.describe()

    def describe_method(self) -> dict[str, Any]:
        """Return what the run's manifest says about the method beyond the network's parts, as JSON values."""
        return {}

    @property
    def unwrapped_network(self) -> nn.Module:
        """The network itself, without DistributedDataParallel and torch.compile around it."""
        network = self.network
        for wrapper, inside in ((DistributedDataParallel, "module"), (OptimizedModule, "_orig_mod")):
            network = getattr(network, inside) if isinstance(network, wrapper) else network
        return network

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Flip `network.decoder.deep_supervision` where there is one; nnU-Net calls it with True in any case."""
        decoder = getattr(self.unwrapped_network, "decoder", None)
        if decoder is not None:
            decoder.deep_supervision = enabled and self.enable_deep_supervision

    def initialize(self) -> None:
        """Initialise as nnU-Net does; from here on it is said what `-pretrained_weights` does not find."""
        super().initialize()
        self._taken = tell_what_stays(self.unwrapped_network, lambda line: self.print_to_log_file(line))

    # ---------------------------------------------------------------- recipe

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Build the recipe's optimiser and schedule, or nnU-Net's."""
        optimizer, schedule = super().configure_optimizers()
        recipe = self.recipe
        if recipe.optimizer is not None:
            parameters: Any = self.network.parameters()
            if recipe.encoder_lr_factor is not None:
                parameters = encoder_and_rest(self.unwrapped_network, self.initial_lr, recipe.encoder_lr_factor)
            optimizer = recipe.optimizer(parameters, self.initial_lr, self.weight_decay)
            schedule = type(schedule)(optimizer, self.initial_lr, self.num_epochs)
        if recipe.schedule is not None:
            schedule = recipe.schedule(optimizer, self.initial_lr, self.num_epochs)
        if recipe.clip_gradients is not None:
            clip, clipped = recipe.clip_gradients, list(self.network.parameters())

            def clip_before_step(*_: Any) -> None:
                clip(clipped)

            optimizer.register_step_pre_hook(clip_before_step)
        return optimizer, schedule

    def _build_loss(self) -> nn.Module:
        """Wrap nnU-Net's loss (or the recipe's, under nnU-Net's deep supervision) for the method's extra outputs."""
        plain = super()._build_loss()
        deep = self.enable_deep_supervision
        single = self.recipe.loss(self) if self.recipe.loss is not None else plain.loss if deep else plain
        if self.recipe.loss_factor is not None:
            single = Weighted(single, self.recipe.loss_factor)
        plain = DeepSupervisionWrapper(single, plain.weight_factors) if deep else single
        checked = CheckedLoss(plain, self.label_manager.num_segmentation_heads)
        loss = TrainingLoss(checked, self._build_method_loss(checked), self._finest_logits)
        if not self.continues:  # when validating a finished training, what the added loss needs is not asked for
            self._add_loss(loss)
        return loss

    def _add_loss(self, loss: TrainingLoss) -> None:
        if self.recipe.added_loss is not None and loss.added is None:
            loss.added = self.recipe.added_loss(self)

    def _finest_logits(self, logits: Tensor | list[Tensor]) -> Tensor:
        """Return what the added loss sees of the logits of this method's `TrainingOutput`s."""
        return finest_scale(logits)

    def _build_method_loss(self, plain: CheckedLoss) -> nn.Module | None:
        """Return the loss of this method's `TrainingOutput`s; None if its network returns none.

        Args:
            plain: nnU-Net's loss of logits, to be built upon.
        """
        return None

    # ---------------------------------------------------------------- data

    def do_split(self) -> tuple[list[str], list[str]]:
        """Split as nnU-Net does, but write a missing splits_final.json in one step, so that a kill cannot cut it."""
        if self.fold != "all":
            splits_file = join(self.preprocessed_dataset_folder_base, "splits_final.json")
            if not isfile(splits_file):
                self._write_splits(splits_file)
        return super().do_split()

    def _write_splits(self, splits_file: str) -> None:
        dataset_class: Any = self.dataset_class
        if dataset_class is None:
            from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

            dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        cases = sorted(dataset_class.get_identifiers(self.preprocessed_dataset_folder))
        if len(cases) < 5:
            raise RuntimeError(
                f"{self.plans_manager.dataset_name} has {len(cases)} training cases; nnU-Net's five folds need at "
                f"least 5. Train with fold 'all', or write your own folds to {splits_file}: "
                '[{"train": [...], "val": [...]}, ...]'
            )
        splits = generate_crossval_split(cases, seed=12345, n_splits=5)
        checkpoints.write_json_atomically(splits_file, [{k: list(map(str, v)) for k, v in s.items()} for s in splits])

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:
        """Decide as nnU-Net does; the recipe may mirror fewer axes (at inference, too) and begin at a larger region."""
        rotation, dummy_2d, initial_patch_size, axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        if self.recipe.mirror_axes is not None:
            wanted = {a % len(self.configuration_manager.patch_size) for a in self.recipe.mirror_axes}
            axes = self.inference_allowed_mirroring_axes = tuple(a for a in axes if a in wanted)
        margin, patch_size = self.recipe.margin, self.configuration_manager.patch_size
        if margin is not None:
            wanted_size = list(margin(patch_size)) if callable(margin) else [math.ceil(p * margin) for p in patch_size]
            if dummy_2d:  # slices are augmented one by one, and as many come out as go in
                wanted_size[0] = patch_size[0]
            initial_patch_size = np.maximum(initial_patch_size, wanted_size)
        return rotation, dummy_2d, initial_patch_size, axes

    # ---------------------------------------------------------------- steps

    def train_step(self, batch: dict) -> dict:
        """Train on a batch as nnU-Net does; at every scale of the recipe, or at one of them, if it has scales.

        Returns:
            the loss at the plan's own patch size; of one scale, its loss.
        """
        if self.recipe.scales is None:
            return super().train_step(batch)
        topology = topology_of(self.configuration_manager)
        batch = multi_scale.on_device(batch, self.device)
        results, size = {}, topology.patch_size
        try:
            sizes = multi_scale.training_sizes(self.spec, topology, self.recipe.scales)
            for size in [random.choice(sizes)] if self.recipe.one_scale_a_batch else sizes:
                self._at_own_scale(size == topology.patch_size)
                results[size] = super().train_step(multi_scale.resize_batch(batch, size))
        finally:
            self._at_own_scale(True)
        return results.get(topology.patch_size, results[size])

    def _at_own_scale(self, own: bool) -> None:
        """Note whether the batches that come have the plan's own patch size."""

    # ---------------------------------------------------------------- epochs

    def on_train_start(self) -> None:
        """Start as nnU-Net does, and write the run's manifest.

        A training that starts anew in the folder of an earlier one sets the earlier one's checkpoints aside: killed
        before its first own checkpoint, it would otherwise be continued from them.
        """
        if self.was_initialized and self.current_epoch < self.num_epochs:
            self._add_loss(self.loss)  # of a training that goes on
        unfinished = look_for_coarse(self)
        super().on_train_start()
        if unfinished:
            self.print_to_log_file(f"warning: {unfinished}")
        if self.local_rank == 0:
            checkpoints.remove_leftovers(self.output_folder)
            if self.current_epoch == 0 and not self.disable_checkpointing:
                aside = checkpoints.set_aside(self.output_folder, manifest.now())
                if aside is not None:
                    self.print_to_log_file(f"a new training starts here; the earlier one's checkpoints are in {aside}")
        self._manifest = manifest.describe_run(self)
        self._write_manifest()
        self._watch = manifest.Stopwatch(str(self.device))

    def on_train_end(self) -> None:
        """End as nnU-Net does, and close the manifest."""
        super().on_train_end()
        closing = {"method": self.describe_method(), "finished": manifest.now(), "training": self._watch.read()}
        self._manifest |= closing
        self._write_manifest()

    def _write_manifest(self) -> None:
        if self.local_rank == 0:
            checkpoints.write_json_atomically(join(self.output_folder, manifest.FILE_NAME), self._manifest)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does, and measure it; in a configuration that is a second stage, selectively."""
        with manifest.measured_validation(self), selective_validation(self):
            super().perform_actual_validation(save_probabilities)

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log as nnU-Net does; an epoch without any foreground does not spoil the moving average for ever."""
        super().on_validation_epoch_end(val_outputs)
        curve = self.logger.local_logger.my_fantastic_logging["ema_fg_dice"]
        if math.isnan(curve[-1]):
            curve[-1] = curve[-2] if len(curve) > 1 else np.float64(0.0)

    # ---------------------------------------------------------------- checkpoints

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint as nnU-Net does, but never half: a kill leaves the previous one."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        self.my_init_kwargs[checkpoints.KEY] = checkpoints.header(self.describe_network())
        return checkpoints.write_atomically(filename, super().save_checkpoint)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Load a checkpoint after checking that it is whole and of this trainer's network.

        Raises:
            CheckpointError: if it is not.
        """
        if isinstance(filename_or_checkpoint, str):
            checkpoints.check_checkpoint(filename_or_checkpoint, type(self).__name__, self.describe_network())
        self.continues = True
        super().load_checkpoint(filename_or_checkpoint)
