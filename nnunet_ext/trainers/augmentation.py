"""Augmentations that papers use instead of nnU-Net's, made by editing the list that nnU-Net builds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.nnunet.seg_to_onehot import MoveSegAsOneHotToDataTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def flips_and_quarter_turns(patch_size: Any, *args: Any, **kwargs: Any) -> BasicTransform:
    """Flips along all mirror axes and, for square patches, rotations by 90 degrees; nothing else is random.

    Args:
        patch_size: (dims,) voxels.
        args, kwargs: as for `nnUNetTrainer.get_training_transforms`, whose steps for labels, regions, masks, cascades
            and deep supervision are kept.
    """
    pipeline = nnUNetTrainer.get_training_transforms(patch_size, *args, **kwargs)
    kept: list[BasicTransform] = []
    for transform in without_chance(pipeline):
        if isinstance(transform, SpatialTransform):
            transform.p_rotation = 0
        kept.append(transform)
        if isinstance(transform, MirrorTransform) and len(set(patch_size[-2:])) == 1:
            axes = {len(patch_size) - 2, len(patch_size) - 1}
            turn = Rot90Transform(num_axis_combinations=1, num_rot_per_combination=(0, 1, 2, 3), allowed_axes=axes)
            kept.append(turn)
    pipeline.transforms = kept
    return pipeline


def flips_and_small_turns(patch_size: Any, *args: Any, degrees: float = 10, **kwargs: Any) -> BasicTransform:
    """Flips along the mirror axes and, always, a rotation drawn evenly from +-`degrees`; nothing else is random.

    Args:
        patch_size: (dims,) voxels.
        degrees: largest angle, about each axis of a volume.
        args, kwargs: as for `flips_and_quarter_turns`.
    """
    pipeline = nnUNetTrainer.get_training_transforms(patch_size, *args, **kwargs)
    kept = list(without_chance(pipeline))
    for transform in kept:
        if isinstance(transform, SpatialTransform):
            transform.p_rotation, transform.p_rot_per_axis = 1, 1
            transform.rotation = (-math.radians(degrees), math.radians(degrees))
    pipeline.transforms = kept
    return pipeline


def flips_and_scales(
    patch_size: Any, *args: Any, smallest: float = 0.5, largest: float = 2, **kwargs: Any
) -> BasicTransform:
    """Flips along the mirror axes and, always, a size between `smallest` and `largest`; nothing else is random.

    Args:
        patch_size: (dims,) voxels.
        smallest, largest: of objects, 1 as they are; drawn evenly, the same along all axes.
        args, kwargs: as for `flips_and_quarter_turns`.
    """
    pipeline = nnUNetTrainer.get_training_transforms(patch_size, *args, **kwargs)
    kept = list(without_chance(pipeline))
    for transform in kept:
        if isinstance(transform, SpatialTransform):
            transform.p_rotation, transform.p_scaling, transform.p_synchronize_scaling_across_axes = 0, 1, 1
            transform.scaling = partial(_shrinking, smallest, largest)
    pipeline.transforms = kept
    return pipeline


def _shrinking(smallest: float, largest: float, **_: Any) -> float:
    """Draw a size of objects, as the factor that `SpatialTransform` divides it by."""
    return 1 / float(np.random.uniform(smallest, largest))


def ignoring_padding(make: Callable[..., BasicTransform], ignore_label: int | None) -> Callable[..., BasicTransform]:
    """Return a maker of transforms whose padding (-1 in nnU-Net's data) has the ignore label, not that of class 0.

    Args:
        make: `nnUNetTrainer.get_training_transforms` or the like, also `get_validation_transforms`.
        ignore_label: None if the dataset has none; then nothing changes.
    """

    def made(*args: Any, **kwargs: Any) -> BasicTransform:
        pipeline: Any = make(*args, **kwargs)
        for transform in pipeline.transforms:
            if isinstance(transform, RemoveLabelTransform) and transform.label_value == -1 and ignore_label is not None:
                transform.set_to = ignore_label
        return pipeline

    return made


def without_chance(pipeline: Any) -> Iterator[BasicTransform]:
    """Yield nnU-Net's transforms without those that change images by chance, and without scaling and deformation.

    What it does by chance to the previous stage's labels of a cascade stays: it comes behind these labels' transform.
    """
    behind_labels = False
    for transform in pipeline.transforms:
        behind_labels = behind_labels or isinstance(transform, MoveSegAsOneHotToDataTransform)
        if isinstance(transform, RandomTransform) and not behind_labels:
            continue
        if isinstance(transform, SpatialTransform):
            transform.p_scaling = transform.p_elastic_deform = 0
        yield transform
