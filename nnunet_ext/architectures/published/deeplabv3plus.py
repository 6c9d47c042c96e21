"""The DeepLabV3+ of the IFE paper, with and without instructive feature enhancement.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023); DeepLabV3+: Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation (L.-C. Chen et al.,
ECCV 2018).

ResNet-101 at output stride 16 and atrous spatial pyramid pooling (ASPP), both of segmentation_models_pytorch (MIT), the
latter with plain convolutions of rates 6, 12 and 18; the finer map of stride 4 in 48 channels; two plain 3 x 3
convolutions and a linear one of both. With IFE, [selected, raw] of these 48 channels; of ASPP's 256 too, if the second
ratio is not 0.

| three channels, one output | ratios | parameters |
|---|---|---|
| without IFE | | 59,339,169 |
| as published | 0.75, 0 | + 82,944 |
| the authors' default of training | 0.75, 0.75 | + 525,312 |

The paper speaks of low-level features alone; its code also has ASPP's.

Where we differ: sizes that 16 does not divide are padded and cropped inside; K classes; colour images in 0..1 are
normalised inside the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.encoders.named_weights import copy_by_name
from nnunet_ext.architectures.encoders.pretrained import normalization_for
from nnunet_ext.architectures.network import HeadPerScale
from nnunet_ext.architectures.published.enhanced import EnhancedNetworkSpec
from nnunet_ext.architectures.topology import Topology

ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
RATES, LOW = (6, 12, 18), 48


class DeepLabV3Plus(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` for any H and W; a batch of training has two images or more.

    Attributes:
        name: of timm's model with the same layers and torchvision's weights.
        input_channels: C.
        mean, std: (3,) of the images that its weights expect, in 0..1.
        selections: one `ChannelSelection` each for the low-level map and ASPP's; empty without IFE.

    Args:
        spec: which one.
        topology: of the plan, for its normalisation; None if not known.
        input_channels: C.
        output_channels: K.
    """

    def __init__(
        self, spec: DeepLabV3PlusSpec, topology: Topology | None, input_channels: int, output_channels: int
    ) -> None:
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP
        from segmentation_models_pytorch.encoders import get_encoder
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        super().__init__()
        self.spec, self.input_channels, self.name = spec, input_channels, f"{spec.encoder}.tv_in1k"
        self.mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
        self.std: tuple[float, ...] = IMAGENET_DEFAULT_STD
        self.normalization = normalization_for(self, topology)
        self.encoder: Any = get_encoder(spec.encoder, in_channels=input_channels, weights=None, output_stride=16)
        width = spec.width
        self.aspp = ASPP(self.encoder.out_channels[-1], width, RATES, separable=False, dropout=0.5)
        self.low = nn.Sequential(*_convolution(self.encoder.out_channels[2], LOW, 1))
        selections = spec.selections((LOW, width), selected_first=True)
        self.selections = nn.ModuleList(selections)
        seen = LOW + width + sum(s.k for s in selections)
        self.merge = nn.Sequential(
            *_convolution(seen, width, 3), nn.Dropout(0.5), *_convolution(width, width, 3), nn.Dropout(0.1)
        )
        self.head = HeadPerScale([nn.Conv2d(width, output_channels, 1)])

    def maps(self, x: Tensor) -> list[Tensor]:
        """`(B, C, H, W)`, multiples of 16 -> what is merged: the map of stride 4 and that of stride 16."""
        _, _, low, *_, deep = self.encoder(self.normalization(x))
        maps = [self.low(low), self.aspp(deep)]
        return [select(m) for select, m in zip(self.selections, maps, strict=True)] if self.selections else maps

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's size."""
        padded, (rows, columns) = self.spec.pad(x)
        low, deep = self.maps(padded)
        (logits,) = self.head([self.merge(torch.cat([enlarge(deep, low), low], 1))])
        return enlarge(logits, padded)[..., rows, columns]

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Copy ImageNet weights and statistics of the encoder; all else keeps its own.

        Args:
            state: the state dict of timm's model of this name with 3 input channels.

        Raises:
            WeightsError: if it is not that; nothing is copied then.
        """
        sources = {k: k.removeprefix("encoder.") for k in self.state_dict() if k.startswith("encoder.")}
        copy_by_name(self, sources, state, self.name, self.input_channels)


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Resize `(B, C, h, w)` bilinearly, corners aligned, to the height and width of another map."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


def _convolution(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    """Build a convolution without bias, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


@dataclass(frozen=True)
class DeepLabV3PlusSpec(EnhancedNetworkSpec):
    """The paper's DeepLabV3+.

    Attributes:
        encoder: residual network of segmentation_models_pytorch.
        width: channels of the pyramid pooling and of the merged map.
    """

    encoder: str = "resnet101"
    width: int = 256
    places: ClassVar[tuple[str, ...]] = ("the 48 low-level channels", "those of the pyramid pooling")
    paper_ratios: ClassVar[dict[str, tuple[float, ...]]] = {"curvature": (0.75, 0.0)}
    stride: ClassVar[int] = 16
    smallest: ClassVar[int] = 32
    least_batch: ClassVar[int] = 2  # the pyramid's pooling leaves one value an image to normalise

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder={self.encoder!r}: choose of {', '.join(ENCODERS)}.")
        if self.width < 1:
            raise ValueError(f"width={self.width}: choose 1 or more; the paper has 256.")

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return DeepLabV3Plus(self, topology, input_channels, output_channels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {"encoder": self.encoder, "width": str(self.width)}
