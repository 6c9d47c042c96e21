"""`nnunet_ext report`: finished folds of any trainers, compared on one page."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.case_scores import metric_named, with_metrics
from nnunet_ext.evaluation.collect import ALL, CollectError, find_models
from nnunet_ext.evaluation.collected import Collected, collect, common, read_splits
from nnunet_ext.evaluation.long_table import long_table, read_cases
from nnunet_ext.evaluation.quality import class_labels
from nnunet_ext.evaluation.trainer_report import write_trainer_report
from nnunet_ext.evaluation.trainer_results import Material
from nnunet_ext.machine import versions
from nnunet_ext.run.commands import as_typed
from nnunet_ext.run.progress import Say
from nnunet_ext.run.report_cases import draw_cases
from nnunet_ext.run.report_request import Request, check_output, dataset_folder, folder_of, results_folder, typed
from nnunet_ext.run.report_sizes import sizes_of

FOLDER = "nnunet_ext_report"  # beside the models of a dataset
STOCK = re.compile(r"nnUNetTrainer(_\d+epochs?)?(_\d+iters)?")
CASES = "cases.csv"
DEFAULT_COLUMN = "structure"


def make_report(request: Request, say: Say) -> Path:
    """Compare finished folds, and write the report; return the page's path.

    Args:
        request: of the user.
        say: takes lines for the user.

    Raises:
        CollectError: if nnUNet_results is not set, or nothing, or nothing comparable is there; says what to type.
        ComparisonError: if the scores cannot be compared.
    """
    metric = metric_named(request.metric)
    place = dataset_folder(results_folder(), request.dataset)
    output = request.output or place / FOLDER
    check_output(output)
    collected = _collected(request, place)
    _check_problems(request, collected)
    if collected.problems:
        collected = common(collected)
    say(f"{place.name}: {len(collected.runs)} folds of {len(collected.names)} trainers")
    cases, by = _cases(request, place.name, collected)
    baseline = choose_baseline(request.baseline, collected)
    runs = sorted(collected.runs, key=lambda run: run.name != baseline)
    table = with_metrics(long_table(runs, cases))
    sizes, unknown = sizes_of(runs)
    overlays, missing = draw_cases(runs, table, metric, baseline, folder_of("nnUNet_raw"), say)
    material = Material(
        dataset=place.name,
        runs=runs,
        table=table,
        baseline=baseline,
        metric=metric,
        classes=_class_names(collected),
        by=by,
        sizes=sizes,
        overlays=overlays,
        warnings=_warnings(collected),
        notes=[*_folds_of_nobody(place.name, request, collected), *missing],
        about=_about(request, collected, unknown),
    )
    for line in (*material.warnings, *material.notes, *unknown):
        say(f"note: {line}")
    return write_trainer_report(output, material)


def choose_baseline(asked: str | None, collected: Collected) -> str:
    """Return the name of the trainer to compare with.

    Raises:
        CollectError: if there is none of the name that was asked for, or several.
    """
    names = list(collected.names)
    if asked is None:
        trainers = {run.name: run.model.trainer for run in collected.runs}
        return next((n for n in names if STOCK.fullmatch(trainers[n])), names[0])
    same = {r.name for r in collected.runs if asked in (r.name, r.model.trainer, r.model.folder.name)}
    if len(same) != 1:
        found = "stands for several" if same else "is not among the trainers that are compared"
        raise CollectError(f"--baseline {asked} {found}. Type one of: {', '.join(map(shlex.quote, names))}")
    return same.pop()


def _collected(request: Request, place: Path) -> Collected:
    folders = [place, *(dataset_folder(other, place.name) for other in request.repeats)]
    models = [find_models(f, request.trainers, request.configurations, request.plans) for f in folders]
    return collect(models, request.dataset, request.folds, _splits(place.name))


def _splits(name: str) -> list[dict[str, Any]] | None:
    preprocessed = folder_of("nnUNet_preprocessed")
    return None if preprocessed is None else read_splits(preprocessed / name / "splits_final.json")


def _check_problems(request: Request, collected: Collected) -> None:
    if request.partial or not collected.problems:
        return
    listed = "\n".join(f"{i:3}. {problem}" for i, problem in enumerate(collected.problems, 1))
    partial = as_typed([*typed(request), "--partial"])
    raise CollectError(
        f"trainers cannot be compared as they are:\n{listed}\n"
        f"To leave trainers out, name the others with -tr: {' '.join(r for r in _trainers(collected))}\n"
        f"To compare the folds that all have in common, which the page then says: {partial}"
    )


def _trainers(collected: Collected) -> list[str]:
    return list(dict.fromkeys(run.model.trainer for run in collected.runs))


def _warnings(collected: Collected) -> list[str]:
    if not collected.problems:
        return []
    folds = f"fold{'s' * (len(collected.folds) > 1)} {', '.join(collected.folds)}"
    return [f"Compared: {folds} of {', '.join(collected.names)}.", *map(str, collected.problems)]


def _cases(
    request: Request, dataset: str, collected: Collected
) -> tuple[pd.DataFrame | None, tuple[str, Mapping[str, str]] | None]:
    """Return cases.csv, if there is one, and the column to tell cases apart by, if one is there or asked for."""
    raw = folder_of("nnUNet_raw")
    path = None if raw is None else raw / dataset / CASES
    if path is None or not path.is_file():
        if request.by is not None:
            where = "nnUNet_raw is not set" if path is None else f"there is no {path}"
            raise CollectError(f"--by {request.by} needs {CASES}, but {where}. `nnunet_ext convert` writes it.")
        return None, None
    cases = read_cases(path)
    if request.by is not None and request.by not in cases.columns:
        raise CollectError(f"--by {request.by}: no such column in {path}. Its columns: {', '.join(cases.columns)}")
    by = request.by or DEFAULT_COLUMN
    if by not in cases.columns:
        return cases, None
    used = {case for run in collected.runs for case in run.cases}
    values = {case: str(value) for case, value in cases[by].items() if case in used}
    several = len({v for v in values.values() if v}) > 1
    return cases, (by, values) if several or request.by is not None else None


def _class_names(collected: Collected) -> dict[str, str]:
    """Return the names of classes by their label in summary.json; empty where dataset.json tells none."""
    try:
        content = json.loads((collected.runs[0].model.folder / "dataset.json").read_text(encoding="utf-8"))
        return {label: name for name, label in class_labels(content["labels"]).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _folds_of_nobody(name: str, request: Request, collected: Collected) -> list[str]:
    splits = _splits(name)
    if splits is None or request.folds or ALL in collected.folds:
        return []
    missing = [str(i) for i in range(len(splits)) if str(i) not in collected.folds]
    if not missing:
        return []
    return [f"Fold{'s' * (len(missing) > 1)} {', '.join(missing)} of splits_final.json: not compared."]


def _about(request: Request, collected: Collected, unknown: Sequence[str]) -> dict[str, Any]:
    commands = [run.manifest["command"] for run in collected.runs if "command" in run.manifest]
    ran = [" ".join([Path(first).name, *rest]) for first, *rest in (c.split(" ") for c in commands)]
    about: dict[str, Any] = {
        "Command": as_typed(typed(request)),
        "Written": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "Versions": f"{versions()} (of this report; those of trainings are above)",
        "Files": "report.csv: every case and class; comparisons.csv: all tests; report.md: a table for a paper",
    }
    if unknown:
        about["Not counted"] = list(unknown)
    return about | ({"What ran (trainings that left a manifest)": "\n".join(ran) + "\n"} if ran else {})
