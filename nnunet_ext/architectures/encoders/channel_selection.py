"""Instructive feature enhancement: the channels that tell most are given twice.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023), Section 2.3:

    F = [F_x, F'_x],   F'_x = the floor(r C) channels of F_x with the highest scores, of each image its own      (3)

The selected channels are raw features, not maps of curvature or entropy, and stand in descending order of their scores,
so that a place among them names another channel in every image. Nothing is learned: the layer that reads the result has
more inputs, and that is all. Scores carry no gradient; the gradient of a selected channel is added to its own.

`random` is the control of equal width: as many channels, another draw for every image, without a criterion. In
evaluation mode one draw serves all images, so that a prediction can be repeated; it was made when the network was built
for its training, and is kept with the weights.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from nnunet_ext.architectures.encoders.channel_scores import Range, curvature_scores, entropy_scores
from nnunet_ext.architectures.exporting import exporting
from nnunet_ext.architectures.precision import without_autocast

Score = Literal["curvature", "entropy", "entropy_image", "entropy_batch", "entropy_unique", "entropy_joint", "random"]


def n_selected(channels: int, ratio: float) -> int:
    """Return floor(ratio channels), with a margin for ratios that are not exact in binary.

    Raises:
        ValueError: if the ratio is not in [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio={ratio}: the share of channels to select is 0 to 1; the paper has 0.5 and 0.75.")
    return math.floor(ratio * channels + 1e-6)


def take_channels(x: Tensor, chosen: Tensor) -> Tensor:
    """Return `(B, k, *S)`: of each image the channels `chosen` (B, k) of `x` (B, C, *S).

    A whole plane at a time, several times quicker than `torch.gather`. What passes for a tensor may have its own way.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(take_channels, (x,), x, chosen)
    b, c = x.shape[:2]
    planes = chosen + torch.arange(0, b * c, c, device=chosen.device)[:, None]
    return x.flatten(0, 1).index_select(0, planes.flatten()).unflatten(0, chosen.shape)


class ChannelSelection(nn.Module):
    """`(B, C, *S) -> (B, C + k, *S)`: the map, and behind it (or in front) its k channels with the highest scores.

    Without parameters. With C = 0 or k = 0 it returns what it is given.

    Args:
        channels: C.
        ratio: r in [0, 1]; k = floor(r C).
        score: `curvature`; `entropy`, of a histogram over each channel's own range, or `entropy_` and one of the other
            histograms of `channel_scores.py`; `random`.
        axes: spatial axes, from 0, that neighbours are looked for along; None: all. Axes that are sampled too coarsely
            are left out.
        weights: of the axes, for the curvature; see `curvature_scores`.
        selected_first: [selected, raw], as in the authors' SINetV2 and DeepLabV3+, in the place of [raw, selected].
        by_index: selected channels in the order of the map, in the place of descending scores.

    Attributes:
        k: how many channels are selected.
        out_channels: C + k.

    Raises:
        ValueError: if the ratio is not in [0, 1], or there is no such score or axis; in `forward`, if the map has not C
            channels.

    With `entropy_unique`, a first map whose channels all score the same gives a warning: so do features after anything
    that does not clip, such as a LeakyReLU, and the first channels are taken.
    """

    draw: Tensor

    def __init__(
        self, channels: int, ratio: float, score: Score = "curvature", *, axes: Sequence[int] | None = None,
        weights: Sequence[float] | None = None, selected_first: bool = False, by_index: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_score(score)
        if axes is not None and not set(axes) <= {0, 1, 2}:
            raise ValueError(f"axes={tuple(axes)}: spatial axes are numbered from 0, up to 2 in a volume.")
        self.k = n_selected(channels, ratio)
        self.channels, self.ratio, self.score = channels, ratio, score
        self.out_channels = channels + self.k
        self.axes = None if axes is None else tuple(axes)
        self.weights = None if weights is None else tuple(weights)
        self.selected_first, self.by_index = selected_first, by_index
        self._looked_at = False
        if score == "random":
            self.register_buffer("draw", torch.rand(channels))

    def scores(self, x: Tensor) -> Tensor:
        """Return the score of every channel, `(B, C)` float32, without a gradient.

        Args:
            x: `(B, C, *S)`; computed in float32 also under autocast.
        """
        if self.score == "random":
            new = torch.rand(x.shape[0], self.channels, device=x.device)
            return new if self.training else self.draw.float().expand_as(new)
        with torch.no_grad(), without_autocast(x.device.type):
            if self.score == "curvature":
                return curvature_scores(x, self.axes, self.weights)
            over = self.score.removeprefix("entropy").removeprefix("_") or "channel"
            return entropy_scores(x, cast("Range", over), self.axes)

    def choose(self, scores: Tensor) -> Tensor:
        """`(B, C)` scores -> `(B, k)` int64 channels, highest score first; of equal ones, that of the lower number."""
        if exporting():  # ONNX has no stable sort, but a top k that is one
            chosen = scores.topk(self.k, 1).indices
        else:
            chosen = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.k]
        return chosen.sort(1).values if self.by_index else chosen

    def forward(self, x: Tensor) -> Tensor:
        """Select, and concatenate."""
        if x.shape[1] != self.channels:
            raise ValueError(f"the map has {x.shape[1]} channels; this selection was built for {self.channels}.")
        if self.k == 0:
            return x
        scores = self.scores(x)
        if self.score == "entropy_unique" and not self._looked_at and not torch.compiler.is_compiling():
            self._look_at(scores)
        chosen = self.choose(scores)
        selected = take_channels(x, chosen)
        return torch.cat([selected, x] if self.selected_first else [x, selected], 1)

    def _look_at(self, scores: Tensor) -> None:
        """Warn of scores that tell nothing, once."""
        self._looked_at = True
        found = scores[scores.isfinite()]
        if found.numel() > 1 and bool((found == found[0]).all()):
            warnings.warn(
                'all channels have the same score="entropy_unique": their values are all different, or all the same. '
                "Where features are not clipped as by a ReLU, choose 'entropy', whose histogram has bins.",
                stacklevel=2,
            )

    def extra_repr(self) -> str:
        """Show what is selected."""
        return f"{self.channels} + {self.k}, ratio={self.ratio}, score={self.score!r}, axes={self.axes}"


def check_score(score: str) -> None:
    """Raise ValueError if there is no such score."""
    if score not in get_args(Score):
        raise ValueError(f"score={score!r}: choose of {', '.join(get_args(Score))}.")
