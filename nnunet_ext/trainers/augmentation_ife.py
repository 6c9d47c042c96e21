"""The augmentation of the IFE paper: brightness, contrast, flips, and turns by any angle.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023). The paper states none; this is the authors' code's. Where we differ: there, images are changed as numbers from 0
to 255, here each channel within its own range in the patch, because nnU-Net's are normalised before; local contrast is
equalised channel by channel, for channels need not be colours; images are turned first and changed in brightness then
(their padding stays 0 in either order). Volumes are stacks of slices that are turned and flipped together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from skimage.exposure import equalize_adapthist
from torch import Tensor

from nnunet_ext.trainers.augmentation import without_chance

BINS = 256  # of local histograms; OpenCV counts the grey values of 8 bits


def contrast_flips_and_turns(patch_size: Any, *args: Any, **kwargs: Any) -> BasicTransform:
    """Brightness and contrast, flips along the mirror axes, turns in the plane; nothing else is random.

    With probability 0.9, brightness and contrast are changed by chance (1/2), and local contrast is equalised by
    chance (1/2). Every second image is turned in the plane of the last two axes, by whole degrees from -90 to 89.

    Args:
        patch_size: (dims,) voxels.
        args, kwargs: as for `nnUNetTrainer.get_training_transforms`, whose steps for labels, regions, masks, cascades
            and deep supervision are kept.
    """
    pipeline = nnUNetTrainer.get_training_transforms(patch_size, *args, **kwargs)
    kept = list(without_chance(pipeline))
    behind_turns = 0
    for place, transform in enumerate(kept, start=1):
        if isinstance(transform, SpatialTransform):
            transform.p_rotation, transform.p_rot_per_axis, transform.rotation = 0.5, 1, _any_angle
        if isinstance(transform, (SpatialTransform, Convert2DTo3DTransform)):
            behind_turns = place
    changes = [RandomTransform(change, 0.5) for change in (BrightnessAndContrast(), LocalContrast())]
    kept.insert(behind_turns, RandomTransform(ButNotPadding(ComposeTransforms(changes)), 0.9))
    pipeline.transforms = kept
    return pipeline


def room_to_turn(patch_size: Sequence[int]) -> tuple[int, ...]:
    """Return the region that a patch needs to be turned in the plane of its last two axes, by any angle.

    Args:
        patch_size: (dims,) voxels.

    Returns:
        the same, the last two axes as long as the diagonal.
    """
    diagonal = math.ceil(math.hypot(*patch_size[-2:]))
    return (*patch_size[:-2], diagonal, diagonal)


class BrightnessAndContrast(ImageOnlyTransform):
    """a x + b of images as shares of each channel's range in the patch, cut off at its ends.

    Args:
        limit: a is drawn evenly from 1 +- limit and b from +- limit, the same for all channels.
    """

    def __init__(self, limit: float = 0.2) -> None:
        super().__init__()
        self.limit = limit

    def get_parameters(self, **data_dict: Any) -> dict[str, float]:
        """Draw `contrast` (a) and `brightness` (b)."""
        contrast, brightness = np.random.uniform(-self.limit, self.limit, 2)
        return {"contrast": 1 + float(contrast), "brightness": float(brightness)}

    def _apply_to_image(self, img: Tensor, contrast: float = 1, brightness: float = 0, **_: Any) -> Tensor:
        flat = img.flatten(1)
        low, high = torch.aminmax(flat, dim=1, keepdim=True)
        changed = contrast * (flat - low) + brightness * (high - low)
        return (low + torch.minimum(changed.clamp(min=0), high - low)).view_as(img)


class LocalContrast(ImageOnlyTransform):
    """Contrast-limited adaptive histogram equalisation (CLAHE) of every channel and slice, within its own range.

    scikit-image's. Unlike OpenCV's, it ends in the whole of the range that it began with.

    Args:
        clip: bins of the local histograms are cut off at this multiple of their mean, as OpenCV counts.
        tiles: local histograms along each axis.
    """

    def __init__(self, clip: float = 1.5, tiles: int = 8) -> None:
        super().__init__()
        self.clip, self.tiles = clip, tiles

    def _apply_to_image(self, img: Tensor, **_: Any) -> Tensor:
        planes = img.reshape(-1, *img.shape[-2:]).numpy()
        return torch.from_numpy(np.stack([self._equalised(plane) for plane in planes])).view_as(img)

    def _equalised(self, plane: np.ndarray) -> np.ndarray:
        low, high = plane.min(), plane.max()
        if low == high:
            return plane
        tile = [math.ceil(side / self.tiles) for side in plane.shape]
        shares = equalize_adapthist((plane - low) / (high - low), tile, self.clip / BINS, BINS)
        return (low + shares * (high - low)).astype(plane.dtype)


class ButNotPadding(BasicTransform):
    """A transform of images that leaves their padding 0: in nnU-Net's data 0 in all channels, and labelled -1.

    Args:
        transform: of `image`; is given `segmentation`, too.
    """

    def __init__(self, transform: BasicTransform) -> None:
        super().__init__()
        self.transform = transform

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Change the image; where it was padding, it is 0 again."""
        padding = (data_dict["segmentation"][:1] == -1) & (data_dict["image"] == 0).all(0, keepdim=True)
        changed = self.transform(**data_dict)
        changed["image"] = changed["image"].masked_fill(padding, 0)
        return changed


def _any_angle(image: Tensor, dim: int) -> float:
    """Draw an angle in radians about an axis: of a volume `(C, *S)` about the first, of an image about its only one."""
    if image.ndim == 4 and dim != 0:
        return 0.0
    return math.radians(np.random.randint(-90, 90))
