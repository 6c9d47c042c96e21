"""The U-Net of the two-stage paper, which is its coarse network, its fine one and its baseline.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701); the layers are those of the authors' published network.

Five 3 x 3 convolutions of stride 2 (64, 128, 256, 512, 1024 channels) down, five 3 x 3 transposed convolutions of
stride 2 (512, 256, 128, 64, 32) up, each with bias and ReLU; a 1 x 1 convolution to the outputs. What goes up is
concatenated with the encoder's map of its size: first the bottleneck with itself, then skips down to stride 2; there is
none at full resolution. No normalisation. Parameters of one output: 18,842,241 with three channels, 18,841,089 with
one; 38.324 G multiply-accumulates at 768 x 768, 17.033 G at 512, 4.258 G at 256.

Where we differ: sizes that 32 does not divide are padded and cropped inside; K outputs. Its initialisation
is PyTorch's, as the authors leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.network import HeadPerScale, NetworkSpec
from nnunet_ext.architectures.padding import nearest_multiple, pad_to_multiple
from nnunet_ext.architectures.topology import Topology

FEATURES = (64, 128, 256, 512, 1024)
STRIDE = 32  # of the bottleneck; the smallest side, too


def check_features(features: Sequence[int]) -> None:
    """Refuse channels that the network cannot be built with.

    Raises:
        ValueError: unless there are five positive even numbers.
    """
    if len(features) != len(FEATURES) or any(f < 2 or f % 2 for f in features):
        raise ValueError(f"features={tuple(features)}: give five positive even numbers of channels, e.g. {FEATURES}.")


class TwoStageUNet(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` for any H and W.

    Args:
        input_channels: C.
        output_channels: K.
        features: (5,) channels of the encoder, finest first; half of the first are those of the last map.
    """

    def __init__(self, input_channels: int, output_channels: int, features: Sequence[int] = FEATURES) -> None:
        super().__init__()
        check_features(features)
        down = pairwise((input_channels, *features))
        up = zip(features[::-1], (*features[-2::-1], features[0] // 2), strict=True)
        self.encoder = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in down)
        self.expansion = nn.ModuleList(nn.ConvTranspose2d(2 * i, o, 3, 2, 1, output_padding=1) for i, o in up)
        self.head = HeadPerScale([nn.Conv2d(features[0] // 2, output_channels, 1)])

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's size."""
        x, (rows, columns) = pad_to_multiple(x, (STRIDE, STRIDE), (STRIDE, STRIDE))
        skips = []
        for convolution in self.encoder:
            x = torch.relu(convolution(x))
            skips.append(x)
        for convolution, skip in zip(self.expansion, reversed(skips), strict=True):
            x = torch.relu(convolution(torch.cat([x, skip], 1)))
        return self.head([x])[0][..., rows, columns]


@dataclass(frozen=True)
class TwoStageUNetSpec(NetworkSpec):
    """The paper's U-Net on whole patches: its baseline, or either stage of a cascade.

    Attributes:
        features: (5,) channels of the encoder, finest first.

    Raises:
        ValueError: if they are not five positive even numbers.
    """

    features: tuple[int, ...] = FEATURES
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_features(self.features)

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return nearest_multiple(size, (STRIDE, STRIDE), (STRIDE, STRIDE))

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return TwoStageUNet(input_channels, output_channels, self.features)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {"features": str(self.features)}
