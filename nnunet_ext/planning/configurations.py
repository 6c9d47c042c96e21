"""The configurations that two stages add to plans of nnU-Net."""

from __future__ import annotations

import math
from typing import Any

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.cascade.settings import KEY, PREVIOUS_TRAINER, SelectiveRefinement
from nnunet_ext.planning.planner import plan_configuration

SMALLEST_PATCH = 32  # pixels


def fine_patch(planner: ExperimentPlanner, full: dict[str, Any], windows: int) -> dict[str, Any]:
    """Return `2d_fine`: the median image's part for so many windows, or the stock patch where that is no larger.

    Args:
        full: the configuration `2d`.
        windows: patches side by side along each axis; nnU-Net's planner rounds a patch up to what its network needs.
    """
    shape = full["median_image_size_in_voxels"]
    smaller = [max(SMALLEST_PATCH, -(-round(s) // windows)) for s in shape]
    if math.prod(full["patch_size"]) <= math.prod(smaller):
        return {"inherits_from": "2d"}
    planned = plan_configuration(planner, full["spacing"], smaller, full["data_identifier"], shape)
    return {"inherits_from": "2d", **{key: planned[key] for key in ("patch_size", "batch_size", "architecture")}}


def selective(fine: str, coarse: str, budget: float, coarse_trainer: str | None) -> dict[str, Any]:
    """Return the configuration whose network sees a share of its windows, where the coarse one is unsure."""
    settings = SelectiveRefinement(coarse_configuration=coarse, coarse_trainer=coarse_trainer, budget=budget)
    return {"inherits_from": fine, KEY: settings.as_plan()}


def cascade(full: str, coarse: str, coarse_trainer: str | None) -> dict[str, Any]:
    """Return nnU-Net's own cascade, whose second network sees all windows and the first one's labels."""
    trainer = {} if coarse_trainer is None else {PREVIOUS_TRAINER: coarse_trainer}
    return {"inherits_from": full, "previous_stage": coarse, **trainer}
