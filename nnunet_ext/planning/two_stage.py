"""Plans for two stages: a coarse network, and a fine one for the windows that the coarse one is unsure of.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 3: the coarse network sees an eighth of each side, the fine one 1 / Np of Np x Np patches.

Where we differ: factor and budget are chosen for the dataset, or given; windows overlap, as nnU-Net's do; the fine
network is nnU-Net's ordinary one, with a smaller patch where the stock one covers the whole image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.planning import configurations, lowres, writing
from nnunet_ext.planning.planner import find_planner, window_count
from nnunet_ext.planning.source import Source, find_source

PLANS_NAME = "nnUNetTwoStagePlans"
Say = Callable[[str], None]


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
        coarse: name of the coarse configuration.
        fine: name of the configuration that refines selectively.
        full: name of nnU-Net's configuration whose preprocessed data the fine one shares.
    """

    path: Path
    source: Source
    request: Request
    plans: dict[str, Any]
    coarse: str
    fine: str
    full: str


def plan_two_stage(request: Request, say: Say) -> Planned:
    """Copy plans of nnU-Net under another name, and add the configurations of two stages.

    Args:
        request: what to plan.
        say: takes lines for the user.

    Raises:
        TwoStageError: if something is missing or not allowed, or trained models of this name would be orphaned.
    """
    source = find_source(request.dataset, request.source)
    full = "3d_fullres" if source.is_volumes else "2d"
    has_own = request.factor is None and "3d_lowres" in source.plans["configurations"]
    if not has_own:
        lowres.check_factor(request.factor, source.configuration(full), source.dataset)
    planner = find_planner(source, request.plans_name)
    plans = {**copy.deepcopy(source.plans), "plans_name": request.plans_name}
    added = _volumes(plans, source, planner, request) if source.is_volumes else _flat(source, planner, request)
    plans["configurations"].update(added)
    path = source.preprocessed / f"{request.plans_name}.json"
    plans = writing.as_json(writing.with_kept(plans, path))
    writing.refuse_to_orphan(plans, source.dataset)
    writing.write_plans(plans, path)
    prefix = full[:2]
    return Planned(path, source, replace(request), plans, f"{prefix}_lowres", f"{prefix}_selective", full)


def _flat(source: Source, planner: ExperimentPlanner, request: Request) -> dict[str, Any]:
    full = source.configuration("2d")
    trainer = request.coarse_trainer
    assert request.factor is not None
    assert request.budget is not None
    return {
        "2d_lowres": lowres.flat_lowres(planner, full, request.factor, request.plans_name),
        "2d_fine": configurations.fine_patch(planner, full, request.windows),
        "2d_selective": configurations.selective("2d_fine", "2d_lowres", request.budget, trainer),
        "2d_cascade_fullres": configurations.cascade("2d", "2d_lowres", trainer),
    }


def _volumes(plans: dict[str, Any], source: Source, planner: ExperimentPlanner, request: Request) -> dict[str, Any]:
    own = plans["configurations"]
    trainer = request.coarse_trainer
    assert request.budget is not None
    added = {"3d_selective": configurations.selective("3d_fullres", "3d_lowres", request.budget, trainer)}
    if request.factor is not None:
        full = source.configuration("3d_fullres")
        added["3d_lowres"] = lowres.volume_lowres(planner, full, request.factor, request.plans_name)
    added["3d_cascade_fullres"] = {
        **configurations.cascade("3d_fullres", "3d_lowres", trainer), **own.get("3d_cascade_fullres", {})
    }  # fmt: skip
    return added


def windows_on_median(planned: Planned) -> int:
    """Return the number of the fine network's windows on the median image."""
    fine = planned.source.configuration(planned.full) | {
        k: v for k, v in planned.plans["configurations"].get("2d_fine", {}).items() if planned.full == "2d"
    }
    return window_count(fine["median_image_size_in_voxels"], fine["patch_size"])
