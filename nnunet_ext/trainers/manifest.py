"""A machine-readable record of every training: what ran, on what, with which versions."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import datetime, timezone
from os.path import join
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnunet_ext.architectures.complexity import count_parameters
from nnunet_ext.machine import installed_versions, processor

if TYPE_CHECKING:
    from nnunet_ext.trainers.base import nnUNetTrainerExt

FILE_NAME = "nnunet_ext_manifest.json"


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def earlier_runs(path: str, first_epoch: int) -> list[dict[str, Any]]:
    """Return the manifests of the runs that a continued training builds upon, oldest first.

    Args:
        path: where the previous run's manifest stands, if there was one.
        first_epoch: 0 for a training that starts anew, which has none.
    """
    if first_epoch == 0 or not Path(path).is_file():
        return []
    previous = json.loads(Path(path).read_text(encoding="utf-8"))
    return [*previous.pop("continues", []), previous]


def describe_run(trainer: nnUNetTrainerExt) -> dict[str, Any]:
    """Return the manifest of a training that is about to start or to continue."""
    device = trainer.device
    return {
        "command": shlex.join(sys.argv),
        "trainer": type(trainer).__name__,
        "network": trainer.describe_network(),
        "method": trainer.describe_method(),
        "recipe": trainer.recipe.describe(),
        "parameters": count_parameters(trainer.unwrapped_network),
        "dataset": trainer.plans_manager.dataset_name,
        "plans": trainer.plans_manager.plans_name,
        "configuration": trainer.configuration_name,
        "fold": trainer.fold,
        "patch_size": list(trainer.configuration_manager.patch_size),
        "batch_size": trainer.configuration_manager.batch_size,
        "epochs": trainer.num_epochs,
        "iterations_per_epoch": trainer.num_iterations_per_epoch,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "versions": installed_versions(),
        "first_epoch": trainer.current_epoch,
        "continues": earlier_runs(join(trainer.output_folder, FILE_NAME), trainer.current_epoch),
        "started": now(),
        "finished": None,
    }
