"""Training labels as the fine network sees them: read by nnU-Net, at the planned spacing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.planning.label_oracle import Outputs
from nnunet_ext.planning.source import Source

MOST = 200  # labels that are read


@dataclass(frozen=True)
class Labels:
    """Labels of an image.

    Attributes:
        values: `(*S)` int16, two axes if there is one slice of a 2D configuration; not cropped to what is not zero.
        spacing: of its voxels, along each axis of nnU-Net's order (three).
    """

    values: Tensor
    spacing: tuple[float, ...]


def label_files(planner: ExperimentPlanner) -> tuple[list[Path], int]:
    """Return the files of at most 200 training labels, evenly by sorted name, and how many there are."""
    cases = planner.dataset
    files = [Path(cases[name]["label"]) for name in sorted(cases)]
    return [files[i] for i in evenly(len(files), MOST)], len(files)


def evenly(n: int, most: int) -> list[int]:
    """Return at most `most` of the indices 0 .. n - 1, evenly apart."""
    return list(range(n)) if n <= most else [i * n // most for i in range(most)]


def outputs_of(source: Source) -> Outputs:
    """Return what the outputs of a network for this dataset stand for."""
    content = json.loads((source.raw / "dataset.json").read_text(encoding="utf-8"))
    manager = PlansManager(source.plans).get_label_manager(content)
    values = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    groups = tuple(tuple(v) if isinstance(v, (tuple, list)) else (int(v),) for v in values)
    return Outputs(groups, manager.has_regions, manager.ignore_label)


def read_labels(path: Path, source: Source, spacing: Sequence[float]) -> Labels:
    """Read labels at a spacing; where that is not theirs, the nearest voxel is taken.

    Args:
        path: a file of labelsTr.
        spacing: of a configuration of the plans; slices stay as they are if it has two numbers.

    Raises:
        TwoStageError: if nnU-Net's reader cannot read it.
    """
    forward = source.plans["transpose_forward"]
    try:
        found, properties = PlansManager(source.plans).image_reader_writer_class().read_seg(str(path))
    except Exception as error:
        raise TwoStageError(
            f"{path} cannot be read as labels ({type(error).__name__}: {error}). "
            f"Type: nnUNetv2_plan_and_preprocess -d {source.number} --verify_dataset_integrity"
        ) from error
    values = np.asarray(found)[0].transpose(forward)
    own = [float(properties["spacing"][axis]) for axis in forward]
    wanted = [*own[: 3 - len(spacing)], *map(float, spacing)]
    values = _nearest(values, compute_new_shape(values.shape, own, wanted))
    if len(spacing) == 2 and values.shape[0] == 1:
        values = values[0]
    return Labels(torch.from_numpy(np.ascontiguousarray(values, dtype=np.int16)), tuple(wanted))


def _nearest(values: np.ndarray, shape: Any) -> np.ndarray:
    for axis, (new, old) in enumerate(zip(shape, values.shape, strict=True)):
        if new != old:
            values = values.take(((np.arange(new) + 0.5) * old / new).astype(int), axis)
    return values
