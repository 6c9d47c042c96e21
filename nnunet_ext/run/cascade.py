"""`nnunet_ext cascade train`: both stages of each fold, with nnU-Net's own commands as subprocesses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nnunet_ext.cascade.dataset import folder_of
from nnunet_ext.environment import DISCOVERY, plugin_folder
from nnunet_ext.run.cascade_stages import Request, Stages, check_trainers, find_stages
from nnunet_ext.run.cascade_steps import Step, steps_of
from nnunet_ext.run.commands import CommandError, as_typed, find_command, run_command
from nnunet_ext.run.progress import Say, Steps, clock
from nnunet_ext.run.workplace import chosen_device

LOGS = "cascade_logs"  # beside the models of a dataset


def train_both(request: Request, dry_run: bool, say: Say) -> None:
    """Do what is not done yet: preprocess, then of each fold the coarse network and the fine one.

    Args:
        request: of the user.
        dry_run: say what would be done, and nothing else.
        say: takes lines for the user.

    Raises:
        TwoStageError: before work, if something is missing or contradicts the plan.
        CommandError: if a command of nnU-Net fails.
    """
    stages = find_stages(replace(request, device=chosen_device(request.device)))
    check_trainers(stages)
    steps = steps_of(stages)
    for line in table_of(steps):
        say(line)
    ahead = [step for step in steps if not step.is_done]
    for name in sorted({step.command[0] for step in ahead}):
        find_command(name)
    if dry_run:
        return
    _run_all(stages, ahead, say)
    for line in next_commands(stages):
        say(line)


def table_of(steps: Sequence[Step]) -> list[str]:
    """Return a line for each step: what it is, what is there, and what will be typed."""
    width, wide = max(len(s.name) for s in steps), max(len(s.state) for s in steps)
    return [f"  {s.name:{width}}  {s.state:{wide}}  {as_typed(s.command)}".rstrip() for s in steps]


def log_file(stages: Stages, step: Step) -> Path:
    """Return where a step's output goes."""
    folder = folder_of("nnUNet_results") / stages.dataset.name / LOGS
    return folder / f"{stages.request.plans}_{step.name.replace(' ', '_')}.txt"


def _run_all(stages: Stages, ahead: Sequence[Step], say: Say) -> None:
    counted = Steps(len(ahead), say)
    environment = {} if os.environ.get(DISCOVERY) else {DISCOVERY: str(plugin_folder())}
    for step in ahead:
        log = log_file(stages, step)
        counted.begin(f"{step.name}; output in {log}")
        try:
            seconds = run_command(step.command, environment=environment, log=log)
        except (KeyboardInterrupt, SystemExit, CommandError) as error:
            ended = "failed" if isinstance(error, CommandError) else "ended"
            say(f"{step.name} {ended}. To go on from here, type the same again: {as_typed(typed(stages.request))}")
            raise
        counted.note(f"took {clock(seconds)}")


def typed(request: Request) -> list[str]:
    """Return the command that makes this request."""
    command = ["nnunet_ext", "cascade", "train", "-d", request.dataset, *_flags(request)]
    command += ["--coarse-trainer", request.coarse_trainer] if request.coarse_trainer else []
    command += ["-f", *request.folds] if request.folds else []
    command += ["--npz"] if request.npz else []
    return command + (["-device", request.device] if request.device else [])


def _flags(request: Request) -> list[str]:
    return ["-c", request.configuration, "-p", request.plans, "-tr", request.trainer]


def next_commands(stages: Stages) -> list[str]:
    """Return what is typed when both stages are trained."""
    request, number = stages.request, stages.request.dataset
    model, folds = [*_flags(request), "-f", *stages.folds], [f for f in stages.folds if f != "all"]
    lines = ["both stages are trained; next:"]
    if stages.hands_over:
        images = ["-i", "IMAGES", "-o", "COARSE", "-d", number, "-c", stages.coarse]
        first = ["nnUNetv2_predict", *images, "-p", request.plans, "-tr", stages.coarse_trainer, "-f", *stages.folds]
        lines.append(f"  {as_typed(first)}")
        second = ["nnUNetv2_predict", "-i", "IMAGES", "-o", "OUT", "-d", number, *model]
        lines.append(f"  {as_typed([*second, '-prev_stage_predictions', 'COARSE'])}")
    else:
        predict = ["nnunet_ext", "predict", "--two-stage", "-i", "IMAGES", "-o", "OUT", "-d", number, *model]
        lines.append(f"  {as_typed(predict)}")
        if folds:
            curve = ["nnunet_ext", "cascade", "validate", "-d", number, *_flags(request), "-f", *folds, "-o", "CURVE"]
            lines.append(f"  {as_typed(curve)}")
    if folds:
        lines += [f"  {as_typed(command)}" for command in _best(stages, folds)]
    return lines


def _best(stages: Stages, folds: Sequence[str]) -> list[list[str]]:
    """Return nnU-Net's comparison of the stages; it takes all trainers with all configurations: two need two lines."""
    request, coarse = stages.request, stages.coarse_trainer
    pairs = [([stages.coarse], coarse), ([request.configuration], request.trainer)]
    if coarse == request.trainer:
        pairs = [([stages.coarse, request.configuration], coarse)]
    tail = ["-f", *folds, *([] if request.npz else ["--disable_ensembling"])]
    command = ["nnUNetv2_find_best_configuration", request.dataset]
    return [[*command, "-c", *names, "-p", request.plans, "-tr", trainer, *tail] for names, trainer in pairs]
