"""The SINetV2 of the IFE paper, with and without instructive feature enhancement.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023); SINetV2: Concealed Object Detection (D.-P. Fan, G.-P. Ji, M.-M. Cheng, L. Shao; TPAMI 2022), code
github.com/GewelsJI/SINet-V2 (Apache License 2.0; read, not copied).

Maps of Res2Net-50 at strides 8, 16 and 32 become 32 channels each; all three give a first class map S_g, which reverse
stages refine at stride 32 (S_5), 16 (S_4) and 8 (S_3, the result). With IFE, the reverse stages are given [selected,
raw] of the 32 channels through a 3 x 3 convolution back to 32; S_g is made of the raw ones.

| three channels, one output | ratios at strides 8, 16, 32 | parameters |
|---|---|---|
| without IFE | | 24,926,642 |
| as published | 0.75, 0.75, 1 | + 50,784 |

The published 26,975,642 contain the 2,049,000 of the backbone's classifier, which the authors' code builds and does not
use.

Where we differ: sizes that 32 does not divide are padded and cropped inside; K classes (`sinetv2_parts.py`); colour
images in 0..1 are normalised inside the network. The encoder is timm's `res2net50d`, the authors' v1b layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nnunet_ext.architectures.decoders.multiscale_subtraction import resize_to
from nnunet_ext.architectures.encoders.pretrained import TimmEncoder, normalization_for
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.enhanced import EnhancedNetworkSpec
from nnunet_ext.architectures.published.sinetv2_parts import NeighbourConnection, ReverseStage, TextureEnhanced
from nnunet_ext.architectures.topology import Topology

WIDTH, GROUPS = 32, (32, 8, 1)


class SINetV2(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` for any H and W.

    In training a `TrainingOutput` with S_3 as logits and `s_g`, `s_5` and `s_4`, of the same shape, beside it.

    Attributes:
        selections: one `ChannelSelection` for each stride, 8, 16 and 32; empty without IFE.

    Args:
        spec: which one.
        topology: of the plan, for its normalisation; None if not known.
        input_channels: C.
        output_channels: K.
    """

    def __init__(self, spec: SINetV2Spec, topology: Topology | None, input_channels: int, output_channels: int) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = TimmEncoder(spec.backbone, input_channels, out_indices=(2, 3, 4))
        self.normalization = normalization_for(self.encoder, topology)
        self.textures = nn.ModuleList(TextureEnhanced(c, WIDTH) for c in self.encoder.out_channels)
        self.neighbours = NeighbourConnection(WIDTH, output_channels)
        selections = spec.selections((WIDTH,) * 3, selected_first=True)
        self.selections = nn.ModuleList(selections)
        self.first_convs = nn.ModuleList(nn.Conv2d(s.out_channels, WIDTH, 3, padding=1) for s in selections)
        self.reverse_stages = nn.ModuleList(ReverseStage(WIDTH, GROUPS, output_channels) for _ in range(3))

    def enhance(self, maps: list[Tensor]) -> list[Tensor]:
        """Return what the reverse stages are given of three maps `(B, 32, H_i, W_i)`, in the same shapes."""
        if not self.selections:
            return maps
        layers = zip(self.selections, self.first_convs, maps, strict=True)
        return [convolution(select(m)) for select, convolution, m in layers]

    def class_maps(self, x: Tensor) -> list[Tensor]:
        """`(B, C, H, W)`, multiples of 32 -> S_g, S_5, S_4 and S_3, each at its own size."""
        features = self.encoder(self.normalization(x))
        maps = [texture(f) for texture, f in zip(self.textures, features, strict=True)]
        found = [self.neighbours(*maps)]
        for stage, m in zip(reversed(self.reverse_stages), reversed(self.enhance(maps)), strict=True):
            found.append(stage(m, resize_to(found[-1], m)))
        return found

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """`(B, C, H, W)` -> logits `(B, K, H, W)`, or what the class says of training."""
        padded, (rows, columns) = self.spec.pad(x)
        found = self.class_maps(padded)
        found = [resize_to(m, padded)[..., rows, columns] for m in (found if self.training else found[-1:])]
        if not self.training:
            return found[0]
        *others, logits = found
        return TrainingOutput(logits, dict(zip(("s_g", "s_5", "s_4"), others, strict=True)))


@dataclass(frozen=True)
class SINetV2Spec(EnhancedNetworkSpec):
    """The paper's SINetV2.

    Attributes:
        backbone: timm model with five maps, of strides 2 to 32.
    """

    backbone: str = "res2net50d"
    places: ClassVar[tuple[str, ...]] = ("the maps of stride 8", "16", "32")
    paper_ratios: ClassVar[dict[str, tuple[float, ...]]] = {"curvature": (0.75, 0.75, 1.0)}
    stride: ClassVar[int] = 32
    smallest: ClassVar[int] = 64  # below, the deepest map is a single pixel, which cannot be normalised over one image

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return SINetV2(self, topology, input_channels, output_channels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {"backbone": self.backbone}
