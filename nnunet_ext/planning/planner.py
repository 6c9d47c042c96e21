"""NnU-Net's own planner for one configuration: topology, patch size, and batch size."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.planning.source import Source

LARGEST_BATCH = 32  # nnU-Net plans for memory: small images would come hundreds at a time
STEP = 0.5  # of a window; nnU-Net's default
WORKERS = "nnUNet_n_proc_DA"


def find_planner(source: Source, plans_name: str) -> ExperimentPlanner:
    """Return the planner that made the plans, for the same dataset.

    Its GPU memory target is the class's own: plans do not hold another one.

    Raises:
        TwoStageError: if nnU-Net has no such planner, or the dataset no fingerprint.
    """
    name = source.plans["experiment_planner_used"]
    planner = PlansManager(source.plans).experiment_planner_class
    if planner is None:
        raise TwoStageError(
            f"{source.identifier}.json was made by {name}, which the installed nnU-Net does not have. "
            f"Type: nnUNetv2_plan_experiment -d {source.number}   and then this with -p nnUNetPlans"
        )
    if not (source.preprocessed / "dataset_fingerprint.json").is_file():
        raise TwoStageError(
            f"{source.preprocessed} has no dataset_fingerprint.json. "
            f"Type: nnUNetv2_extract_fingerprint -d {source.number}"
        )
    some = next(iter(source.plans["configurations"]))
    return planner(
        source.dataset, preprocessor_name=source.configuration(some)["preprocessor_name"], plans_name=plans_name
    )


def plan_configuration(
    planner: ExperimentPlanner, spacing: Sequence[float], largest_patch: Sequence[float], identifier: str,
    median_shape: Sequence[float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Let nnU-Net plan a configuration; a batch has at most 32.

    Args:
        spacing: of its voxels, one number an axis.
        largest_patch: voxels along each axis that a patch need not exceed; nnU-Net's planner takes the median image.
        identifier: names the folder of the preprocessed data.
        median_shape: of the images, if they are larger than that: a batch holds at most a share of the dataset.
    """
    shape = [round(float(s)) for s in largest_patch]
    voxels = float(np.prod(median_shape or shape, dtype=np.float64)) * planner.dataset_json["numTraining"]
    with _some_workers():
        planned: dict[str, Any] = planner.get_plans_for_configuration(
            np.array(spacing, dtype=float), shape, identifier, voxels, {}
        )
    planned["batch_size"] = min(int(planned["batch_size"]), LARGEST_BATCH)
    return planned


@contextlib.contextmanager
def _some_workers() -> Iterator[None]:
    """NnU-Net sets torch's threads to its number of workers, which may be 0 but for that."""
    before = os.environ.get(WORKERS)
    if before is not None and before.strip() == "0":
        os.environ[WORKERS] = "1"
    try:
        yield
    finally:
        if before is not None:
            os.environ[WORKERS] = before


def window_starts(shape: Sequence[int], patch: Sequence[int], step: float = STEP) -> list[list[int]]:
    """Return where nnU-Net's windows start along each axis; below 0 where it pads an image smaller than a window.

    Args:
        shape: voxels of the image along each axis, `len(patch)` or one more: slices before a 2D patch.
        patch: voxels of a window.
    """
    slices = list(range(shape[0])) if len(shape) > len(patch) else None
    inside = list(shape)[len(shape) - len(patch) :]
    padded = [max(s, p) for s, p in zip(inside, patch, strict=True)]
    before = [(large - s) // 2 for large, s in zip(padded, inside, strict=True)]
    steps = compute_steps_for_sliding_window(tuple(padded), tuple(patch), step)
    found = [[int(i) - b for i in starts] for starts, b in zip(steps, before, strict=True)]
    return found if slices is None else [slices, *found]


def window_count(shape: Sequence[float], patch: Sequence[int]) -> int:
    """Return the number of windows on an image of this shape."""
    return int(np.prod([len(s) for s in window_starts([round(float(s)) for s in shape], patch)]))
