"""Offset vectors on the grid of the segmentation file that nnU-Net writes.

nnU-Net transposes an image, crops it, resamples it, predicts, and undoes all of it for the file. An offset is a vector:
beside being moved with its voxel, it is stretched by the resampling, and its components change places with the axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunet_ext.inference.offset_fields import OffsetFields
from nnunet_ext.inference.trained_model import channel_names

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OffsetMaps:
    """One case on its file's grid S, three axes, `(1, H, W)` for natural images.

    Attributes:
        offsets: `(n, *S)` float32 voxels; 0 outside of nnU-Net's crop, as `confidence` and `initial`.
        axes: (n,) axis of S along which each channel of `offsets` points, ascending.
        confidence: `(*S)` float32, F, 0 to 1.
        initial: `(*S)` labels of S_i, uint8, or uint16 from 255 labels on.
        predicted: `(*S)` labels as in the file, of the same type.
        image: `(*S)` float32, the mean of the preprocessed channels.
        plane_axis: axis of S that counts the planes to look at.
        spacing: (3,) size of a voxel along each axis of S, in mm or without a unit.
    """

    offsets: Array
    axes: tuple[int, ...]
    confidence: Array
    initial: Array
    predicted: Array
    image: Array
    plane_axis: int
    spacing: tuple[float, ...]

    @property
    def changed(self) -> Array:
        """`(*S)` bool: where the refinement changed the label."""
        return self.initial != self.predicted


def maps_of(found: OffsetFields, image: Tensor, properties: dict[str, Any], predictor: nnUNetPredictor) -> OffsetMaps:
    """Bring what was gathered to the file's grid; labels by nnU-Net's own functions.

    Args:
        found: a closed case.
        image: `(C, *S)`, preprocessed.
        properties: what nnU-Net's preprocessing says about the case.
        predictor: whose plans and labels hold.
    """
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    back: list[int] = list(plans.transpose_backward)
    n = len(found.fields) - 1
    channels = image[: len(channel_names(predictor.dataset_json))]  # not a cascade's masks
    fields = torch.cat([found.fields, channels.cpu().float().mean(0, keepdim=True)])
    resampled = _resampled(fields, properties, plans, configuration)
    for channel, axis in enumerate(range(3 - n, 3)):
        resampled[channel] *= resampled.shape[1 + axis] / fields.shape[1 + axis]
    whole = np.zeros((n + 2, *properties["shape_before_cropping"]), np.float32)
    insert_crop_into_image(whole, resampled, properties["bbox_used_for_cropping"])
    whole = whole.transpose(0, *(axis + 1 for axis in back))
    axes = tuple(axis for axis in range(3) if back[axis] >= 3 - n)
    return OffsetMaps(
        offsets=whole[[back[axis] - (3 - n) for axis in axes]],
        axes=axes,
        confidence=whole[n].clip(0, 1),
        initial=_labels(found.initial, properties, predictor),
        predicted=_labels(found.logits, properties, predictor),
        image=whole[n + 1],
        plane_axis=back.index(0),
        spacing=tuple(float(s) for s in properties["spacing"]),
    )


def _resampled(fields: Tensor, properties: dict[str, Any], plans: Any, configuration: Any) -> Array:
    """Undo nnU-Net's resampling of `(C, *S)`, as its export does for logits."""
    original = [properties["spacing"][axis] for axis in plans.transpose_forward]
    planned = list(configuration.spacing)
    current = planned if len(planned) == len(original) else [original[0], *planned]
    shape = properties["shape_after_cropping_and_before_resampling"]
    return np.array(configuration.resampling_fn_probabilities(fields, shape, current, original))


def _labels(logits: Tensor, properties: dict[str, Any], predictor: nnUNetPredictor) -> Array:
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.cpu(), predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, properties,
        num_threads_torch=torch.get_num_threads(),
    )  # fmt: skip
