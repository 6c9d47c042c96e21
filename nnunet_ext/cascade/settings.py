"""What a plan says about selective refinement, under the key `selective_refinement` of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

KEY = "selective_refinement"  # nnU-Net keeps keys of a configuration that it does not know
PREVIOUS_TRAINER = "previous_stage_trainer"  # whose predictions nnU-Net's own cascade is given; None for the same
CRITERIA = ("mean_prob", "pixel_margin", "random")
ENLARGED = ("logits", "probabilities")


class TwoStageError(RuntimeError):
    """Two networks cannot work as two stages; the message says what to type."""


@dataclass(frozen=True)
class SelectiveRefinement:
    """How the windows of a fine network are chosen, and which network says where.

    Attributes:
        coarse_configuration: whose network is the coarse one, of the same plans.
        coarse_trainer: its trainer; None for the fine one's.
        budget: share of the windows that the fine network sees, 0 to 1.
        criterion: "mean_prob", max_c(mean p_c) - 1/2, the paper's; "pixel_margin", mean(p_(1) - p_(2)) / 2 of pixels;
            "random", the control: as many windows, drawn anew for each image.
        max_confidence: windows above it are never refined, 0 to 1/2; None for no limit. At 0 those are left that have
            no class with more than a half.
        coarse_weight: w0 of `regions.merge`, beside a window's weight, which is 10 in its middle; 0 pastes.
        coarse_enlarged: "logits", as nnU-Net enlarges a prediction, so that a budget of 0 is the coarse network's own;
            "probabilities", as the paper does.
        coarse_mirroring: whether the coarse network's predictions are mirrored and averaged as nnU-Net's are.
    """

    coarse_configuration: str
    coarse_trainer: str | None = None
    budget: float = 0.25
    criterion: str = "mean_prob"
    max_confidence: float | None = None
    coarse_weight: float = 1e-3
    coarse_enlarged: str = "logits"
    coarse_mirroring: bool = True

    def __post_init__(self) -> None:
        for name in ("budget", "max_confidence", "coarse_weight"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) and (value is not None or name != "max_confidence"):
                raise TwoStageError(f"{name} is a number; got {value!r}")
        if not 0 <= self.budget <= 1:
            raise TwoStageError(
                f"a budget is the share of windows to refine, from 0 to 1; got {self.budget}. E.g. --budget 0.25"
            )
        for name, allowed in (("criterion", CRITERIA), ("coarse_enlarged", ENLARGED)):
            if getattr(self, name) not in allowed:
                raise TwoStageError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if self.max_confidence is not None and not 0 <= self.max_confidence <= 0.5:
            raise TwoStageError(f"max_confidence is from 0 to 0.5 (no limit); got {self.max_confidence}")
        if not self.coarse_weight >= 0:
            raise TwoStageError(f"coarse_weight is at least 0 (0 pastes); got {self.coarse_weight}")

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> SelectiveRefinement | None:
        """Read a configuration of nnU-Net's plans; None if it is not refined selectively.

        Raises:
            TwoStageError: if a value is not allowed, or a key unknown.
        """
        found = configuration.get(KEY)
        if found is None:
            return None
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(found) - set(known))
        if unknown or "coarse_configuration" not in found:
            wrong = f"has the unknown {', '.join(unknown)}" if unknown else "lacks coarse_configuration"
            raise TwoStageError(f'"{KEY}" in the plans {wrong}; its keys are: {", ".join(known)}.')
        return cls(**found)

    def as_plan(self) -> dict[str, Any]:
        """Return what is written to a configuration under `KEY`."""
        return asdict(self)
