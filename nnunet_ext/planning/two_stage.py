"""Plans for two stages: a coarse network, and a fine one for the windows that the coarse one is unsure of.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 3: the coarse network sees an eighth of each side, the fine one 1 / Np of Np x Np patches.

Where we differ: factor and budget are chosen for the dataset, or given; windows overlap, as nnU-Net's do; the fine
network is nnU-Net's ordinary one, with a smaller patch where the stock one covers the whole image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.planning import configurations, lowres, writing
from nnunet_ext.planning.choice import BUDGETS, Resolution
from nnunet_ext.planning.choosing import choose
from nnunet_ext.planning.labels import label_files
from nnunet_ext.planning.planner import find_planner, window_count
from nnunet_ext.planning.source import Source, find_source

PLANS_NAME = "nnUNetTwoStagePlans"
Say = Callable[[str], None]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Request:
    """What to plan.

    Attributes:
        dataset: id or name.
        source: identifier of the plans that are copied.
        plans_name: identifier of the copy.
        factor: 2, 4 or 8, of the coarse network's spacing; None to choose (3D: nnU-Net's own 3d_lowres if there).
        budget: share of the windows that the fine network sees, 0 to 1; None to choose.
        windows: fine patches side by side on the median image, along each axis, at least 2.
        tau: mean Dice, 0 to 1, that a perfect fine network must reach at the chosen factor and budget.
        coarse_trainer: trainer of the coarse network; None for the fine one's.
    """

    dataset: str
    source: str = "nnUNetPlans"
    plans_name: str = PLANS_NAME
    factor: int | None = None
    budget: float | None = None
    windows: int = 4
    tau: float = 0.97
    coarse_trainer: str | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and not 0 <= self.budget <= 1:
            raise TwoStageError(
                f"--budget {self.budget}: the share of windows to refine is from 0 to 1, e.g. --budget 0.25"
            )
        if not 0 < self.tau <= 1:
            raise TwoStageError(f"--tau {self.tau}: a Dice to reach is above 0, up to 1, e.g. --tau 0.97")
        if self.windows < 2:
            raise TwoStageError(f"--windows {self.windows}: at least 2 patches along each axis, e.g. --windows 4")
        if self.plans_name == self.source or not self.plans_name or set("/\\") & set(self.plans_name):
            raise TwoStageError(
                f"--plans-name {self.plans_name}: a new name, other than -p {self.source}, e.g. {PLANS_NAME}"
            )
        if "__" in self.plans_name:
            raise TwoStageError(f"--plans-name {self.plans_name}: nnU-Net separates names by __, so without two _")


@dataclass(frozen=True)
class Planned:
    """What was written.

    Attributes:
        path: the plans file.
        source: the plans that it was made from.
        request: with the factor (None for nnU-Net's own 3d_lowres) and budget that were taken.
        plans: what the file holds.
    """

    path: Path
    source: Source
    request: Request
    plans: dict[str, Any]

    @property
    def full(self) -> str:
        """Name of nnU-Net's configuration whose preprocessed data the fine one shares."""
        return "3d_fullres" if self.source.is_volumes else "2d"

    @property
    def coarse(self) -> str:
        """Name of the coarse configuration."""
        return "3d_lowres" if self.source.is_volumes else "2d_lowres"

    @property
    def fine(self) -> str:
        """Name of the configuration that refines selectively."""
        return "3d_selective" if self.source.is_volumes else "2d_selective"


def plan_two_stage(request: Request, say: Say) -> Planned:
    """Copy plans of nnU-Net under another name, and add the configurations of two stages.

    Args:
        request: what to plan.
        say: takes lines for the user.

    Raises:
        TwoStageError: if something is missing or not allowed, or trained models of this name would be orphaned.
    """
    source = find_source(request.dataset, request.source)
    full = source.configuration("3d_fullres" if source.is_volumes else "2d")
    candidates = _resolutions(source, full, request.factor)
    path = source.preprocessed / f"{request.plans_name}.json"
    earlier = writing.read_earlier(path)
    planner = find_planner(source, request.plans_name)
    fine = {} if source.is_volumes else configurations.fine_patch(planner, full, request.windows)
    patch = fine.get("patch_size", full["patch_size"])
    _tell_what_is_odd(source, full, patch, say)
    request = _chosen(source, planner, patch, candidates, request, say)
    write = _volumes if source.is_volumes else _flat
    plans = {**copy.deepcopy(source.plans), "plans_name": request.plans_name}
    plans["configurations"].update(write(source, planner, request, fine))
    plans["configurations"] = {**earlier, **plans["configurations"]}
    plans = writing.as_json(plans)
    writing.refuse_to_orphan(plans, source.dataset)
    writing.write_plans(plans, path)
    return Planned(path, source, request, plans)


def _resolutions(source: Source, full: dict[str, Any], factor: int | None) -> list[Resolution]:
    """Return the low resolutions that may be chosen; one if the factor is given, or volumes have their own."""
    if factor is None and source.is_volumes and "3d_lowres" in source.plans["configurations"]:
        own = source.configuration("3d_lowres")["spacing"]
        return [Resolution(None, tuple(s / f for s, f in zip(own, full["spacing"], strict=True)))]
    lowres.check_factor(factor, full, source.dataset)
    factors = lowres.allowed_factors(full) if factor is None else [factor]
    return [Resolution(f, tuple(lowres.factor_per_axis(f, full["spacing"]))) for f in factors]


def _chosen(
    source: Source, planner: ExperimentPlanner, patch: Sequence[int], candidates: Sequence[Resolution],
    request: Request, say: Say,
) -> Request:  # fmt: skip
    """Return the request with factor and budget, chosen from the labels unless both are settled."""
    if len(candidates) == 1 and request.budget is not None:
        return replace(request, factor=candidates[0].factor)
    budgets = BUDGETS if request.budget is None else (request.budget,)
    files, there = label_files(planner)
    if len(files) < there:
        say(f"reading {len(files)} of {there} training labels, evenly by name")
    spacing = source.configuration("3d_fullres" if source.is_volumes else "2d")["spacing"]
    option = choose(source, files, spacing, patch, candidates, budgets, request.tau, say)
    return replace(request, factor=option.resolution.factor, budget=option.budget)


def _tell_what_is_odd(source: Source, full: dict[str, Any], patch: Sequence[int], say: Say) -> None:
    count = window_count(full["median_image_size_in_voxels"], patch)
    shape = " x ".join(str(round(s)) for s in full["median_image_size_in_voxels"])
    say(f"windows of {' x '.join(map(str, patch))}: {count} on the median image of {shape}")
    if not source.is_volumes and not lowres.has_block_means(source.plans, full):
        say("WARNING: slices are too near each other for nnU-Net's means of blocks: low resolution is interpolated.")
    if source.is_volumes and count == 1:
        say("WARNING: 3d_fullres covers the median volume with one window: there is nothing to select from.")


def _flat(source: Source, planner: ExperimentPlanner, request: Request, fine: dict[str, Any]) -> dict[str, Any]:
    trainer = request.coarse_trainer
    return {
        "2d_lowres": lowres.flat_lowres(
            planner, source.configuration("2d"), _settled(request.factor), request.plans_name
        ),
        "2d_fine": fine,
        "2d_selective": configurations.selective("2d_fine", "2d_lowres", _settled(request.budget), trainer),
        "2d_cascade_fullres": configurations.cascade("2d", "2d_lowres", trainer),
    }


def _volumes(source: Source, planner: ExperimentPlanner, request: Request, _: dict[str, Any]) -> dict[str, Any]:
    trainer, full = request.coarse_trainer, source.configuration("3d_fullres")
    own = source.plans["configurations"].get("3d_cascade_fullres", {})
    added = {
        "3d_selective": configurations.selective("3d_fullres", "3d_lowres", _settled(request.budget), trainer),
        "3d_cascade_fullres": {**own, **configurations.cascade("3d_fullres", "3d_lowres", trainer)},
    }
    if request.factor is not None:
        added["3d_lowres"] = lowres.volume_lowres(planner, full, request.factor, request.plans_name)
    return added


def _settled(value: Number | None) -> Number:
    assert value is not None, "chosen before"
    return value
