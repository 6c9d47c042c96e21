"""Checks of a conversion's flags that need no file to be read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.inspecting import files_of
from nnunet_ext.dataset_conversion.problems import Problem

LARGEST_ID = 999


def target_problems(dataset_id: int, name: str, raw_folder: Path) -> Iterator[Problem]:
    """Check id, name and output folder; yields what is wrong."""
    if not 1 <= dataset_id <= LARGEST_ID:
        where = f"-d {dataset_id}; allowed are 1 to {LARGEST_ID}"
        yield Problem("id-range", "data set id out of range", where, "choose a free id, such as -d 501")
    else:
        yield from _id_in_use(dataset_id, name, raw_folder)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or "__" in name:
        where = f"-n {name!r}; allowed are letters, digits, '-' and single '_'"
        suggestion = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]", "_", name)).strip("_") or "MyDataset"
        remedy = f"choose another name, such as -n {suggestion}"
        yield Problem("name-range", "data set name that nnU-Net cannot use", where, remedy)


def threshold_problems(threshold: int | None) -> Iterator[Problem]:
    """Check ``--threshold``."""
    if threshold is not None and not 0 <= threshold <= 254:
        where = f"--threshold {threshold}; allowed are 0 to 254"
        remedy = "foreground is value > threshold; the usual one is --threshold 127"
        yield Problem("threshold-range", "threshold out of range", where, remedy)


def choice_problems(choices: Mapping[str, tuple[str, Sequence[str]]]) -> Iterator[Problem]:
    """Check ``{flag: (value, allowed)}``; the command line does so itself, other callers may not."""
    for flag, (value, allowed) in choices.items():
        if value not in allowed:
            where = f"{flag} {value}; allowed are {', '.join(allowed)}"
            yield Problem("choice", "value that is none of the choices", where, f"type for example {flag} {allowed[0]}")


def _id_in_use(dataset_id: int, name: str, raw_folder: Path) -> Iterator[Problem]:
    if not raw_folder.is_dir():
        if raw_folder.exists():
            where = f"{raw_folder} is a file; allowed is a folder, or a path that does not exist yet"
            yield Problem("raw-unusable", "output folder not usable", where, "set nnUNet_raw to a folder")
        return
    for user in _users(_present(raw_folder), dataset_id):
        if user != f"Dataset{dataset_id:03d}_{name}":
            yield in_use(raw_folder / user, dataset_id, raw_folder)


def in_use(folder: Path, dataset_id: int, raw_folder: Path, replaceable: Sequence[str] = ()) -> Problem:
    """Describe an id that is taken; ``replaceable`` are the files in which a data set of this name differs."""
    present = _present(raw_folder)
    ids = [*range(dataset_id, LARGEST_ID + 1), *range(1, dataset_id)]
    free = next((i for i in ids if not _users(present, i)), None)
    where = f"-d {dataset_id}: {folder} exists; nnU-Net needs ids to be unique"
    remedy = "remove a data set: all ids are in use" if free is None else f"choose a free id: -d {free}"
    if replaceable:
        where += f" (from other files or flags: {', '.join(replaceable[:3])} differ)"
        remedy += ", or replace the old data set: --overwrite"
    return Problem("id-in-use", "data set id in use", where, remedy)


def _present(raw_folder: Path) -> list[str]:
    return sorted(p.name for p in raw_folder.iterdir() if p.name.startswith("Dataset"))


def _users(names: Iterable[str], dataset_id: int) -> list[str]:
    return [n for n in names if n.startswith(f"Dataset{dataset_id:03d}")]


def sources_in_target(cases: Sequence[Case], target: Path) -> Iterator[Problem]:
    """Check that no source lies in the folder to be written."""
    if not os.path.lexists(target):
        return
    inside = target.resolve()
    paths = {path for case in cases for path in files_of(case)}
    links = {path for path in paths if path.is_symlink()}
    for path in sorted({path.parent for path in paths - links} | links):
        if path.resolve().is_relative_to(inside):
            where, what = f"{path} lies in {target}", "sources inside the data set to be written"
            yield Problem("source-in-target", what, where, "choose another -d or -n")


def count_problems(cases: Sequence[Case], expected: dict[str, int], partial: bool) -> Iterator[Problem]:
    """Compare the number of cases in each part with what a published data set has."""
    for part, n in expected.items():
        found = sum(case.split == part for case in cases)
        if found != n:
            where = f"{part}: {found} cases; the complete data set has {n}"
            remedy = "complete the download, or take what is there with --partial"
            what = "another number of cases than published"
            yield Problem("count-differs", what, where, remedy, is_warning=partial)
