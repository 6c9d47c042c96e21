"""Both stages in one network, which nnU-Net trains and predicts with as with any other.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 3. Of an image, here nnU-Net's patch:

1. the coarse network sees it 8 times smaller along each axis; its probabilities are enlarged to its size;
2. of Np x Np cells, those Np are chosen with the lowest |mean(p) - 1/2| (`regions.confidence`);
3. the fine network, the same U-Net, sees these cells alone at full size; what it says replaces what is there.

The cost is 1/64 + 1/Np of the U-Net's on the whole image: all its layers scale with the area. It holds in fact only if
the chosen cells go through the network as one batch, which they do here; the authors' go one by one.

In training both networks learn at once, independently: the coarse one from the smaller image, the fine one from a box
of the size of a cell, drawn anywhere in each image and not where the coarse one is unsure (section 4.3).

Where we differ: several classes and regions; images that are not square, in cells that are not; boxes are averaged and
enlarged between pixel centres, which the paper leaves open; sizes that Np does not divide are padded and cropped
inside (what is padded counts in the means). The authors' code chooses by mean logits and pastes logits, the paper does
both with probabilities, and so do we. What is returned is their logarithm (of regions, the logit), as nnU-Net expects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.activation import KnowsActivation
from nnunet_ext.architectures.network import NetworkSpec, TrainingOutput
from nnunet_ext.architectures.padding import nearest_multiple, pad_to_multiple
from nnunet_ext.architectures.published.two_stage_unet import FEATURES, STRIDE, TwoStageUNet, check_features
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError
from nnunet_ext.cascade.crops import cells_of, crop, image_of, random_corners, shrink
from nnunet_ext.cascade.regions import as_logits, confidence, lowest, upsample

FACTOR = 8
DECIMALS = 6  # of a confidence in float32: cells that differ by rounding alone are equal


def enlarged_size(size: Sequence[int], factor: int) -> list[int]:
    """Return the (2,) size at which the authors train the coarse network, before they cut a box out of it.

    It is 1/8 + 1/20 of the image for a factor of 8, and the box is 1/8 of it: as large as what is tested, but of
    objects 1.4 times as large.
    """
    return [s // factor + s // 20 for s in size]


class TwoStageNet(KnowsActivation):
    """`(B, C, H, W)` -> logits `(B, K, H, W)`; in training a `TrainingOutput`.

    Its `logits` are the coarse network's, `(B, K, H / factor, W / factor)`, and its `extra` has `fine`, the logits
    `(B, K, h, w)` of one box of each image, and `corners`, `(B, 2)`, where these boxes begin; with `enlarged` also
    `coarse_corners`, where the coarse network's boxes begin in the image of `enlarged_size`.

    Buffers:
        uses_sigmoid: bool; True for region-based training, where every output is a sigmoid of its own.

    Attributes:
        enlarged: train the coarse network at the authors' scale, not at the one that it is tested at.

    Args:
        spec: which one.
        input_channels: C.
        output_channels: K.
    """

    def __init__(self, spec: TwoStageNetSpec, input_channels: int, output_channels: int) -> None:
        super().__init__()
        self.grid, self.factor = spec.grid, spec.factor
        self.coarse = TwoStageUNet(input_channels, output_channels, spec.features)
        self.fine = TwoStageUNet(input_channels, output_channels, spec.features)
        self.enlarged = False

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """Return log p (labels) or logit p (regions), float32, of the input's size; see the class for training."""
        if self.training:
            return self._training_output(x)
        p = self.coarse_probabilities(x)
        multiple = (self.grid, self.grid)
        (x, (rows, columns)), (p, _) = pad_to_multiple(x, multiple, multiple), pad_to_multiple(p, multiple, multiple)
        cells = cells_of(p, self.grid)
        first = torch.arange(x.shape[0], device=x.device)[:, None] * self.grid**2
        chosen = (first + self.choose(cells)).flatten()
        fine = self._probabilities(self.fine(cells_of(x, self.grid).index_select(0, chosen)))
        merged = image_of(cells.index_copy(0, chosen, fine), self.grid)
        return as_logits(merged[..., rows, columns], self._sigmoid)

    def coarse_probabilities(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the coarse network's probabilities, enlarged: `(B, K, H, W)` float32."""
        p = self._probabilities(self.coarse(shrink(x, self._coarse_size(x))))
        return upsample(p.flatten(0, 1), x.shape[2:]).unflatten(0, p.shape[:2])

    def choose(self, cells: Tensor) -> Tensor:
        """Return the `(B, grid)` cells of each image to refine, int64, of `(B grid^2, K, h, w)` probabilities."""
        means = cells.mean((2, 3)).unflatten(0, (-1, self.grid**2)).permute(2, 0, 1)
        return lowest(torch.round(confidence(means, self._sigmoid), decimals=DECIMALS), self.grid)

    def _training_output(self, x: Tensor) -> TrainingOutput:
        size = [math.ceil(s / self.grid) for s in x.shape[2:]]
        corners, small = random_corners(x, size), self._coarse_size(x)
        extra = {"fine": self.fine(crop(x, corners, size)), "corners": corners}
        if self.enlarged:
            shrunk = shrink(x, enlarged_size(x.shape[2:], self.factor))
            extra["coarse_corners"] = random_corners(shrunk, small)
            seen = crop(shrunk, extra["coarse_corners"], small)
        else:
            seen = shrink(x, small)
        return TrainingOutput(self.coarse(seen), extra)

    def _coarse_size(self, x: Tensor) -> list[int]:
        return [s // self.factor for s in x.shape[2:]]

    def _probabilities(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits.float()) if self._sigmoid else torch.softmax(logits.float(), 1)


@dataclass(frozen=True)
class TwoStageNetSpec(NetworkSpec):
    """The paper's two networks and what is between them.

    Attributes:
        grid: Np, cells along each axis, and cells that are refined.
        factor: how much smaller the coarse network's images are along each axis.
        features: (5,) channels of either U-Net's encoder, finest first.

    Raises:
        ValueError: if Np or the factor is not positive, or the features are not five positive even numbers.
    """

    grid: int = 4
    factor: int = FACTOR
    features: tuple[int, ...] = FEATURES
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.grid < 1 or self.factor < 1:
            raise ValueError(f"grid={self.grid} (the paper's Np) and factor={self.factor} are at least 1.")
        check_features(self.features)

    def check(self, topology: Topology) -> None:  # noqa: D102
        super().check(topology)
        parts = {
            f"cells, {self.grid} x {self.grid} of them": (self.grid, "another Np, e.g. nnUNetTrainerTwoStageNet_Np2"),
            f"coarse images, {self.factor} times smaller": (self.factor, "nnUNetTrainerTwoStageUNet, of one stage"),
        }
        for what, (divisor, other) in parts.items():
            sides = [p // divisor for p in topology.patch_size]
            if min(sides) < STRIDE:
                least = [max(p, STRIDE * divisor) for p in topology.patch_size]
                raise UnsupportedPlanError(
                    f"of patches of {list(topology.patch_size)} pixels, the {what}, have {sides}, and the network's "
                    f'least side is {STRIDE}. Take {other}, or larger patches: set "patch_size": {least} or more in '
                    "this configuration of the plans file (and a smaller batch_size, if memory is short)."
                )

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        multiple = STRIDE * math.lcm(self.grid, self.factor)
        return nearest_multiple(size, (multiple, multiple), (multiple, multiple))

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return TwoStageNet(self, input_channels, output_channels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {k: str(getattr(self, k)) for k in ("grid", "factor", "features")}
