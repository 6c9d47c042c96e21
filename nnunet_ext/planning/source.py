"""The plans that a copy is made of: found, checked, and read as nnU-Net reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id, maybe_convert_to_dataset_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cascade.settings import TwoStageError


@dataclass(frozen=True)
class Source:
    """Plans of a dataset, as a file of nnU-Net has them.

    Attributes:
        dataset: its name, with the id.
        identifier: the plans' name, e.g. nnUNetPlans.
        plans: what the file holds.
        raw: the dataset's folder in nnUNet_raw.
        preprocessed: its folder in nnUNet_preprocessed.
    """

    dataset: str
    identifier: str
    plans: dict[str, Any]
    raw: Path
    preprocessed: Path

    @property
    def number(self) -> int:
        """The dataset's id."""
        return int(convert_dataset_name_to_id(self.dataset))

    @property
    def is_volumes(self) -> bool:
        """Whether nnU-Net planned volumes."""
        return "3d_fullres" in self.plans["configurations"]

    def configuration(self, name: str) -> dict[str, Any]:
        """Return a configuration with what it inherits."""
        return resolved(self.plans, name)


def resolved(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration of plans with what it inherits."""
    configuration: dict[str, Any] = PlansManager(dict(plans)).get_configuration(name).configuration
    return configuration


def find_source(dataset: str, identifier: str) -> Source:
    """Find a dataset's plans.

    Args:
        dataset: id or name, as for nnU-Net's `-d`.
        identifier: of the plans, as for nnU-Net's `-p`.

    Raises:
        TwoStageError: if a folder of nnU-Net, the dataset, its raw data or the plans are not there.
    """
    raw, preprocessed = _folder("nnUNet_raw"), _folder("nnUNet_preprocessed")
    try:
        name = str(maybe_convert_to_dataset_name(dataset))
    except (RuntimeError, ValueError) as error:
        raise TwoStageError(_no_dataset(dataset, preprocessed)) from error
    if not (raw / name / "dataset.json").is_file():
        raise TwoStageError(
            f"-d {dataset}: {raw / name} has no dataset.json. Planning reads the training labels from there; "
            f"see: nnunet_ext convert -h"
        )
    folder = preprocessed / name
    plans = _read_plans(folder, identifier, dataset)
    if not {"2d", "3d_fullres"} & set(plans["configurations"]):
        found = ", ".join(plans["configurations"]) or "none"
        raise TwoStageError(
            f"{folder / identifier}.json has neither 2d nor 3d_fullres, but: {found}. "
            f"Type: nnUNetv2_plan_and_preprocess -d {int(convert_dataset_name_to_id(name))}"
        )
    return Source(name, identifier, plans, raw / name, folder)


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise TwoStageError(f"{variable} is not set. Type: export {variable}=/a/folder   (`nnunet_ext doctor` checks)")
    return Path(value)


def _no_dataset(dataset: str, preprocessed: Path) -> str:
    known = ", ".join(sorted(p.name for p in preprocessed.glob("Dataset*"))) or "none"
    return f"-d {dataset}: no such dataset, or several of this id. In {preprocessed} there are: {known}."


def _read_plans(folder: Path, identifier: str, dataset: str) -> dict[str, Any]:
    path = folder / f"{identifier}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*Plans*.json"))) or "none"
        raise TwoStageError(
            f"-p {identifier}: there is no {path}; plans there: {known}. "
            f"Type: nnUNetv2_plan_and_preprocess -d {dataset}   (or give one of these with -p)"
        )
    return read_plans(path)


def read_plans(path: Path) -> dict[str, Any]:
    """Read a plans file.

    Raises:
        TwoStageError: if it holds no plans.
    """
    try:
        plans: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(plans["configurations"], dict)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise TwoStageError(f"{path} holds no plans of nnU-Net. Move it away, and plan again.")
    return plans
