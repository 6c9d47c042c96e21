"""MSNet and M2SNet on Res2Net-50, as published.

Papers: Automatic Polyp Segmentation via Multi-scale Subtraction Network (X. Zhao, L. Zhang, H. Lu; MICCAI 2021) and
M2SNet: Multi-scale in Multi-scale Subtraction Network for Medical Image Segmentation (X. Zhao et al.,
arXiv 2303.10894). Code: github.com/Xiaoqi-Zhao-DLUT/MSNet-M2SNet (no licence; read, not copied).

| network, one output | parameters | multiply-accumulates of convolutions at 256 x 256 and 352 x 352 |
|---|---|---|
| MSNet, `scales=(1,)` | 27,692,329 | 8,909,225,984 and 16,844,005,376 |
| M2SNet by equation (2), `filter="box_sum"` | 27,692,329 | 8,976,629,760 and 16,971,440,640, box filters included |
| M2SNet as its code filters, `filter="dense"` | 27,692,585 | as MSNet; with dense convolutions twice as much |
| MSNet by equation (3), `aggregate="paper"` | 26,586,601 | 8,845,524,992 and 16,723,570,688 |

The paper's 27.7 M and 9.0 G are those of the code's layout (`msnet_head.py`) at 256 x 256, filters not counted.

Where we differ: box filters act on the difference of the two maps, which equals the difference of the filtered maps;
the dense filters are computed by channel sums (`msnet_dense_filter.py`); K classes instead of one; colour images in
0..1 are normalised inside the network. The encoder is timm's `res2net50d`, which has the authors' (v1b) layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.decoders.multiscale_subtraction import resize_to
from nnunet_ext.architectures.encoders.pretrained import TimmEncoder, normalization_for
from nnunet_ext.architectures.network import HeadPerScale, NetworkSpec
from nnunet_ext.architectures.padding import nearest_multiple
from nnunet_ext.architectures.published.msnet_dense_filter import SIZES, DenseUnits
from nnunet_ext.architectures.published.msnet_head import Aggregate, BoxUnits, SubtractionHead, Units
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

STRIDE, SMALLEST = 32, 64  # of the deepest level; below, that level is a single pixel
Level1 = Literal["stem_pool", "activation"]


class MSNet(nn.Module):
    """Encoder, subtraction pyramid and decoder, one output at the finest level, resized to the input.

    Args:
        encoder: five maps, finest first.
        normalization: of the input.
        units: of the pyramid, see `SubtractionHead`.
        aggregate: whose reading.
        level1: the encoder's first map after a max pool of stride 2, or as it is.
        output_channels: K.
    """

    def __init__(
        self,
        encoder: TimmEncoder,
        normalization: nn.Module,
        units: Units,
        aggregate: Aggregate,
        level1: Level1,
        output_channels: int,
    ) -> None:
        super().__init__()
        width = encoder.out_channels[0]
        self.normalization, self.encoder, self.pools_level1 = normalization, encoder, level1 == "stem_pool"
        self.subtraction = SubtractionHead(encoder.out_channels, width, units, aggregate)
        self.head = HeadPerScale([nn.Conv2d(width, output_channels, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> logits `(B, K, H, W)`."""
        first, *deeper = self.encoder(self.normalization(x))
        if self.pools_level1:
            first = F.max_pool2d(first, 3, 2, 1)
        (logits,) = self.head([self.subtraction([first, *deeper])])
        return resize_to(logits, x)


@dataclass(frozen=True)
class MSNetSpec(NetworkSpec):
    """M2SNet by its equations, in the layout of its code; fields choose the other readings.

    Attributes:
        scales: odd sizes of the units' filters; (1,) is MSNet.
        filter: of the difference, per channel: the sum over the window (the paper's), or its mean; or `dense`, the
            code's filter of each map over all channels, with batch norm and ReLU.
        aggregate: the code's layout or the paper's equation (3), see `msnet_head.py`.
        level1: the first map after the stem's max pool (code), or before it.
        backbone: timm model with five maps.
    """

    scales: tuple[int, ...] = (1, 3, 5)
    filter: Literal["box_sum", "box_mean", "dense"] = "box_sum"
    aggregate: Aggregate = "code"
    level1: Level1 = "stem_pool"
    backbone: str = "res2net50d"
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.scales or any(k < 1 or k % 2 == 0 for k in self.scales):
            raise ValueError(f"scales={self.scales}: choose odd sizes, e.g. (1,) or (1, 3, 5).")
        if self.filter == "dense" and self.scales != (1, *SIZES):
            raise ValueError(f"scales={self.scales}: the dense filters are those of the published code, (1, 3, 5).")

    def check(self, topology: Topology) -> None:  # noqa: D102
        super().check(topology)
        if min(topology.patch_size) < SMALLEST:
            larger = [max(SMALLEST, p) for p in topology.patch_size]
            raise UnsupportedPlanError(
                f"patch_size {list(topology.patch_size)} has a side below {SMALLEST} pixels, and the network's deepest "
                f"level, {STRIDE} times smaller, would be a single pixel there, on which batch normalisation cannot be "
                f'trained. Set "patch_size": {larger} or more in this configuration of the plans file.'
            )

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return nearest_multiple(size, (STRIDE, STRIDE), (SMALLEST, SMALLEST))

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        encoder = TimmEncoder(self.backbone, input_channels)
        units: Units = partial(BoxUnits, scales=self.scales, reduce="mean" if self.filter == "box_mean" else "sum")
        if self.filter == "dense":
            units = partial(DenseUnits, channels=encoder.out_channels[0])
        normalization = normalization_for(encoder, topology)
        return MSNet(encoder, normalization, units, self.aggregate, self.level1, output_channels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {k: str(v) for k, v in asdict(self).items()}
