"""A machine-readable record of every training: what ran, on what, with which versions."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from os.path import join
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnunet_ext import __version__
from nnunet_ext.architectures.complexity import count_parameters
from nnunet_ext.machine import device_name, installed_versions, peak_memory, reset_peak_memory
from nnunet_ext.trainers.checkpoints import write_json_atomically

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
        "device_name": device_name(str(device)),
        "threads": torch.get_num_threads(),
        "nnunet_ext": __version__,
        "versions": installed_versions(),
        "first_epoch": trainer.current_epoch,
        "continues": earlier_runs(join(trainer.output_folder, FILE_NAME), trainer.current_epoch),
        "started": now(),
        "finished": None,
    }


class Stopwatch:
    """Measures a part of a run: wall time, and memory.

    Args:
        device: whose memory counts.
    """

    def __init__(self, device: str) -> None:
        self._device, self._begin = device, time.monotonic()
        reset_peak_memory(device)

    def read(self) -> dict[str, Any]:
        """Return `seconds`, and what `machine.peak_memory` says."""
        return {"seconds": round(time.monotonic() - self._begin, 3), **peak_memory(self._device)}


@contextmanager
def measured_validation(trainer: nnUNetTrainerExt) -> Iterator[None]:
    """Measure nnU-Net's validation inside the block, and write it to the manifest of the training, if that is there.

    Under `validation`: `finished`, `cases`, `seconds` (wall time, with prediction, writing and scoring),
    `seconds_per_case`, and the peak of memory.
    """
    watch = Stopwatch(str(trainer.device))
    yield
    path = Path(trainer.output_folder, FILE_NAME)
    summary = Path(trainer.output_folder, "validation", "summary.json")
    if trainer.local_rank != 0 or not path.is_file() or not summary.is_file():
        return
    found, cases = watch.read(), len(json.loads(summary.read_text(encoding="utf-8"))["metric_per_case"])
    found |= {"finished": now(), "cases": cases, "seconds_per_case": round(found["seconds"] / max(1, cases), 4)}
    content = json.loads(path.read_text(encoding="utf-8")) | {"validation": found}
    write_json_atomically(path, content)
