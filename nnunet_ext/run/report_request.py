"""What `nnunet_ext report` is asked for, and the folders that it needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.evaluation.collect import CollectError


@dataclass(frozen=True)
class Request:
    """What a user asks for; empty tuples and None take what is there.

    Attributes:
        dataset: id or name.
        configurations: to take.
        trainers: to take.
        plans: to take.
        folds: numbers, or "all".
        output: folder of the report.
        baseline: trainer that the others are compared with; None: stock nnU-Net's, or the first.
        metric: the headline.
        by: column of cases.csv.
        partial: compare the folds that all have, and say so on the page.
        repeats: other nnUNet_results folders, with further trainings of the same trainers.
    """

    dataset: str
    configurations: tuple[str, ...] = ()
    trainers: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    output: Path | None = None
    baseline: str | None = None
    metric: str = "Dice"
    by: str | None = None
    partial: bool = False
    repeats: tuple[Path, ...] = ()


def typed(request: Request) -> list[str]:
    """Return the command that makes this request."""
    command = ["nnunet_ext", "report", "-d", request.dataset]
    lists = {
        "-c": request.configurations,
        "-tr": request.trainers,
        "-p": request.plans,
        "-f": request.folds,
        "--repeats": tuple(map(str, request.repeats)),
    }
    for flag, values in lists.items():
        command += [flag, *values] if values else []
    single = {"-o": request.output, "--baseline": request.baseline, "--by": request.by}
    for name, value in single.items():
        command += [name, str(value)] if value is not None else []
    command += ["--metric", request.metric] if request.metric != "Dice" else []
    return command + (["--partial"] if request.partial else [])


def dataset_folder(results: Path, dataset: str) -> Path:
    """Find a dataset in a results folder by id or name.

    Raises:
        CollectError: if there is none, or several of one id.
    """
    named = [results / dataset] if (results / dataset).is_dir() else []
    if dataset.isdigit():
        named = sorted(p for p in results.glob(f"Dataset{int(dataset):03d}_*") if p.is_dir())
    if len(named) != 1:
        found = "several of this id" if named else "no such dataset"
        known = ", ".join(sorted(p.name for p in results.glob("Dataset*_*"))) or "none"
        raise CollectError(f"-d {dataset}: {found}. In {results} there are: {known}.")
    return named[0]


def check_output(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before any work.

    Raises:
        CollectError: if it is a file, or not writable.
    """
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot be written to" if there.is_dir() else "is a file"
        raise CollectError(f"{there} {what}. Name another folder for the report: -o FOLDER")


def results_folder() -> Path:
    """Return nnUNet_results.

    Raises:
        CollectError: if it is not set.
    """
    folder = folder_of("nnUNet_results")
    if folder is None:
        raise CollectError("nnUNet_results is not set. Type: export nnUNet_results=/folder/of/your/trainings")
    return folder


def folder_of(variable: str) -> Path | None:
    """Return one of nnU-Net's folders; None if its variable is not set."""
    value = os.environ.get(variable)
    return Path(value) if value else None
