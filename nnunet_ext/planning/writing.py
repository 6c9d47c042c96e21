"""Plans under another name: what is kept of an earlier file, and when it must not be replaced."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from nnunet_ext.cascade.dataset import read_plans
from nnunet_ext.cascade.settings import KEY, TwoStageError
from nnunet_ext.planning.source import resolved

COARSE = ("coarse_configuration", "coarse_trainer")  # the other keys can be changed for every prediction


def read_earlier(path: Path) -> dict[str, Any]:
    """Return the configurations of a plans file that may be there already; none if it is not.

    Raises:
        TwoStageError: if it holds no plans.
    """
    earlier: dict[str, Any] = read_plans(path)["configurations"] if path.is_file() else {}
    return earlier


def as_json(plans: dict[str, Any]) -> dict[str, Any]:
    """Return plans as they will be read back, without NumPy's numbers and tuples."""
    recursive_fix_for_json_export(plans)
    again: dict[str, Any] = json.loads(json.dumps(plans))
    return again


def refuse_to_orphan(plans: dict[str, Any], dataset: str) -> None:
    """Refuse plans that differ from those of a model trained under the same name.

    A model's folder is named after its plans: trained again or continued, it would get other weights or settings.

    Raises:
        TwoStageError: which names the models.
    """
    results = os.environ.get("nnUNet_results")
    name = plans["plans_name"]
    folders = sorted(Path(results, dataset).glob(f"*__{name}__*")) if results else []
    changed = [folder for folder in folders if _trained(folder) and _differs(folder, plans)]
    if changed:
        listed = "".join(f"\n  {folder}" for folder in changed)
        raise TwoStageError(
            f"these models were trained with other settings than {name}.json would have now:{listed}\n"
            f"Give another name, e.g. --plans-name {name}2, repeat the flags that they were planned with, "
            f"or move these folders away."
        )


def _trained(folder: Path) -> bool:
    return (folder / "plans.json").is_file() and any(folder.glob("fold_*/checkpoint_*.pth"))


def _differs(folder: Path, plans: dict[str, Any]) -> bool:
    configuration = folder.name.rsplit("__", 1)[1]
    trained = read_plans(folder / "plans.json")
    if configuration not in plans["configurations"] or configuration not in trained["configurations"]:
        return configuration in trained["configurations"]
    return _settings(trained, configuration) != _settings(plans, configuration)


def _settings(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """Return what a model's weights depend on: of the selection only which coarse network it belongs to."""
    settings = {k: v for k, v in resolved(plans, configuration).items() if k != "inherits_from"}
    if isinstance(settings.get(KEY), dict):
        settings[KEY] = {k: settings[KEY].get(k) for k in COARSE}
    return settings


def write_plans(plans: dict[str, Any], path: Path) -> None:
    """Write plans so that at every moment the old or the whole new file stands there."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
