"""The plans that a copy is made of: found, checked, and read as nnU-Net reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cascade.dataset import find_dataset, folder_of
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
    raw, found = folder_of("nnUNet_raw"), find_dataset(dataset)
    if not (raw / found.name / "dataset.json").is_file():
        raise TwoStageError(
            f"-d {dataset}: {raw / found.name} has no dataset.json. Planning reads the training labels from there; "
            f"see: nnunet_ext convert -h"
        )
    remedy = f"nnUNetv2_plan_and_preprocess -d {found.number}   (or give one of these with -p)"
    plans = found.plans(identifier, remedy)
    if not {"2d", "3d_fullres"} & set(plans["configurations"]):
        configurations = ", ".join(plans["configurations"]) or "none"
        raise TwoStageError(
            f"{found.folder / identifier}.json has neither 2d nor 3d_fullres, but: {configurations}. "
            f"Type: nnUNetv2_plan_and_preprocess -d {found.number}"
        )
    return Source(found.name, identifier, plans, raw / found.name, found.folder)
