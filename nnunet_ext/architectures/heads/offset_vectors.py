"""Offset vectors: a class map refined by looking its scores up at other pixels.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Section 3.2.
Beside the initial class scores S_i, a head predicts for each pixel p an offset o(p) to a seed pixel and how far that
one is to be believed, F(p):

    S_s(p) = S_i(p + o(p))                       (2), bilinear, trilinear in volumes
    S_f(p) = (1 - F(p)) S_i(p) + F(p) S_s(p)     (4)

As in the authors' code, o = r tanh(raw), r the largest offset, F = sigmoid(raw), positions are clamped to the image,
and logits are looked up and fused, not probabilities (`fuse` chooses otherwise).

A step of the optimiser moves such an offset by r^2 times what it would if raw were voxels. Under nnU-Net's momentum of
0.99 one step at a 128-pixel patch is 12 pixels, and after twenty all offsets are at their largest, where tanh has no
gradient. With `in_voxels`, o = r tanh(raw / r): the same offsets can be had, and steps do not depend on r.

Where we differ: offsets are voxels in tensor axis order, and the largest is fixed when the network is built. The code
has grid units of whatever array it is given, so that its network reaches twice as far in a whole test image as in the
crop that it was trained on. A zero offset is the identity, as under the PyTorch that the authors pin (under a later one
their call shifts the image by up to half a pixel). Volumes are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.precision import without_autocast

Fuse = Literal["logits", "softmax", "sigmoid"]


class Refined(NamedTuple):
    """A class map and what it was made of; all float32.

    Attributes:
        fused: S_f, `(B, K, *S)` logits.
        initial: S_i, `(B, K, *S)` logits.
        seed: S_s, `(B, K, *S)` logits.
        confidence: `(B, 1, *S)`, the logit of F.
        offsets: `(B, n, *S)` voxels of S, channel a along axis a. n is the number of axes, without those in front
            along which nothing is looked up.
    """

    fused: Tensor
    initial: Tensor
    seed: Tensor
    confidence: Tensor
    offsets: Tensor

    @property
    def beside(self) -> dict[str, Tensor]:
        """All but `fused`, by name: the extra outputs of a network in training."""
        return {k: v for k, v in self._asdict().items() if k != "fused"}


def look_up(values: Tensor, offsets: Tensor) -> Tensor:
    """Return `values[p + offsets[p]]`, linear between voxels, positions clamped to the array.

    Args:
        values: `(B, C, *S)` with 2 or 3 axes S.
        offsets: `(B, len(S), *S)` voxels, channel a along axis a, of the same float type. Half precision is too coarse:
            positions are off by up to 0.1 voxel of 512 in float16, 0.5 in bfloat16.

    Returns:
        `(B, C, *S)`.
    """
    axes = []
    for a, size in enumerate(values.shape[2:]):
        # voxel i at (2 i + 1) / size - 1, the convention that float32 holds several times more exactly; one rounding
        own = (2 * torch.arange(size, device=values.device, dtype=values.dtype) + (1 - size)) / size
        own = own.view(-1, *[1] * (values.ndim - 3 - a))
        axes.append(own + offsets[:, a] * (2 / size))
    grid = torch.stack(axes[::-1], -1)  # grid_sample counts axes from the last
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)


def fuse_logits(initial: Tensor, seed: Tensor, confidence: Tensor) -> Tensor:
    """Return `(1 - F) initial + F seed`, F the sigmoid of `confidence`."""
    return initial + torch.sigmoid(confidence) * (seed - initial)


def fuse_softmax(initial: Tensor, seed: Tensor, confidence: Tensor) -> Tensor:
    """Return log((1 - F) softmax(initial) + F softmax(seed)), by equation (4) as it is printed."""
    stay = F.logsigmoid(-confidence) + F.log_softmax(initial, 1)
    return torch.logaddexp(stay, F.logsigmoid(confidence) + F.log_softmax(seed, 1))


def fuse_sigmoid(initial: Tensor, seed: Tensor, confidence: Tensor) -> Tensor:
    """Return the logit of (1 - F) sigmoid(initial) + F sigmoid(seed), for regions."""
    stay, go = F.logsigmoid(-confidence), F.logsigmoid(confidence)
    inside = torch.logaddexp(stay + F.logsigmoid(initial), go + F.logsigmoid(seed))
    return inside - torch.logaddexp(stay + F.logsigmoid(-initial), go + F.logsigmoid(-seed))


FUSE: dict[Fuse, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "logits": fuse_logits,
    "softmax": fuse_softmax,
    "sigmoid": fuse_sigmoid,
}


def check_fuse(fuse: str) -> None:
    """Refuse a fusion that there is not.

    Raises:
        ValueError: naming those that there are.
    """
    if fuse not in FUSE:
        raise ValueError(f"fuse={fuse!r}: choose of {', '.join(FUSE)}.")


class OffsetRefinement(nn.Module):
    """Initial logits and the raw output of an offset head -> `Refined`. It has no parameters.

    It computes in float32 whatever autocast says, since half precision cannot hold positions.

    Args:
        max_offset: (n,) voxels, the largest offset along each of the last n axes. Axes in front of them are part of the
            batch (the slices of a lifted image).
        fuse: `logits`; or the probabilities of labels (`softmax`) or regions (`sigmoid`), returned as logits.
        in_voxels: the raw output is in voxels, not in largest offsets (the authors').
    """

    max_offset: Tensor

    def __init__(self, max_offset: Sequence[float], fuse: Fuse = "logits", in_voxels: bool = False) -> None:
        super().__init__()
        self.fuse, self.in_voxels = fuse, in_voxels
        shape = (-1, *[1] * len(max_offset))
        self.register_buffer("max_offset", torch.tensor(max_offset).view(shape), persistent=False)

    @property
    def channels(self) -> int:
        """Channels of the raw output, n + 1."""
        return len(self.max_offset) + 1

    def forward(self, initial: Tensor, raw: Tensor) -> Refined:
        """Look the seeds up and fuse.

        Args:
            initial: `(B, K, *S)` logits.
            raw: `(B, n + 1, *S)`, n channels of offsets before tanh, in axis order, then the logit of the confidence.
        """
        with without_autocast(initial.device.type):
            initial, raw = initial.float(), raw.float()
            by_slices = initial.ndim - 2 > len(self.max_offset)
            largest = (self.max_offset[:, None] if by_slices else self.max_offset).to(raw)
            offsets, confidence = raw[:, :-1], raw[:, -1:]
            offsets = torch.tanh(offsets / largest if self.in_voxels else offsets) * largest
            seed = (_each_slice if by_slices else look_up)(initial, offsets)
            return Refined(FUSE[self.fuse](initial, seed, confidence), initial, seed, confidence, offsets)


def _each_slice(volume: Tensor, offsets: Tensor) -> Tensor:
    """Look up within each slice of the first axis: `(B, C, D, *S)`, `(B, n, D, *S)` -> `(B, C, D, *S)`."""
    depth = volume.shape[2]
    flat, moved = (v.transpose(1, 2).flatten(0, 1) for v in (volume, offsets))
    return look_up(flat, moved).unflatten(0, (-1, depth)).transpose(1, 2)
