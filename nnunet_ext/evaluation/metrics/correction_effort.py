"""Human correction effort (HCE): about how many clicks turn a prediction into the reference (Qin et al., ECCV 2022).

False positive and false negative regions that are wider than 2 `relax` pixels or break the reference's skeleton count:
the corners of their polygons, and one for each region that touches nothing else. Computed by pysodmetrics, which is an
optional package.

HCE depends on the size of the image: masks of 64 x 64 pixels have a few clicks where the native ones have dozens. The
IFE paper's 1.3 to 2.5 are at 64 x 64, those of the DIS benchmark native. Say the size with every number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunet_ext.evaluation.metrics.undefined import Mask, checked_masks

INSTALL = "pip install 'nnunet-ext[metrics]'"


def human_correction_effort(
    reference: Mask, prediction: Mask, size: int | None = None, relax: int = 5, epsilon: float = 2.0
) -> int:
    """Return the human correction effort, 0 or more; 0 if both masks are empty.

    Args:
        reference: boolean (H, W).
        prediction: boolean (H, W).
        size: None for the native size, or the side of the square that both masks are resized to first (bilinear, more
            than half is foreground).
        relax: pixels of a border's error that nobody would correct.
        epsilon: pixels by which a polygon may miss its outline.

    Raises `ValueError` for masks that are not boolean, not 2D or of different shapes, and `ImportError` without
    pysodmetrics.
    """
    checked_masks(reference, prediction)
    if reference.ndim != 2:
        raise ValueError(f"HCE is defined for 2D masks; got {reference.ndim}D {reference.shape}")
    measure = _pysodmetrics().HumanCorrectionEffortMeasure(relax=relax, epsilon=epsilon)
    if size is not None:
        reference, prediction = (resized_mask(mask, size) > 128 for mask in (reference, prediction))
    measure.step(prediction.astype(np.float64), reference, normalize=False)
    return int(measure.get_results()["hce"])


def resized_mask(mask: Mask, size: int) -> Any:
    """Return the mask as 0 and 255, resized bilinearly by OpenCV to (size, size) uint8; raises `ImportError`."""
    _pysodmetrics()
    import cv2

    return cv2.resize(mask.astype(np.uint8) * 255, (size, size), interpolation=cv2.INTER_LINEAR)


def _pysodmetrics() -> Any:
    try:
        import py_sod_metrics
    except ImportError as error:
        raise ImportError(f"HCE needs pysodmetrics and OpenCV; install them with: {INSTALL}") from error
    return py_sod_metrics
