"""Lifting by replication: a 2D image becomes a volume of equal slices.

Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), Section III-A, equation (1):
X[:, d] = x for d = 1..D. No parameters.
"""

from __future__ import annotations

from torch import Tensor


def replicate(x: Tensor, depth: int) -> Tensor:
    """Copy an image `depth` times along a new axis, placed before the image's own axes.

    Args:
        x: `(B, C, *S)`.
        depth: D, the number of slices.

    Returns:
        `(B, C, D, *S)`; a view, no memory is copied.
    """
    return x.unsqueeze(2).expand(*x.shape[:2], depth, *x.shape[2:])
