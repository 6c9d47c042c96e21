"""The structure loss: weighted cross-entropy plus weighted IoU, pixels near borders counting up to six times.

PraNet (D.-P. Fan et al., MICCAI 2020), after F3Net (J. Wei et al., AAAI 2020); used by Spatial Lifting (Table V), by
"M2SNet: Multi-scale in Multi-scale Subtraction Network for Medical Image Segmentation" (arXiv 2303.10894) and others:

    w = 1 + 5 |avgpool_31(m) - m|          (31 x 31, stride 1, zero padding counted)
    wBCE = sum(w bce) / sum(w),   wIoU = 1 - (sum(w p m) + 1) / (sum(w (p + m)) - sum(w p m) + 1)

The widely copied public code passes `reduce='none'` to the cross-entropy, which PyTorch reads as "mean": there the
cross-entropy is a plain mean over the batch and the weights cancel. Here it is weighted, as the equation says;
`as_coded` gives what that code computes.

The papers have one binary mask. Ours beyond it: several classes, ignored pixels, volumes, and windows that shrink with
the map. The average is taken along one axis after the other, which is the same and much cheaper: a 31 x 31 x 31 window
costs 93 additions a voxel and not 29,791.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 31


def box_mean(x: Tensor, window: int | Sequence[int]) -> Tensor:
    """Average over a box around every pixel; outside the map are zeros, which count.

    Args:
        x: `(B, C, *S)` floating, two or three axes.
        window: odd sides of the box in pixels, one for all axes or one an axis; may be larger than the map.

    Returns:
        `(B, C, *S)`.
    """
    dims = x.ndim - 2
    sides = [window] * dims if isinstance(window, int) else list(window)
    total = x
    for axis, side in enumerate(sides, 2):
        if axis == x.ndim - 1:
            lines, kernel = total.reshape(-1, 1, x.shape[axis]), (1, side)
        else:  # an image of the axis by all axes behind it
            lines, kernel = total.flatten(0, axis - 1).flatten(2), (side, 1)
        padding = (kernel[0] // 2, kernel[1] // 2)
        total = F.avg_pool2d(lines, kernel, 1, padding, divisor_override=1).view(x.shape)
    return total / math.prod(sides)  # sums of a binary mask are exact


def border_weight(masks: Tensor, window: int | Sequence[int] = WINDOW) -> Tensor:
    """Return w = 1 + 5 |mean around the pixel - the pixel|.

    Args:
        masks: `(B, C, *S)` floating in [0, 1].
        window: as for `box_mean`.

    Returns:
        `(B, C, *S)` in [1, 6].
    """
    return 1 + 5 * (box_mean(masks, window) - masks).abs()


def scaled_window(
    size: Sequence[int], window: int = WINDOW, patch_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> tuple[int, ...]:  # fmt: skip
    """Return the window of a map: about the same part of the patch at every scale, the same length along every axis.

    Args:
        size: sides of the map.
        window: odd side at the patch's own scale, along the axis of finest spacing.
        patch_size: sides of the patch; a map s = max(1, floor(patch / size)) times smaller gets `window / s`, but at
            least 3. None: the window is not scaled.
        spacing: distance of voxels in the patch along each axis; the window shrinks by min(spacing) / spacing, to 1
            (no average along the axis) if need be. None: the same along all.

    Returns:
        Nearest odd number of pixels along each axis.

    Raises:
        ValueError: if the lengths differ.
    """
    patch = size if patch_size is None else patch_size
    steps = [1.0] * len(size) if spacing is None else spacing
    sides = []
    for side, full, step in zip(size, patch, steps, strict=True):
        shrunk = max(window / max(1, full // side), min(3, window))
        sides.append(2 * int(shrunk * min(steps) / step // 2) + 1)
    return tuple(sides)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _weighted_iou(p: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
    """`(B, C, *S)` each to `(B, C)`."""
    axes = tuple(range(2, p.ndim))
    overlap = (weight * p * masks).sum(axes)
    total = (weight * (p + masks)).sum(axes)
    return 1 - (overlap + 1) / (total - overlap + 1)


def _mean(values: Tensor, weight: Tensor, as_coded: bool) -> Tensor:
    """Weighted mean over the pixels of each image and channel; as coded, one plain mean over all that count.

    `(B, C, *S)` each to `(B, C)`, or to a scalar as coded. Of nothing it is 0.
    """
    if as_coded:
        counts = weight > 0
        return (values * counts).sum() / counts.sum().clamp(min=1)
    axes = tuple(range(2, values.ndim))
    return (weight * values).sum(axes) / weight.sum(axes).clamp(min=1e-8)


def structure_loss(
    logits: Tensor, target: Tensor, valid: Tensor | None = None, window: int | Sequence[int] = WINDOW,
    as_coded: bool = False,
) -> Tensor:  # fmt: skip
    """Return wBCE + wIoU of every image and channel, each channel a binary problem of its own.

    Args:
        logits: `(B, C, *S)`, two or three axes.
        target: `(B, C, *S)` in [0, 1].
        valid: `(B, 1, *S)`, 0 where a pixel does not count; None counts all. What stands there has no influence: for
            the average around other pixels it is background.
        window: as for `box_mean`.
        as_coded: the cross-entropy is one plain mean over batch, channels and pixels, as in the public code.

    Returns:
        `(B, C)` float32; float64 of float64 logits.
    """
    z = _at_least_float32(logits)
    keep = torch.ones_like(z[:, :1]) if valid is None else valid.to(z.dtype)
    masks = target.to(z.dtype) * keep
    weight = border_weight(masks, window) * keep
    bce = F.binary_cross_entropy_with_logits(z, masks, reduction="none")
    return _mean(bce, weight, as_coded) + _weighted_iou(torch.sigmoid(z), masks, weight)


def class_structure_loss(
    logits: Tensor, labels: Tensor, valid: Tensor | None = None, window: int | Sequence[int] = WINDOW,
    as_coded: bool = False,
) -> Tensor:  # fmt: skip
    """Return weighted cross-entropy plus wIoU of every image, classes excluding each other.

    With m_k the mask of foreground class k and w_k its weight, the cross-entropy's weight is max_k w_k, and wIoU is
    the mean over foreground classes of each against the rest, on softmax probabilities with w_k. Of two classes this is
    `structure_loss` of the one foreground class (z_1 - z_0 is its logit).

    Args:
        logits: `(B, K, *S)`, background first, K >= 2; two or three axes.
        labels: `(B, 1, *S)` whole numbers of any type, below K where valid.
        valid: as for `structure_loss`.
        window: as for `box_mean`.
        as_coded: the cross-entropy is one plain mean over batch and pixels, as in the public code.

    Returns:
        `(B,)` float32; float64 of float64 logits.
    """
    z = _at_least_float32(logits)
    keep = torch.ones_like(z[:, :1]) if valid is None else valid.to(z.dtype)
    classes = torch.arange(1, z.shape[1], device=z.device).view(1, -1, *[1] * (z.ndim - 2))
    masks = (labels == classes) * keep
    weight = border_weight(masks, window) * keep
    inside = torch.where(keep > 0, labels, 0).long()
    ce = F.cross_entropy(z, inside[:, 0], reduction="none")[:, None]
    cross = _mean(ce, weight.amax(1, keepdim=True), as_coded)
    iou = _weighted_iou(torch.softmax(z, 1)[:, 1:], masks, weight)
    return (cross + iou).mean(1)


class StructureLoss(nn.Module):
    """Structure loss of nnU-Net's outputs and targets; mean over images and foreground classes or regions.

    Regions are binary problems of their own (`structure_loss`), labels exclude each other (`class_structure_loss`).

    Args:
        regions: targets are `(B, R, *S)` region masks (a further last channel marks ignored pixels if `ignore` is
            set); otherwise `(B, 1, *S)` label maps.
        ignore_label: the label (or, with regions, any value not None) that marks ignored pixels.
        window: odd side of the averaging window in pixels.
        as_coded: leave the cross-entropy unweighted, as the public code does.
        patch_size: sides of the patch, for smaller windows at smaller scales; None: the same window at every scale.
        spacing: of the patch's voxels, for smaller windows along coarser axes; None: the same along all.
            Both as for `scaled_window`.

    Raises:
        ValueError: if the window is even or below 1.
    """

    def __init__(
        self, regions: bool = False, ignore_label: int | None = None, window: int = WINDOW, as_coded: bool = False,
        patch_size: Sequence[int] | None = None, spacing: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"The window of the structure loss has an odd side, not {window}.")
        self.regions, self.ignore_label, self.window, self.as_coded = regions, ignore_label, window, as_coded
        self.patch_size, self.spacing = patch_size, spacing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """`(B, K, *S)` logits and nnU-Net's target to a scalar."""
        window = scaled_window(logits.shape[2:], self.window, self.patch_size, self.spacing)
        if self.regions:
            valid = None if self.ignore_label is None else 1 - target[:, -1:].float()
            masks = target if self.ignore_label is None else target[:, :-1]
            return structure_loss(logits, masks, valid, window, self.as_coded).mean()
        valid = None if self.ignore_label is None else target != self.ignore_label
        return class_structure_loss(logits, target, valid, window, self.as_coded).mean()
