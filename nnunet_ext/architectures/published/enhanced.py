"""What the networks of the IFE paper have in common: a score, ratios, and padding inside.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023), Fig. 4 and Tables 1 and 2: U-Net, DeepLabV3+ and SINetV2, each with and without the selection of channels
(`encoders/channel_selection.py`). Places and order of the channels are those of the authors' code, yezi-66/IFE, which
has no licence and was not copied; equation (3) of the paper has [raw, selected] everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection, Score, check_score
from nnunet_ext.architectures.network import NetworkSpec
from nnunet_ext.architectures.padding import nearest_multiple, pad_to_multiple
from nnunet_ext.architectures.topology import Topology


@dataclass(frozen=True)
class EnhancedNetworkSpec(NetworkSpec):
    """A network of the paper, 2D, for any patch size.

    Attributes:
        score: what channels are selected by; None: none are, the network without IFE.
        ratios: share of the channels that are selected at each of `places`; None: the paper's for the score.
        places: where, in the order of the ratios.
        paper_ratios: by the score's first word; those of `curvature` for other scores.
        stride, smallest: images are padded to multiples of `stride` and at least `smallest` pixels a side.

    Raises:
        ValueError: if there is no such score, if the ratios are too many, too few or not in [0, 1], or if there are
            ratios without a score.
    """

    score: Score | None = None
    ratios: tuple[float, ...] | None = None
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False
    places: ClassVar[tuple[str, ...]]
    paper_ratios: ClassVar[dict[str, tuple[float, ...]]]
    stride: ClassVar[int]
    smallest: ClassVar[int]

    def __post_init__(self) -> None:
        if self.score is not None:
            check_score(self.score)
        if self.ratios is None:
            return
        places, best = ", ".join(self.places), self.paper_ratios["curvature"]
        if len(self.ratios) != len(self.places) or not all(0 <= r <= 1 for r in self.ratios):
            raise ValueError(f"ratios={self.ratios}: give {len(self.places)} from 0 to 1, of {places}; e.g. {best}.")
        if self.score is None:
            raise ValueError(
                f'ratios={self.ratios} without a score select nothing. Add score="curvature", or leave out the ratios.'
            )

    @property
    def used_ratios(self) -> tuple[float, ...]:
        """(number of places,) ratios; none without a score."""
        if self.score is None:
            return ()
        by_score = self.paper_ratios.get(self.score.split("_")[0], self.paper_ratios["curvature"])
        return by_score if self.ratios is None else self.ratios

    def selections(self, channels: Sequence[int], selected_first: bool) -> list[ChannelSelection]:
        """Build what selects at each place; nothing without a score.

        Args:
            channels: (number of places,) of the maps.
            selected_first: [selected, raw] in the place of [raw, selected].
        """
        if self.score is None:
            return []
        pairs = zip(channels, self.used_ratios, strict=True)
        return [ChannelSelection(c, r, self.score, selected_first=selected_first) for c, r in pairs]

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return nearest_multiple(size, (self.stride,) * 2, (self.smallest,) * 2)

    def pad(self, x: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
        """`(B, C, H, W)` -> the padded image, and the slices that cut the original region out again."""
        return pad_to_multiple(x, (self.stride,) * 2, (self.smallest,) * 2)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {"score": str(self.score), "ratios": str(self.used_ratios)}
