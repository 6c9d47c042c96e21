"""What is to do to train both stages, seen from what is on disk: steps in order, each a stock command or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.cascade.dataset import TRUTH, Dataset, folder_of
from nnunet_ext.inference.trained_model import DEFAULT_CHECKPOINT
from nnunet_ext.machine import cpu_cores
from nnunet_ext.run.cascade_stages import Stages

MOST_PROCESSES = 8  # of preprocessing, as nnU-Net's own default


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
    validated = _validated(summary)
    if validated is None or summary.stat().st_mtime < final.stat().st_mtime:
        return "trained; validation missing", ("--val",)
    if npz and len(list(summary.parent.glob("*.npz"))) < validated:
        return "validated; its probabilities (--npz) missing", ("--val",)
    missing = not_handed_over()
    if missing:
        return f"validated; {missing} labels for the next stage missing", ("--val",)
    return "done", None


def _validated(summary: Path) -> int | None:
    """Return the number of cases in a summary.json; None if there is none, or half of one."""
    try:
        return len(json.loads(summary.read_text(encoding="utf-8"))["metric_per_case"])
    except (OSError, ValueError, KeyError):
        return None


def _not_handed_over(stages: Stages, configuration: str, fold: str) -> int:
    splits = stages.dataset.splits()
    if not stages.hands_over or configuration != stages.coarse or splits is None:
        return 0
    folder = stages.model(configuration) / "predicted_next_stage" / stages.request.configuration
    there = {p.stem for p in folder.glob("*")}
    cases = known_cases(stages.dataset) if fold == "all" else splits[int(fold)]["val"]
    return sum(str(case) not in there for case in cases)
