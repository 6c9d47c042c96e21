"""One case for a picture: preprocessed as nnU-Net does, and its stored image at the same place and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunet_ext.inference.cases import CasesError
from nnunet_ext.inference.trained_model import channel_names

Array = npt.NDArray[Any]


def read_case(predictor: nnUNetPredictor, files: list[str]) -> tuple[Tensor, dict[str, Any]]:
    """Preprocess one case as nnU-Net does.

    Args:
        files: of its channels.

    Returns:
        `(C, Z, H, W)` float32, and what nnU-Net's preprocessing says about the case.

    Raises:
        CasesError: if the image has other channels than the model's.
    """
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    managers = (predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json)
    data, _, properties = preprocessor.run_case(files, None, *managers)
    expected = channel_names(predictor.dataset_json)
    if len(data) != len(expected):
        raise CasesError(f"{files[0]}: has {len(data)} channels; the model takes {', '.join(expected)}")
    return torch.from_numpy(data).float(), properties


def stored_image(
    predictor: nnUNetPredictor, files: list[str], properties: dict[str, Any], shape: Sequence[int]
) -> Array:  # fmt: skip
    """Read the image as stored, brought to the axes, crop and size `(C, Z, H, W)` of the preprocessed one."""
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    raw, _ = plans.image_reader_writer_class().read_images(files)
    raw = raw.transpose([0, *(axis + 1 for axis in plans.transpose_forward)])
    box = [slice(low, high) for low, high in properties["bbox_used_for_cropping"]]
    raw = raw[tuple([slice(None), *box])].astype(np.float32)  # noqa: C409  (Python 3.10 reads no star in an index)
    if raw.shape[1:] == tuple(shape):
        return raw
    spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    target = [spacing[0], *configuration.spacing] if len(configuration.spacing) == 2 else configuration.spacing
    return np.asarray(configuration.resampling_fn_data(raw, tuple(shape), spacing, target))


def displayed(image: Array) -> Array:
    """Return `(C, H, W)` as uint8 for display: RGB of three channels, else grey of the first; contrast stretched."""
    values = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1)
    return (np.clip((values - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
