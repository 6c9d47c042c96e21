"""One case through a lifted network: what is shown of it, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.inference.attribution import Target, grad_cam, saliency
from nnunet_ext.inference.case_image import displayed, read_case, stored_image
from nnunet_ext.inference.lifting_figure import Attribution, CaseView
from nnunet_ext.inference.slice_view import view_slices

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """A loaded model, and what is wanted of it.

    Attributes:
        class_name: the class to show.
        output: its index among the network's outputs.
        attribution: "none", "saliency" or "gradcam".
        layer: of Grad-CAM.
    """

    predictor: nnUNetPredictor
    network: LiftedNetwork
    class_name: str
    output: int
    attribution: str = "none"
    layer: str | None = None


def view_case(subject: Subject, case: str, files: list[str]) -> CaseView:
    """Preprocess and predict one case as nnU-Net does; of a stack of images, take the one with most of the class.

    Args:
        case: its name, for the title.
        files: of its channels.

    Raises:
        CasesError: if the image has other channels than the model's.
    """
    predictor = subject.predictor
    volume, properties = read_case(predictor, files)
    plane, slices, logits = _richest_plane(subject, volume)
    predicted = _predicted(subject, logits)
    probabilities = predictor.label_manager.apply_inference_nonlin(logits)[subject.output]
    return CaseView(
        case=case if volume.shape[1] == 1 else f"{case}, image {plane} of the stack",
        class_name=subject.class_name,
        image=displayed(stored_image(predictor, files, properties, volume.shape[1:])[:, plane]),
        slices=slices.numpy(),
        fused=probabilities.numpy(),
        predicted=predicted.numpy(),
        attribution=_attribution(subject, volume[:, plane], predicted),
    )


def best_window(mask: Array, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the window with most of a mask in it, cut to the mask's size; the middle one if the mask is empty.

    Args:
        mask: `(H, W)` bool.
        size: (height, width) of the window in pixels.

    Returns:
        (top, left, height, width).
    """
    height, width = (min(s, m) for s, m in zip(size, mask.shape, strict=True))
    if not mask.any():
        return (mask.shape[0] - height) // 2, (mask.shape[1] - width) // 2, height, width
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left), height, width


def _richest_plane(subject: Subject, volume: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return (index, slices' probabilities, logits) of the plane of `(C, Z, H, W)` with most of the class."""
    best: tuple[int, int, Tensor, Tensor] | None = None
    for plane in range(volume.shape[1]):
        image = volume[:, plane : plane + 1]
        slices, logits = view_slices(subject.predictor, subject.network, subject.output, image)
        found = int(_predicted(subject, logits).sum())
        if best is None or found > best[0]:
            best = found, plane, slices, logits
    assert best is not None
    return best[1:]


def _predicted(subject: Subject, logits: Tensor) -> Tensor:
    """Return where the class is predicted, (H, W) bool: the most probable one, or a region above 0.5."""
    if subject.predictor.label_manager.has_regions:
        return logits[subject.output] > 0
    return logits.argmax(0) == subject.output


def _attribution(subject: Subject, image: Tensor, predicted: Tensor) -> Attribution | None:
    """Compute the attribution of one window of the plan's patch size, zeros around it where the image is smaller."""
    if subject.attribution == "none":
        return None
    patch = tuple(subject.predictor.configuration_manager.patch_size)
    top, left, height, width = best_window(predicted.numpy(), patch)
    rows, columns = slice(top, top + height), slice(left, left + width)
    pads = [p for want, have in zip(patch[::-1], (width, height), strict=True) for p in _both_sides(want - have)]
    window = F.pad(image[:, rows, columns], pads)[None].to(subject.predictor.device)
    pixels = predicted[rows, columns]
    where = "the pixels predicted as it" if pixels.any() else "all pixels (none is predicted as it)"
    pixels = F.pad(pixels if pixels.any() else torch.ones_like(pixels), pads).to(window.device)
    target = Target(subject.output, pixels)
    if subject.attribution == "saliency":
        name, maps = "saliency", saliency(subject.network, window, target)
    else:
        name, maps = "Grad-CAM", grad_cam(subject.network, window, target, subject.layer)
    maps = maps[:, pads[2] : pads[2] + height, pads[0] : pads[0] + width]
    whole = (height, width) == tuple(image.shape[1:])
    part = "the whole image" if whole else f"the framed window of {height} x {width} pixels (the plan's patch)"
    layer = f" at layer {subject.layer}" if subject.attribution == "gradcam" else ""
    about = f"{name}{layer} of {part}; score: each slice's mean log-odds of {subject.class_name!r} over {where}"
    return Attribution(name, maps.numpy(), (top, left, height, width), whole, about)


def _both_sides(missing: int) -> tuple[int, int]:
    return missing // 2, missing - missing // 2
