"""LossNet: the difference between prediction and truth as a fixed, pretrained VGG-16 sees it, at four levels.

"M2SNet: Multi-scale in Multi-scale Subtraction Network for Medical Image Segmentation" (arXiv 2303.10894), Section 3.2,
equations (4) to (6); repository Xiaoqi-Zhao-DLUT/MSNet-M2SNet, which has no licence: written from the description, no
code taken. The network is torchvision's `vgg16().features[:23]` with its ImageNet weights (K. Simonyan, A. Zisserman,
ICLR 2015).

    L_f = sum over levels i = 1..4 of mean((F_i(p) - F_i(m))^2)      F_i: after relu1_2, relu2_2, relu3_3, relu4_3

As in the paper's code: maps in [0, 1] are repeated to three channels, normalised by ImageNet's mean and standard
deviation, then resized to 224 x 224; the distance is a mean of squares. (The code adds L_f with the weight 0.1.)
What differs: the target's pass keeps no gradient, one network serves all levels (the code loads four), and the size may
be another. The paper has one binary 2D mask. Several classes, regions, ignored pixels and volumes are ours, in
`LossNetLoss`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.weights import WeightsError, fetch, local_file, read_state_dict

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))  # of the convolutions between poolings
TAPS = (3, 8, 15, 22)  # last ReLU before each pooling
SMALLEST = 8  # pixels that three poolings leave one of
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB
Size = int | tuple[int, int] | Literal["shrink"] | None


def vgg16_features(instead: str) -> nn.Sequential:
    """Return `torchvision.models.vgg16().features[:23]` with ImageNet weights: 7.6 M parameters, no classifier.

    The weights are the user's file of `vgg16` (`weights.local_file`: a VGG-16's state dict, whole or of `features.*`
    alone), or else torchvision's download. They are never random.

    Args:
        instead: what to type to train without, for the message.

    Returns:
        The 23 layers on the CPU, in float32.

    Raises:
        WeightsError: if there are no weights, or they do not fit.
    """
    path = local_file("vgg16")
    if path is not None:
        return _with_weights(read_state_dict(path), str(path), instead)
    source = "torchvision (download.pytorch.org)"
    return _with_weights(fetch("vgg16", source, _download, instead), source, instead)


def _download() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    return dict(state)


def _layers() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for i, widths in enumerate(WIDTHS):
        if i > 0:
            layers.append(nn.MaxPool2d(2))
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def _with_weights(state: dict[str, Tensor], origin: str, instead: str) -> nn.Sequential:
    """Return the layers with the weights of a state dict; none are ever drawn."""
    with torch.device("meta"):
        features = _layers()
    wanted = features.state_dict()
    have = {name: state[f"features.{name}"] for name in wanted if f"features.{name}" in state}
    wrong = [f"features.{name}" for name in wanted if name not in have]
    wrong += [
        f"features.{name} of shape {tuple(wanted[name].shape)} (it is {tuple(have[name].shape)})"
        for name in wanted
        if name in have and have[name].shape != wanted[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"{origin} does not hold the weights of torchvision's vgg16: it lacks {', '.join(wrong)}. "
            f"Put the file vgg16-397923af.pth of download.pytorch.org/models there. Or train without them: {instead}"
        )
    features.load_state_dict({name: value.float() for name, value in have.items()}, assign=True)
    return features


def _mean_square(x: Tensor, y: Tensor) -> Tensor:
    """Mean of squares, at least in float32; keeps the difference alone for backward, where `mse_loss` keeps both."""
    difference = x - y if x.dtype == torch.float64 else x.float() - y.float()
    return difference.square().mean()


class LossNet(nn.Module):
    """Distance between two maps in the features of a fixed network.

    No parameter has a gradient, `train()` has no effect, and the normalisation is not in `state_dict`. Under autocast
    the network runs in half precision; inputs, resizing and squares are float32 (float64 of a float64 module).

    Args:
        features: 23 layers as of `vgg16_features`; frozen here.
        size: what maps are resized to: one side or (height, width), 224 as in the paper; `"shrink"`: min(224, side)
            along each axis, so that small maps are not enlarged (but to 8 pixels); None: as they are, from 8 pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Module, size: Size = 224) -> None:
        super().__init__()
        if isinstance(size, str) and size != "shrink":
            raise ValueError(f"The size of LossNet is a side, (height, width), 'shrink' or None, not {size!r}.")
        self.features = features.requires_grad_(False)
        self.size = (size, size) if isinstance(size, int) else size
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> LossNet:
        """Stay in evaluation mode, whatever the mode of what holds this."""
        return super().train(False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Sum of the four levels' distances, a scalar. Arguments as for `levels`."""
        return self.levels(prediction, target).sum()

    def levels(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared difference of features at each level.

        Args:
            prediction: `(N, 1 or 3, H, W)` in [0, 1]; one channel is repeated to three.
            target: the same shape; has no gradient.

        Returns:
            `(4,)` float32, finest first.

        Raises:
            ValueError: if the shapes differ, or there are other than 1 or 3 channels.
        """
        if prediction.shape != target.shape or prediction.ndim != 4 or prediction.shape[1] not in (1, 3):
            raise ValueError(f"LossNet compares two maps (N, 1 or 3, H, W), not {tuple(prediction.shape)} "
                             f"and {tuple(target.shape)}.")  # fmt: skip
        x, y = self._prepared(prediction), self._prepared(target)
        distances = []
        for i, layer in enumerate(self.features.children()):
            x = layer(x)
            with torch.no_grad():
                y = layer(y)
            if i in TAPS:
                distances.append(_mean_square(x, y))
        return torch.stack(distances)

    def _prepared(self, image: Tensor) -> Tensor:
        """`(N, 1 or 3, H, W)` to `(N, 3, *size)`, normalised, then resized."""
        x = (image.to(self.mean.dtype).expand(-1, 3, -1, -1) - self.mean) / self.std
        height, width = image.shape[2:]
        if self.size == "shrink":
            size = (min(224, max(SMALLEST, height)), min(224, max(SMALLEST, width)))
        else:
            size = self.size or (height, width)
        if size == (height, width):
            return x
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class LossNetLoss(nn.Module):
    """LossNet of nnU-Net's logits and target, of the finest scale alone.

    Each class or region is an image of its own: softmax probabilities of foreground classes against their masks, or
    sigmoid probabilities of regions against theirs. Ignored pixels are 0 in both. The loss is the mean over images and
    classes.

    What it costs grows with classes and slices: each image of 224 x 224 is 42 GMAC. So a step takes

    - at most `max_channels` classes, drawn among those that the target shows (among all if it shows none). A class
      that the target does not show is then left to the other losses;
    - of a volume, at most `n_slices` slices of each sample across the axis of largest spacing (drawn among axes within
      1 % of it): drawn first among slices that show one of the classes, then among the rest.

    What is drawn comes from PyTorch's CPU generator.

    Args:
        lossnet: the distance, e.g. `LossNet(vgg16_features(...), "shrink")`.
        regions: targets are `(B, R, *S)` region masks (a further last channel marks ignored pixels if `ignore` is
            set); otherwise `(B, 1, *S)` label maps.
        ignore_label: the label (or, with regions, any value not None) that marks ignored pixels.
        max_channels: classes a step; None takes every class, also those that the target does not show.
        n_slices: slices of each sample a step; volumes only.
        spacing: of the patch's voxels, one an axis; None: the same along all. Volumes only.
    """

    def __init__(
        self, lossnet: nn.Module, regions: bool = False, ignore_label: int | None = None,
        max_channels: int | None = 3, n_slices: int = 8, spacing: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_slices < 1 or (max_channels is not None and max_channels < 1):
            raise ValueError(f"LossNet takes at least one class and slice, not {max_channels} and {n_slices}.")
        self.lossnet, self.regions, self.ignore_label = lossnet, regions, ignore_label
        self.max_channels, self.n_slices, self.spacing = max_channels, n_slices, spacing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: `(B, K, *S)`, background first; with regions `(B, R, *S)`. Two or three axes.
            target: nnU-Net's, of the same axes.

        Returns:
            A scalar, float32.
        """
        masks, valid = self._foreground(logits, target)
        chosen = self._draw_channels(masks)
        masks = masks[:, chosen]
        if logits.ndim == 5:
            axis, index = self._draw_slices(masks)
            logits, masks, valid = (take_slices(t, axis, index) for t in (logits, masks, valid))
        z = logits.float()
        p = torch.sigmoid(z) if self.regions else torch.softmax(z, 1)[:, 1:]
        pairs = (p[:, chosen] * valid, masks)
        return self.lossnet(*(t.float().flatten(0, 1).unsqueeze(1) for t in pairs))

    def _foreground(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, C, *S)` masks, 0 where ignored, and `(B, 1, *S)` whether pixels count."""
        if self.regions:
            ignored = target[:, -1:] > 0 if self.ignore_label is not None else torch.zeros_like(target[:, :1]) > 0
            masks = target[:, : logits.shape[1]]
            return masks * ~ignored, ~ignored
        labels = torch.arange(1, logits.shape[1], device=target.device).view(1, -1, *[1] * (target.ndim - 2))
        valid = target != self.ignore_label if self.ignore_label is not None else torch.ones_like(target) > 0
        return target == labels, valid

    def _draw_channels(self, masks: Tensor) -> list[int]:
        everything = list(range(masks.shape[1]))
        if self.max_channels is None:
            return everything
        shown = (masks > 0).transpose(0, 1).flatten(1).any(1).tolist()
        candidates = [c for c in everything if shown[c]] or everything
        if len(candidates) <= self.max_channels:
            return candidates
        return sorted(candidates[i] for i in torch.randperm(len(candidates))[: self.max_channels].tolist())

    def _draw_slices(self, masks: Tensor) -> tuple[int, Tensor]:
        """Return the axis (0, 1 or 2) and `(B, m)` indices of slices across it."""
        spacing = [1.0] * 3 if self.spacing is None else list(self.spacing)
        axes = [a for a in range(3) if spacing[a] * 1.01 >= max(spacing)]
        axis = axes[int(torch.randint(len(axes), ())) if len(axes) > 1 else 0]
        shows = (masks > 0).movedim(axis + 2, 1).flatten(2).any(2)
        order = torch.rand(shows.shape).to(shows.device) + shows
        return axis, order.topk(min(self.n_slices, shows.shape[1]), 1).indices


def take_slices(volume: Tensor, axis: int, index: Tensor) -> Tensor:
    """Take slices of each sample, as a batch of images.

    Args:
        volume: `(B, C, *S)`, three axes.
        axis: 0, 1 or 2, across which slices lie.
        index: `(B, m)` slices of each sample.

    Returns:
        `(B * m, C, H, W)`: the axes left, in their order.
    """
    samples = torch.arange(len(volume), device=volume.device)[:, None]
    return volume.movedim(axis + 2, 1)[samples, index].flatten(0, 1)
