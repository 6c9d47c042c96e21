"""What finished trainings left in nnU-Net's results folder: models, their folds, and what each fold's files say.

Reads `DATASET/TRAINER__PLANS__CONFIGURATION/fold_N`: `validation/summary.json`, the training's logs, and, of our
trainers, `nnunet_ext_manifest.json` and `validation/quality.csv`. Stock trainers are read as ours are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.summary import read_summary
from nnunet_ext.evaluation.training_log import TrainingLog, read_training_logs

MANIFEST = "nnunet_ext_manifest.json"
FOLD = "fold_"
ALL = "all"  # nnU-Net's fold that trains on all cases, and validates on the same


class CollectError(ValueError):
    """There is nothing to compare, or what is there cannot be compared; the message says what to type."""


@dataclass(frozen=True)
class Model:
    """A trained model's folder, TRAINER__PLANS__CONFIGURATION."""

    folder: Path

    @property
    def trainer(self) -> str:
        """The trainer's name."""
        return self.folder.name.split("__")[0]

    @property
    def plans(self) -> str:
        """The plans' identifier."""
        return self.folder.name.split("__")[1]

    @property
    def configuration(self) -> str:
        """The configuration's name."""
        return self.folder.name.split("__")[2]

    def fold(self, fold: str) -> Path:
        """Return a fold's folder."""
        return self.folder / f"{FOLD}{fold}"

    def summary(self, fold: str) -> Path:
        """Return where nnU-Net's validation of a fold writes its scores."""
        return self.fold(fold) / "validation" / "summary.json"

    def folds(self) -> list[str]:
        """Return the folds that were begun, in order."""
        names = (p.name.removeprefix(FOLD) for p in self.folder.glob(f"{FOLD}*") if p.is_dir())
        return sorted((n for n in names if n.isdigit() or n == ALL), key=lambda n: (n == ALL, n.zfill(4)))

    def finished(self) -> list[str]:
        """Return the folds that were validated, in order."""
        return [fold for fold in self.folds() if self.summary(fold).is_file()]

    def command(self, dataset: str, fold: str) -> str:
        """Return what trains, continues or validates a fold, whichever is next."""
        folder = self.fold(fold)
        flag = ""
        if (folder / "checkpoint_final.pth").is_file():
            flag = " --val"
        elif any((folder / f"checkpoint_{name}.pth").is_file() for name in ("latest", "best")):
            flag = " --c"
        plans = "" if self.plans == "nnUNetPlans" else f" -p {self.plans}"
        return f"nnUNetv2_train {dataset} {self.configuration} {fold} -tr {self.trainer}{plans}{flag}"


@dataclass(frozen=True)
class Run:
    """One validated fold of one model.

    Attributes:
        name: what the model is called.
        model: whose.
        fold: a number, or "all".
        per_case: as from `summary.read_summary`.
        log: what the training's logs say.
        manifest: of our trainers; empty for others.
        repeat: number of the training among those of the same model and fold, from 0.
    """

    name: str
    model: Model
    fold: str
    per_case: pd.DataFrame
    log: TrainingLog
    manifest: dict[str, Any]
    repeat: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        """Name, fold and repeat."""
        return self.name, self.fold, self.repeat

    @property
    def cases(self) -> list[str]:
        """The validated cases, sorted."""
        return sorted(self.per_case["case"].unique())

    @property
    def validation(self) -> Path:
        """The folder of the predictions."""
        return self.model.fold(self.fold) / "validation"


def find_models(
    dataset: Path,
    trainers: Collection[str] = (),
    configurations: Collection[str] = (),
    plans: Collection[str] = (),
) -> list[Model]:
    """Find the models of a dataset in nnUNet_results/DATASET.

    Args:
        dataset: the folder.
        trainers: to take; none takes all.
        configurations: to take; none takes all.
        plans: to take; none takes all.

    Returns:
        Those with at least one fold, sorted by name.

    Raises:
        CollectError: if there is none, or none of a name that was asked for.
    """
    folders = sorted(p for p in dataset.glob("*__*__*") if len(p.name.split("__")) == 3)
    models = [m for m in map(Model, folders) if m.folds()]
    known = "".join(f"\n  -tr {m.trainer} -p {m.plans} -c {m.configuration}" for m in models) or " none"
    if not models:
        raise CollectError(
            f"{dataset} holds no trained model. Type: nnUNetv2_train {dataset.name} 2d 0 -tr nnUNetTrainer"
        )
    for flag, wanted, name in (
        ("-tr", trainers, "trainer"),
        ("-c", configurations, "configuration"),
        ("-p", plans, "plans"),
    ):
        unknown = sorted(set(wanted) - {getattr(m, name) for m in models})
        if unknown:
            raise CollectError(f"{flag} {' '.join(unknown)}: not trained. In {dataset} there are:{known}")
        models = [m for m in models if not wanted or getattr(m, name) in wanted]
        if not models:
            raise CollectError(f"no model is of all that -tr, -c and -p name. In {dataset} there are:{known}")
    return models


def read_run(name: str, model: Model, fold: str, repeat: int = 0) -> Run:
    """Read a validated fold of a model that is called `name`.

    Raises:
        FileNotFoundError: if it is not validated.
        SummaryError: if its summary.json cannot be read.
    """
    per_case = read_summary(model.summary(fold))
    folder = model.fold(fold)
    manifest = read_manifest(folder / MANIFEST)
    return Run(name, model, fold, per_case, read_training_logs(folder), manifest, repeat)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; empty if there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def model_names(models: Sequence[Model]) -> dict[Model, str]:
    """Return what each model is called: its trainer, and its configuration and plans where trainers do not differ."""
    names = {m: m.trainer for m in models}
    for part in ("configuration", "plans"):
        taken = list(names.values())
        names = {m: f"{n} {getattr(m, part)}" if taken.count(n) > 1 else n for m, n in names.items()}
    return names
