"""Objects without a class, as labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask


def labels_of_objects(objects: np.ndarray, legend: Legend, path: Path, encoding: str) -> DecodedMask:
    """Turn (H, W) bool, True inside an object, into labels.

    With binary masks, objects are label 1 whatever ``--threshold`` is: nothing is left to be thresholded. With
    ``--labels``, an object has the value 1 and everything else the value 0.

    Args:
        objects: (H, W) bool.
        legend: what values mean.
        path: file to name in messages.
        encoding: how the mask calls itself, see :class:`DecodedMask`.

    Raises:
        RefusedFile: if ``--labels`` names not both values.
    """
    values = objects.astype(np.uint8)
    if legend.is_binary:
        return DecodedMask(values, encoding)
    return replace(legend.of_values(values, path), encoding=encoding)
