"""Instructive feature enhancement as a part of a composition: on the skip connections of the plan's middle stages.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023), Section 2.3 and Fig. 4. The paper has it "on the middle layers" of nnU-Net and says neither which nor with what
ratios, and its code has no nnU-Net. Here it is where the authors' U-Net has it: between the encoder, which is not
changed, and the decoder, whose convolutions read k channels more; at stages 1 and 2 (the finest is 0), with the ratios
that were best for their U-Net.

Where a plan's kernel has a 1, voxels are far apart along that axis, and neighbours are not looked for along it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection, Score, check_score, n_selected
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

STAGES = (1, 2)
RATIOS = {"entropy": (0.5, 0.5)}  # best of the paper's Table 2, on its test set
OTHER_RATIOS = (0.75, 0.5)


def default_ratios(score: str) -> tuple[float, ...]:
    """Return the ratios of stages 1 and 2: (0.5, 0.5) for entropies, (0.75, 0.5) for curvature and its control."""
    return RATIOS.get(score.split("_")[0], OTHER_RATIOS)


class EnhancedSkips(nn.Module):
    """`list` of encoder maps, finest first -> the same list, some maps with their best channels behind them.

    Args:
        selections: by stage.
        channels: (n_stages,) of the maps.
        strides: (n_stages, dims) of the encoder's stages.

    Attributes:
        out_channels: (n_stages,) of the returned maps.
        stages: which are enhanced.
        selections: one `ChannelSelection` each, in the order of `stages`.
    """

    def __init__(
        self, selections: dict[int, ChannelSelection], channels: Sequence[int], strides: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.stages = tuple(sorted(selections))
        self.selections = nn.ModuleList(selections[s] for s in self.stages)
        self.out_channels = [selections[i].out_channels if i in selections else c for i, c in enumerate(channels)]
        self._strides = [tuple(s) for s in strides]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """`(B, C_i, *S_i)` maps -> `(B, out_channels[i], *S_i)`."""
        enhanced = list(features)
        for stage, select in zip(self.stages, self.selections, strict=True):
            enhanced[stage] = select(features[stage])
        return enhanced

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Elements that are kept beyond the convolutions' outputs: the selected channels, and again in the whole.

        Args:
            input_size: (dims,) spatial size of the network's input.
        """
        total, size = 0, list(input_size)
        for stage, stride in enumerate(self._strides):
            size = [s // d for s, d in zip(size, stride, strict=True)]
            if stage in self.stages:
                select: Any = self.selections[self.stages.index(stage)]
                total += (select.k + select.out_channels if select.k else 0) * math.prod(size)
        return total


@dataclass(frozen=True)
class Enhancement:
    """The enhancement of a composition: which stages, which share of their channels, chosen by what.

        class nnUNetTrainerMine(nnUNetTrainerExt):
            spec = ComposedSpec(enhancement=Enhancement("curvature", stages=(1, 2, 3), ratios=(0.75, 0.5, 0.5)))

    Attributes:
        score, selected_first, by_index: as of `ChannelSelection`.
        stages: of the encoder, 0 is the finest; any but the last, which is no skip connection.
        ratios: in [0, 1], one for each stage; None for `default_ratios`, where there are two stages.

    Raises:
        ValueError: if the numbers of stages and ratios differ, a stage stands twice, a ratio is not in [0, 1], or there
            is no such score.
    """

    score: Score = "curvature"
    stages: tuple[int, ...] = STAGES
    ratios: tuple[float, ...] | None = None
    selected_first: bool = False
    by_index: bool = False

    def __post_init__(self) -> None:
        check_score(self.score)
        if self.ratios is None:
            object.__setattr__(self, "ratios", default_ratios(self.score))
        if len(set(self.stages)) != len(self.stages) or len(self.stages) != len(self._ratios) or not self.stages:
            raise ValueError(
                f"stages={self.stages} and ratios={self.ratios}: name each stage once, with a ratio of its own."
            )
        for ratio in self._ratios:
            n_selected(0, ratio)

    @property
    def _ratios(self) -> tuple[float, ...]:
        assert self.ratios is not None
        return self.ratios

    def check_topology(self, topology: Topology) -> None:
        """Refuse a plan that lacks a stage, or on whose features the score says nothing.

        Raises:
            UnsupportedPlanError: with what to choose.
        """
        skips = topology.n_stages - 1
        for stage in self.stages:
            if not 0 <= stage < skips:
                stages = f"stages 0 to {skips - 1}" if skips > 1 else "stage 0"
                choice = f"Choose {stages}, e.g. -tr nnUNetTrainerExt_{self.typed(skips - 1)}"
                raise UnsupportedPlanError(
                    f"the enhancement of stage {stage} is not possible: the plan has {topology.n_stages} stages, the "
                    f"last of which is no skip connection. {choice if skips else 'Plan with larger patches.'}"
                )
            size = self._size(topology, stage)
            if self.score == "curvature" and max(size[a] for a in self._axes(topology, stage)) < 3:
                raise UnsupportedPlanError(
                    f"the curvature of stage {stage} is not possible: its maps of the patch "
                    f"{list(topology.patch_size)} are {size} voxels, and curvature needs 3 along an axis. Choose finer "
                    f"stages, e.g. -tr nnUNetTrainerExt_{self.typed(0)}, or a larger patch."
                )
        if self.score == "entropy_unique" and not _clips(topology.nonlin):
            name = getattr(topology.nonlin, "__name__", "no nonlinearity")
            raise UnsupportedPlanError(
                f"entropy of exact values (entropy_unique) tells nothing after {name}: all values differ, and all "
                f"channels score the same. Choose -tr nnUNetTrainerExt_{Enhancement('entropy').typed()}, whose "
                "histogram has bins, or plan a network with ReLU."
            )

    def typed(self, stage: int | None = None) -> str:
        """Return how this is written in a trainer's name; at another stage, if one is given."""
        name = "IFE" + "".join(word.capitalize() for word in self.score.split("_"))
        if stage is not None:
            return f"{name}S{stage}R{round(100 * self._ratios[0])}"
        if (self.stages, self._ratios) == (STAGES, default_ratios(self.score)):
            return name
        pairs = zip(self.stages, self._ratios, strict=True)
        return name + "".join(f"S{s}R{round(100 * r)}" for s, r in pairs)

    def _size(self, topology: Topology, stage: int) -> list[int]:
        """Return the size of a stage's maps of the plan's patch."""
        steps = [math.prod(s[a] for s in topology.strides[: stage + 1]) for a in range(topology.dims)]
        return [p // s for p, s in zip(topology.patch_size, steps, strict=True)]

    def _axes(self, topology: Topology, stage: int) -> tuple[int, ...]:
        """Return the axes along which the stage's kernel reaches; all, if it does along none."""
        reached = tuple(a for a, k in enumerate(topology.kernels[stage]) if k > 1)
        return reached or tuple(range(topology.dims))

    def __call__(self, topology: Topology, channels: Sequence[int], strides: Sequence[Sequence[int]]) -> EnhancedSkips:
        """Build it for an encoder's maps.

        Args:
            topology: read from the plan.
            channels: (n_stages,) of the maps, finest first.
            strides: (n_stages, dims) of the encoder's stages.
        """
        selections = {
            stage: ChannelSelection(
                channels[stage],
                ratio,
                self.score,
                axes=self._axes(topology, stage),
                selected_first=self.selected_first,
                by_index=self.by_index,
            )
            for stage, ratio in zip(self.stages, self._ratios, strict=True)
        }
        return EnhancedSkips(selections, channels, strides)


def _clips(nonlin: Any) -> bool:
    """Whether many values of what a nonlinearity returns are equal."""
    return nonlin in (nn.ReLU, nn.ReLU6, nn.Hardtanh)


def named_enhancement(score: str, variant: str = "", at: str = "") -> Enhancement:
    """Return what `IFE<Score>[<histogram>][S<stage>R<percent>...]` in a trainer's name means.

    Args:
        score: `Curvature`, `Entropy` or `Random`.
        variant: of an entropy, its histogram: `Image`, `Batch`, `Unique`, `Joint`, or left out for the channel's.
        at: stages and ratios, e.g. `S1R75S2R50`.

    Raises:
        ValueError: if a ratio or a stage is not possible, or what is named is the default, which has one name.
    """
    kind: Any = f"{score}_{variant}".lower().rstrip("_")
    if not at:
        return Enhancement(kind)
    pairs = [pair.split("R") for pair in at.split("S")[1:]]
    made = Enhancement(kind, tuple(int(s) for s, _ in pairs), tuple(int(r) / 100 for _, r in pairs))
    if list(made.stages) != sorted(made.stages):
        raise ValueError(f"stages={made.stages}: name them in ascending order.")
    if made == Enhancement(kind):
        raise ValueError(f"these are the stages and ratios without any: write {made.typed()}.")
    return made
