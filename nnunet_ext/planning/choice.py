"""Factor and budget: the cheapest of a few whose Dice, at best, is high enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BUDGETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


@dataclass(frozen=True)
class Resolution:
    """A low resolution.

    Attributes:
        factor: that the user may give; None for nnU-Net's own.
        per_axis: how many times longer a voxel is, along each axis.
    """

    factor: int | None
    per_axis: tuple[float, ...]

    @property
    def share(self) -> float:
        """Voxels of low resolution for one of full resolution."""
        return 1 / math.prod(self.per_axis)


@dataclass(frozen=True)
class Option:
    """A resolution and a budget, and the mean Dice that they reach at best."""

    resolution: Resolution
    budget: float
    dice: float

    @property
    def cost(self) -> float:
        """Voxels that both networks see, for one that a single network sees: 1 / s^2 + f in 2D."""
        return self.resolution.share + self.budget


def cheapest(options: Sequence[Option], tau: float) -> Option:
    """Return the cheapest option that reaches `tau`; on equal cost the less coarse one; if none does, the best one."""
    enough = [o for o in options if o.dice >= tau]
    if not enough:
        return max(options, key=lambda o: (round(o.dice, 9), -o.cost))
    return min(enough, key=lambda o: (round(o.cost, 9), -o.resolution.share))


def table(options: Sequence[Option], chosen: Option) -> list[str]:
    """Return lines for the user: factor, budget, how many times cheaper than all windows, and Dice."""
    lines = ["factor  budget  cheaper  oracle Dice"]
    for o in options:
        factor = "own" if o.resolution.factor is None else o.resolution.factor
        mark = "  <- chosen" if o is chosen else ""
        lines.append(f"{factor:>6}  {o.budget:<6.4g}  {1 / o.cost:6.1f}x  {o.dice:11.4f}{mark}")
    return lines
