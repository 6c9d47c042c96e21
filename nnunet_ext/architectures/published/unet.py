"""The U-Net of the IFE paper, with and without instructive feature enhancement.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023); U-Net: O. Ronneberger, P. Fischer, T. Brox, MICCAI 2015.

64, 128, 256, 512 and 1024 channels, each stage two 3 x 3 convolutions with bias, batch norm and ReLU; max pooling down,
transposed convolutions up. With IFE, the skip connections of 128 and of 256 channels, [raw, selected]; the encoder goes
on with the raw maps.

| three channels, one output | ratios | parameters |
|---|---|---|
| without IFE | | 31,043,521 |
| curvature, as published | 0.75, 0.5 | + 405,504 |
| entropy, as published | 0.5, 0.5 | + 368,640 |

Where we differ: convolutions are initialised as nnU-Net's are; sizes that 16 does not divide are padded and cropped
inside; K classes. The paper's text speaks of the input of the next stage, its code has the skip connections alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nnunet_ext.architectures.decoders.unet import UNetDecoder
from nnunet_ext.architectures.encoders.plan import PlainEncoder
from nnunet_ext.architectures.heads.linear import linear_head
from nnunet_ext.architectures.network import HeadPerScale
from nnunet_ext.architectures.published.enhanced import EnhancedNetworkSpec
from nnunet_ext.architectures.topology import Topology

FEATURES = (64, 128, 256, 512, 1024)
STAGES = (1, 2)  # whose skip connections are enhanced; the finest is 0


def _topology(features: tuple[int, ...]) -> Topology:
    n = len(features)
    return Topology(
        dims=2, patch_size=(32, 32), features=features, strides=((1, 1), *[(2, 2)] * (n - 1)), kernels=((3, 3),) * n,
        encoder_blocks=(2,) * n, decoder_convs=(2,) * (n - 1), norm=nn.BatchNorm2d, norm_kwargs={}, nonlin=nn.ReLU,
        nonlin_kwargs={"inplace": True},
    )  # fmt: skip


class UNet(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` for any H and W.

    Attributes:
        selections: one `ChannelSelection` for each of `STAGES`; empty without IFE.

    Args:
        spec: which one.
        input_channels: C.
        output_channels: K.
    """

    def __init__(self, spec: UNetSpec, input_channels: int, output_channels: int) -> None:
        super().__init__()
        self.spec, topology = spec, _topology(spec.features)
        selections = spec.selections([spec.features[s] for s in STAGES], selected_first=False)
        coming = list(spec.features)
        for stage, selection in zip(STAGES, selections, strict=False):
            coming[stage] = selection.out_channels
        self.encoder = PlainEncoder(topology, input_channels, pool="max")
        self.selections = nn.ModuleList(selections)
        self.expansion = UNetDecoder(topology, spec.features, topology.strides, False, coming)
        self.head = HeadPerScale([linear_head(2, spec.features[0], output_channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the input's size."""
        padded, (rows, columns) = self.spec.pad(x)
        features = self.encoder(padded)
        for stage, select in zip(STAGES, self.selections, strict=False):
            features[stage] = select(features[stage])
        (logits,) = self.head(self.expansion(features)[:1])
        return logits[..., rows, columns]


@dataclass(frozen=True)
class UNetSpec(EnhancedNetworkSpec):
    """The paper's U-Net.

    Attributes:
        features: (5,) channels of the stages, finest first.
    """

    features: tuple[int, ...] = FEATURES
    places: ClassVar[tuple[str, ...]] = ("the skip connection of stride 2", "that of stride 4")
    paper_ratios: ClassVar[dict[str, tuple[float, ...]]] = {"curvature": (0.75, 0.5), "entropy": (0.5, 0.5)}
    stride: ClassVar[int] = 16
    smallest: ClassVar[int] = 32  # a bottom of a single pixel cannot be normalised over one image

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.features) != len(FEATURES) or min(self.features) < 1:
            raise ValueError(f"features={self.features}: give the channels of {len(FEATURES)} stages, e.g. {FEATURES}.")

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return UNet(self, input_channels, output_channels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {"features": str(self.features)}
