"""Choose factor and budget for a dataset: the oracle's Dice over its training labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from torch import Tensor

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.planning.choice import Option, Resolution, cheapest, table
from nnunet_ext.planning.label_oracle import Outputs, oracle_dice
from nnunet_ext.planning.labels import Labels, outputs_of, read_labels
from nnunet_ext.planning.planner import window_starts
from nnunet_ext.planning.source import Source

SECONDS = 10  # between two lines of progress
MEANING = (
    "The oracle is a perfect fine network after a perfect coarse one. It overstates what is lost against one network,",
    "which errs in the same places, and understates it where the coarse network misses whole objects.",
)


def choose(
    source: Source, files: Sequence[Path], spacing: Sequence[float], patch: Sequence[int],
    resolutions: Sequence[Resolution], budgets: Sequence[float], tau: float, say: Callable[[str], None],
) -> Option:  # fmt: skip
    """Return the cheapest resolution and budget whose mean oracle Dice over the training labels reaches `tau`.

    Args:
        files: the labels to read.
        spacing: of the fine configuration.
        patch: its windows; they are laid as nnU-Net does, with a step of half of one.
        resolutions: the candidates.
        budgets: the candidates, each 0 to 1.
        tau: the Dice to reach.
        say: takes lines for the user: progress, the table, and a warning if `tau` is not reached.

    Raises:
        TwoStageError: if a label cannot be read, or none has foreground.
    """
    dice = _mean_dice(source, files, spacing, patch, resolutions, budgets, say)
    options = [
        Option(resolution, budget, float(d))
        for resolution, row in zip(resolutions, dice, strict=True)
        for budget, d in zip(budgets, row, strict=True)
    ]
    chosen = cheapest(options, tau)
    for line in (*table(options, chosen), *MEANING):
        say(line)
    if chosen.dice < tau:
        say(
            f"WARNING: no factor and budget reach a Dice of {tau} (--tau) even so. Two stages are expected to lose "
            f"against one network on {source.dataset}; taken is the best one."
        )
    return chosen


def _mean_dice(
    source: Source, files: Sequence[Path], spacing: Sequence[float], patch: Sequence[int],
    resolutions: Sequence[Resolution], budgets: Sequence[float], say: Callable[[str], None],
) -> Tensor:  # fmt: skip
    outputs = outputs_of(source)
    found, last = [], time.monotonic()
    for done, path in enumerate(files):
        if time.monotonic() - last > SECONDS:
            say(f"labels: {done} of {len(files)}")
            last = time.monotonic()
        labels = read_labels(path, source, spacing)
        found.append(torch.stack([_of_image(labels, outputs, patch, r, budgets) for r in resolutions]))
    dice = torch.stack(found).nanmean(0) if found else torch.tensor([[torch.nan]])
    if dice.isnan().any():
        raise TwoStageError(
            f"{source.raw / 'labelsTr'}: none of {len(files)} labels has foreground, so nothing can be chosen from "
            f"them. Give both, e.g. --factor 8 --budget 0.25"
        )
    return dice


def _of_image(
    labels: Labels, outputs: Outputs, patch: Sequence[int], resolution: Resolution, budgets: Sequence[float]
) -> Tensor:
    values = labels.values
    axes = values.ndim
    per_axis = [1.0] * (axes - len(resolution.per_axis)) + list(resolution.per_axis)
    own = labels.spacing[3 - axes :]
    coarse = compute_new_shape(values.shape, own, [s * f for s, f in zip(own, per_axis, strict=True)])
    starts = window_starts(values.shape, patch)
    whole = [1] * (axes - len(patch)) + list(patch)
    return oracle_dice(values, outputs, [max(1, int(c)) for c in coarse], starts, whole, budgets)
