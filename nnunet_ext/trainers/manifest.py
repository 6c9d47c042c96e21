"""A machine-readable record of every training: what ran, on what, with which versions."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from nnunet_ext.architectures.complexity import count_parameters

if TYPE_CHECKING:
    from nnunet_ext.trainers.base import nnUNetTrainerExt

FILE_NAME = "nnunet_ext_manifest.json"
_PACKAGES = ("nnunet-ext", "nnunetv2", "dynamic-network-architectures", "torch", "monai", "numpy")


def installed_versions() -> dict[str, str]:
    """Return Python's version and those of the packages that decide a result; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def describe_run(trainer: nnUNetTrainerExt) -> dict[str, Any]:
    """Return the manifest of a training that is about to start."""
    device = trainer.device
    return {
        "command": shlex.join(sys.argv),
        "trainer": type(trainer).__name__,
        "network": trainer.describe_network(),
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
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "versions": installed_versions(),
        "first_epoch": trainer.current_epoch,
        "started": now(),
        "finished": None,
    }
