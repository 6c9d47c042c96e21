"""Two stages as a plan has them: configurations, trainers and folds; what is missing is said before work."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cascade.dataset import SPLITS, Dataset, find_dataset, folder_of
from nnunet_ext.cascade.settings import PREVIOUS_TRAINER, SelectiveRefinement, TwoStageError

NNUNETS_FOLDS = 5


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        dataset: id or name.
        configuration: of the fine network: one with `selective_refinement`, or of nnU-Net's own cascade.
        plans: identifier.
        trainer: of the fine network.
        coarse_trainer: of the coarse one; must be the plan's; None for the plan's.
        folds: numbers or "all"; None for all folds of splits_final.json, or nnU-Net's five.
        npz: keep the probabilities of the validation cases.
        device: cpu, cuda or mps; None: a GPU if there is one.
    """

    dataset: str
    configuration: str = "2d_selective"
    plans: str = "nnUNetTwoStagePlans"
    trainer: str = "nnUNetTrainerTwoStage"
    coarse_trainer: str | None = None
    folds: tuple[str, ...] | None = None
    npz: bool = False
    device: str | None = None


@dataclass(frozen=True)
class Stages:
    """Both stages as the plan has them.

    Attributes:
        dataset: as nnU-Net preprocessed it.
        plans: with their configurations.
        coarse: configuration of the first stage.
        coarse_trainer: its trainer.
        folds: of the second stage.
        coarse_folds: of the first; of nnU-Net's own cascade all, because each training reads predictions of all cases.
        hands_over: the first stage writes labels for the second (nnU-Net's own cascade).
    """

    request: Request
    dataset: Dataset
    plans: Mapping[str, Any]
    coarse: str
    coarse_trainer: str
    folds: tuple[str, ...]
    coarse_folds: tuple[str, ...]
    hands_over: bool

    def model(self, configuration: str) -> Path:
        """Return the folder of a stage's trained model."""
        trainer = self.coarse_trainer if configuration == self.coarse else self.request.trainer
        name = f"{trainer}__{self.request.plans}__{configuration}"
        return folder_of("nnUNet_results") / self.dataset.name / name

    def configuration(self, name: str) -> dict[str, Any]:
        """Return a configuration with what it inherits."""
        resolved: dict[str, Any] = PlansManager(dict(self.plans)).get_configuration(name).configuration
        return resolved


def find_stages(request: Request) -> Stages:
    """Read the plan.

    Raises:
        TwoStageError: if plans, configuration, folds or a folder of nnU-Net are not there, or the coarse trainer is
            not the plan's.
    """
    folder_of("nnUNet_results")
    dataset = find_dataset(request.dataset)
    plans = dataset.plans(request.plans)
    name = request.configuration
    if name not in plans["configurations"]:
        known = ", ".join(plans["configurations"])
        raise TwoStageError(f"-c {name}: {request.plans} of {dataset.name} has no such configuration; it has: {known}.")
    configuration = PlansManager(dict(plans)).get_configuration(name).configuration
    settings, previous = SelectiveRefinement.of(configuration), configuration.get("previous_stage")
    if settings is None and previous is None:
        raise TwoStageError(
            f"-c {name} has one stage only. Type -c 2d_selective (`nnunet_ext plan --two-stage` makes it), or train it "
            f"with: nnUNetv2_train {request.dataset} {name} FOLD -p {request.plans} -tr {request.trainer}"
        )
    coarse = str(settings.coarse_configuration if settings else previous)
    if coarse not in plans["configurations"]:
        raise TwoStageError(f"{request.plans} of {dataset.name} lacks {coarse}, the coarse configuration of {name}.")
    planned = (settings.coarse_trainer if settings else configuration.get(PREVIOUS_TRAINER)) or request.trainer
    _check_coarse_trainer(request, planned)
    folds = _folds(request, dataset)
    coarse_folds = folds if settings else _all_folds(folds, dataset)
    return Stages(request, dataset, plans, coarse, planned, folds, coarse_folds, settings is None)


def _check_coarse_trainer(request: Request, planned: str) -> None:
    asked = request.coarse_trainer
    if asked is not None and asked != planned:
        raise TwoStageError(
            f"--coarse-trainer {asked}: {request.plans} says {planned}, and the fine network looks for that one. "
            f"Plan again under a name of its own: nnunet_ext plan --two-stage -d {request.dataset} --coarse-trainer "
            f"{asked} --plans-name {request.plans}2"
        )


def _folds(request: Request, dataset: Dataset) -> tuple[str, ...]:
    splits = dataset.splits()
    known = [str(i) for i in range(NNUNETS_FOLDS if splits is None else len(splits))]
    folds = tuple(known) if request.folds is None else request.folds
    wrong = [f for f in folds if f not in [*known, "all"]]
    if wrong:
        where = (
            f"nnU-Net makes {NNUNETS_FOLDS} folds"
            if splits is None
            else f"{dataset.folder / SPLITS} has {len(splits)} folds"
        )
        raise TwoStageError(f"-f {' '.join(wrong)}: {where}. Type: -f {' '.join(known)}   (or: -f all)")
    if len(set(folds)) < len(folds):
        raise TwoStageError(f"-f {' '.join(folds)}: give each fold once.")
    return folds


def _all_folds(folds: Sequence[str], dataset: Dataset) -> tuple[str, ...]:
    """Return the folds of a first stage whose predictions, together, are of all cases that the second one reads."""
    splits = dataset.splits()
    count = NNUNETS_FOLDS if splits is None else len(splits)
    numbered = [str(i) for i in range(count)] if any(f != "all" for f in folds) else []
    return (*numbered, *(f for f in folds if f == "all"))


def check_trainers(stages: Stages) -> None:
    """Let nnU-Net look for both trainers, as its commands will.

    Raises:
        TwoStageError: if there is no trainer of a name; the message has our suggestions.
    """
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from nnunet_ext.trainers.naming import suggestions

    for flag, name in (("-tr", stages.request.trainer), ("coarse trainer", stages.coarse_trainer)):
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                recursive_find_trainer_class_by_name(name)
            except (RuntimeError, ImportError, AttributeError) as error:
                raise TwoStageError(f"{flag} {name}: nnU-Net finds no such trainer. {suggestions(name)}") from error
