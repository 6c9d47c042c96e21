"""What is to do to train both stages, seen from what is on disk: steps in order, each a stock command or nothing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.cascade.dataset import SPLITS, TRUTH, Dataset, find_dataset, folder_of
from nnunet_ext.cascade.settings import PREVIOUS_TRAINER, SelectiveRefinement, TwoStageError
from nnunet_ext.inference.trained_model import DEFAULT_CHECKPOINT
from nnunet_ext.machine import cpu_cores

MOST_PROCESSES = 8  # of preprocessing, as nnU-Net's own default
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
class Step:
    """One command, or what is done already.

    Attributes:
        name: in few words, also of the log file.
        state: what is on disk, and what is done about it.
        command: of nnU-Net; empty if there is nothing to do.
    """

    name: str
    state: str
    command: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        return not self.command


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


def steps_of(stages: Stages) -> list[Step]:
    """Return all steps in their order, done or not."""
    fine = stages.request.configuration
    steps = _preprocessing(stages)
    if stages.hands_over:
        order = [(stages.coarse, fold) for fold in stages.coarse_folds] + [(fine, fold) for fold in stages.folds]
    else:
        order = [(name, fold) for fold in stages.folds for name in (stages.coarse, fine)]
    return steps + [_training(stages, name, fold) for name, fold in order]


def _preprocessing(stages: Stages) -> list[Step]:
    cases = known_cases(stages.dataset)
    steps: dict[Path, Step] = {}
    for name in (stages.coarse, stages.request.configuration):
        configuration = stages.configuration(name)
        folder = stages.dataset.preprocessed(configuration)
        if folder in steps:
            continue
        owner = _owner(stages.plans["configurations"], name)
        missing = stages.dataset.without_image(configuration, cases)
        if folder.is_dir() and not missing and any(folder.glob("*.pkl")):
            steps[folder] = Step(f"preprocess {owner}", "done")
            continue
        state = f"{len(missing)} of {len(cases)} cases missing" if folder.is_dir() and cases else "not there"
        number = str(stages.dataset.number)
        command = ("nnUNetv2_preprocess", "-d", number, "-plans_name", stages.request.plans, "-c", owner)
        processes = str(min(MOST_PROCESSES, cpu_cores()))
        steps[folder] = Step(f"preprocess {owner}", state, (*command, "-np", processes))
    return list(steps.values())


def known_cases(dataset: Dataset) -> list[str]:
    """Return the training cases, from the reference labels that preprocessing copies, or from the folds."""
    splits = dataset.splits()
    if splits:
        return sorted({str(c) for split in splits for part in ("train", "val") for c in split[part]})
    raw = folder_of("nnUNet_raw") / dataset.name
    if not (raw / "dataset.json").is_file():
        return sorted(p.name.split(".")[0] for p in (dataset.folder / TRUTH).glob("*"))
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    return sorted(get_filenames_of_train_images_and_targets(str(raw)))


def _owner(configurations: Mapping[str, Any], name: str) -> str:
    """Return the configuration from which one inherits its preprocessed data, itself if from none."""
    while "data_identifier" not in configurations[name] and "inherits_from" in configurations[name]:
        name = configurations[name]["inherits_from"]
    return name


def _training(stages: Stages, configuration: str, fold: str) -> Step:
    request, name = stages.request, f"{configuration} fold {fold}"
    folder = stages.model(configuration) / f"fold_{fold}"
    trainer = stages.coarse_trainer if configuration == stages.coarse else request.trainer
    command = ["nnUNetv2_train", stages.dataset.name, configuration, fold, "-p", request.plans, "-tr", trainer]
    command += ["--npz"] if request.npz else []
    command += ["-device", request.device] if request.device else []
    state, flag = training_state(folder, request.npz, lambda: _not_handed_over(stages, configuration, fold))
    return Step(name, state) if flag is None else Step(name, state, (*command, *flag))


def training_state(
    folder: Path, npz: bool, not_handed_over: Callable[[], int] = lambda: 0
) -> tuple[str, tuple[str, ...] | None]:
    """Return what a training's folder holds in words, and the flag that goes on from there; None if it is done.

    Args:
        folder: of a fold.
        npz: the probabilities of the validation cases are wanted.
        not_handed_over: number of labels for the next stage that are missing.
    """
    final, summary = folder / DEFAULT_CHECKPOINT, folder / "validation" / "summary.json"
    if not final.is_file():
        if any((folder / f"checkpoint_{kind}.pth").is_file() for kind in ("latest", "best")):
            return "began; goes on from its checkpoint", ("--c",)
        return "to train", ()
    if not summary.is_file() or summary.stat().st_mtime < final.stat().st_mtime:
        return "trained; validation missing", ("--val",)
    if npz and len(list(summary.parent.glob("*.npz"))) < _validated(summary):
        return "validated; its probabilities (--npz) missing", ("--val",)
    missing = not_handed_over()
    if missing:
        return f"validated; {missing} labels for the next stage missing", ("--val",)
    return "done", None


def _validated(summary: Path) -> int:
    """Return the number of cases in a summary.json, at least 1."""
    return max(1, len(json.loads(summary.read_text(encoding="utf-8"))["metric_per_case"]))


def _not_handed_over(stages: Stages, configuration: str, fold: str) -> int:
    splits = stages.dataset.splits()
    if not stages.hands_over or configuration != stages.coarse or splits is None:
        return 0
    folder = stages.model(configuration) / "predicted_next_stage" / stages.request.configuration
    there = {p.stem for p in folder.glob("*")}
    cases = known_cases(stages.dataset) if fold == "all" else splits[int(fold)]["val"]
    return sum(str(case) not in there for case in cases)
