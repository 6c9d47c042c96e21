"""What a curve is made of: two trained models, their folds and cases; all that can be missing is looked for first."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cascade.dataset import TRUTH, Dataset, find_dataset
from nnunet_ext.cascade.predictor import Wanted
from nnunet_ext.cascade.settings import SelectiveRefinement, TwoStageError
from nnunet_ext.inference.trained_model import (
    DEFAULT_CHECKPOINT,
    TrainedModel,
    find_trained_model,
    trained_model_in,
)

LISTED = 5  # cases in a line


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        dataset: id or name; None for that of `fine`.
        configuration: of the fine network, like trainer and plans; not heeded where there is `fine`.
        fine: folder of the fine model, TRAINER__PLANS__CONFIGURATION.
        coarse: folder of the coarse model; None for the one that the plan names.
        folds: numbers.
        budgets: shares of the windows, 0 to 1; 0 is always added.
        criterion: in the place of the plan's.
        mirroring: of the fine network, as nnU-Net's test time augmentation; of the coarse one the plan says it.
        step_size: of the windows, as a share of the patch.
        checkpoint: file name in each fold of both models.
        device: cpu, cuda or mps; None: a GPU if there is one.
    """

    dataset: str | None
    configuration: str = "2d_selective"
    trainer: str = "nnUNetTrainerTwoStage"
    plans: str = "nnUNetTwoStagePlans"
    fine: Path | None = None
    coarse: Path | None = None
    folds: tuple[str, ...] = ("0", "1", "2", "3", "4")
    budgets: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)
    criterion: str | None = None
    mirroring: bool = True
    step_size: float = 0.5
    checkpoint: str = DEFAULT_CHECKPOINT
    device: str | None = None

    def __post_init__(self) -> None:
        wrong = [b for b in self.budgets if not 0 <= b <= 1]
        if wrong or not self.budgets:
            got = ", ".join(f"{b:g}" for b in wrong) or "none"
            raise TwoStageError(f"--budgets are shares of the windows, from 0 to 1; got {got}. E.g. --budgets 1 .5 .25")
        for name, values in (("--budgets", self.budgets), ("-f", self.folds)):
            doubled = sorted({f"{v:g}" if isinstance(v, float) else v for v in values if values.count(v) > 1})
            if doubled:
                raise TwoStageError(f"{name} has {', '.join(doubled)} more than once; give each once.")
        if not (0 < self.step_size <= 1):
            raise TwoStageError(
                f"-step_size {self.step_size:g}: the windows' step is a share of the patch, above 0, up to 1, e.g. 0.5"
            )
        if self.dataset is None and self.fine is None:
            raise TwoStageError("which dataset? Type -d DATASET, or the folder of a trained model: --fine FOLDER")


@dataclass(frozen=True)
class Fold:
    """One fold: its two models, and the cases that neither was trained on."""

    name: str
    fine: TrainedModel
    coarse: TrainedModel
    cases: tuple[str, ...]


@dataclass(frozen=True)
class CurvePlan:
    """What will be done.

    Attributes:
        request: of the user.
        dataset: as nnU-Net preprocessed it.
        images: folder of the fine configuration's preprocessed images.
        truth: folder of the reference labels.
        settings: how windows are chosen; budget and max_confidence are not heeded.
        budgets: ascending, with 0.
        folds: at least one.
        notes: for the user.
    """

    request: Request
    dataset: Dataset
    images: Path
    settings: SelectiveRefinement
    budgets: tuple[float, ...]
    folds: tuple[Fold, ...]
    notes: tuple[str, ...] = ()

    @property
    def truth(self) -> Path:
        """The folder of the reference labels."""
        return self.dataset.folder / TRUTH


def plan_curve(request: Request) -> CurvePlan:
    """Find all that the curve needs, without loading a model.

    Raises:
        TrainedModelError: if a model, or a fold of it, is not there.
        TwoStageError: if dataset, folds, preprocessed images or references are missing, or a setting is not allowed.
    """
    dataset = find_dataset(request.dataset or str(_plans(request.fine)["dataset_name"]))
    cases = {fold: dataset.validation_cases(fold) for fold in request.folds}
    fine = _fine(request)
    plans, name = _plans(fine.folder), fine.folder.name.split("__")[-1]
    if plans.get("dataset_name") != dataset.name:
        raise TwoStageError(
            f"--fine {fine.folder} was trained on {plans.get('dataset_name')}, not on {dataset.name} (-d). "
            "Leave -d away, or name another model."
        )
    if name not in plans["configurations"]:
        raise TwoStageError(
            f"{fine.folder}: its plans have no configuration {name}. nnU-Net names such a folder "
            "TRAINER__PLANS__CONFIGURATION; give it that name again."
        )
    configuration: Mapping[str, Any] = PlansManager(plans).get_configuration(name).configuration
    changes = {} if request.criterion is None else {"criterion": request.criterion}
    wanted = Wanted(request.coarse and request.coarse.absolute(), None, changes)
    planned = wanted.settings(dict(configuration), name)
    settings = replace(planned, max_confidence=None)
    folds = tuple(_fold(request, wanted, settings, fine, fold, cases[fold]) for fold in request.folds)
    everything = [case for fold in folds for case in fold.cases]
    _check_once(everything)
    _check_images(dataset, configuration, name, str(plans["plans_name"]), everything)
    dataset_json = json.loads((fine.folder / "dataset.json").read_text(encoding="utf-8"))
    _check_truth(dataset, dataset_json["file_ending"], everything)
    budgets = tuple(sorted({0.0, *request.budgets}))
    images = dataset.preprocessed(configuration)
    return CurvePlan(request, dataset, images, settings, budgets, folds, tuple(_notes(planned, request)))


def _fine(request: Request) -> TrainedModel:
    if request.fine is not None:
        return trained_model_in(request.fine.absolute(), request.folds, request.checkpoint)
    return find_trained_model(
        str(request.dataset), request.configuration, request.trainer, request.folds, request.plans, request.checkpoint
    )


def _fold(
    request: Request, wanted: Wanted, settings: SelectiveRefinement, fine: TrainedModel, fold: str, cases: Sequence[str]
) -> Fold:
    one = TrainedModel(fine.folder, (fold,), fine.checkpoint)
    coarse = wanted.coarse_model(settings, fine.folder, (fold,), request.checkpoint)
    if coarse.folder.resolve() == fine.folder.resolve():
        raise TwoStageError(f"{fine.folder} is both the fine and the coarse model. Name another one with --coarse.")
    return Fold(fold, one, coarse, tuple(cases))


def _plans(folder: Path | None) -> dict[str, Any]:
    """Return the plans beside a trained model."""
    assert folder is not None
    trained_model_in(folder, ())
    plans: dict[str, Any] = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
    return plans


def _check_images(dataset: Dataset, configuration: Mapping[str, Any], name: str, plans: str, cases: list[str]) -> None:
    missing = dataset.without_image(configuration, cases)
    if missing:
        raise TwoStageError(
            f"{dataset.preprocessed(configuration)} lacks {len(missing)} of {len(cases)} validation cases "
            f"({_some(missing)}). Type: nnUNetv2_preprocess -d {dataset.number} -plans_name {plans} -c {name}"
        )


def _check_truth(dataset: Dataset, ending: str, cases: Sequence[str]) -> None:
    folder = dataset.folder / TRUTH
    missing = [c for c in cases if not (folder / f"{c}{ending}").is_file()]
    if missing:
        raise TwoStageError(
            f"{folder} lacks the reference labels of {len(missing)} of {len(cases)} validation cases "
            f"({_some(missing)}). nnUNetv2_preprocess copies them there."
        )


def _check_once(cases: Sequence[str]) -> None:
    doubled = sorted(c for c, count in Counter(cases).items() if count > 1)
    if doubled:
        raise TwoStageError(
            f"{_some(doubled)}: validation cases of several of these folds, and a curve has each case once. "
            "Make a curve for each fold: -f 0"
        )


def _some(cases: Sequence[str]) -> str:
    return ", ".join(cases[:LISTED]) + (", ..." if len(cases) > LISTED else "")


def _notes(planned: SelectiveRefinement, request: Request) -> list[str]:
    notes = []
    if planned.max_confidence is not None and planned.max_confidence < 0.5:
        notes.append(f"the plan's max_confidence {planned.max_confidence:g} is not heeded here: budgets are used up")
    if 1.0 not in request.budgets:
        notes.append("without --budgets 1 the curve has no full refinement to be compared with")
    return [*notes, *([] if math.isclose(request.step_size, 0.5) else [f"step size {request.step_size:g}"])]
