"""What `convert` prints: the published datasets, what was found, what was written."""

from __future__ import annotations

import csv
import os
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cli.errors import CommandLineError
from nnunet_ext.cli.parser import say

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.convert import ConversionResult, Diagnosis, LabelShare
    from nnunet_ext.dataset_conversion.options import Target
    from nnunet_ext.parallel import Progress

SHOWN_NAMES = 8
PLURALS = {"group": "groups", "structure": "structures", "modality": "modalities"}


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Give a function that draws a bar with rate and time left; if the output is no terminal, from ten seconds on."""
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}

    def progress(verb: str, done: int, total: int) -> None:
        if verb not in bars:
            interval = 0.1 if sys.stderr.isatty() else 10
            pace = {"mininterval": interval, "maxinterval": interval, "delay": interval}
            bars[verb] = tqdm(desc=verb, total=total, unit="case", **pace)
        bars[verb].update(done - bars[verb].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


def print_layouts(name: str) -> int:
    """List the published datasets, or show one whole."""
    from nnunet_ext.dataset_conversion.datasets import all_layouts, find_layout

    if name:
        layout = find_layout(name)
        counts = ", ".join(f"{part} {n}" for part, n in layout.counts.items()) or "not known"
        for title, text in (
            *(("dataset", f"{layout.name}: {layout.title}"), ("papers", ", ".join(layout.papers) or "-")),
            *(("reference", layout.reference), ("get it at", layout.url), ("licence", layout.licence)),
            *(("reads", layout.version), ("layout known by", layout.confirmed), ("cases", counts)),
            *(("labels", " ".join(layout.labels) or "binary"), ("notes", "; ".join(layout.notes) or "-")),
        ):
            say(f"{title + ':':<16} {text}")
        say("layout below -i:")
        for line in layout.tree.splitlines():
            say(f"    {line}")
        say(f"type: nnunet_ext convert --dataset {layout.name} -i FOLDER -d ID")
        return 0
    layouts = all_layouts().values()
    width = max(len(layout.name) for layout in layouts)
    for layout in layouts:
        total = sum(layout.counts.values()) or "?"
        say(f"{layout.name:<{width}}  {total!s:>6}  {layout.title}  [{', '.join(layout.papers) or '-'}]")
        say(f"{'':<{width}}          licence: {layout.licence}")
    say("nnunet_ext convert --list NAME shows a dataset's layout; --dataset NAME -i FOLDER -d ID converts it")
    return 0


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the table of what was found, then warnings and errors."""
    from nnunet_ext.dataset_conversion.convert import label_shares
    from nnunet_ext.dataset_conversion.problems import counted, grouped, printable

    _print_found(diagnosis)
    legend, survey = diagnosis.legend, diagnosis.survey
    has_classes = not legend.is_binary or legend.ignore_label is not None
    if has_classes and survey.knows_labels and not legend.is_stand_in:
        _print_labels(label_shares(legend, survey))
    for note in diagnosis.notes:
        print(f"note: {printable(note)}")
    if diagnosis.warnings:
        print(f"{counted(len(diagnosis.warnings), 'warning')}:")
        print("\n".join(grouped(diagnosis.warnings)))
    sys.stdout.flush()


def print_dry_run(diagnosis: Diagnosis) -> int:
    """Print the errors of a dry run, and whether the data set would be written; return the exit code."""
    from nnunet_ext.dataset_conversion.problems import counted, grouped

    if diagnosis.errors:
        print(f"{counted(len(diagnosis.errors), 'error')}:")
        print("\n".join(grouped(diagnosis.errors)))
        print("dry run: nothing was written, and nothing would be while there are errors")
        return 1
    print("dry run: nothing was written; there is no error, so that without --dry-run the data set would be")
    return 0


def _print_found(diagnosis: Diagnosis) -> None:
    parts = Counter(case.split for case in diagnosis.cases)
    masks = sum(case.mask is not None for case in diagnosis.cases)
    rows = [("cases", (", ".join(f"{n} {part}" for part, n in parts.items()) or "none") + f"; {masks} with annotation")]
    sizes = [finding.size for finding in diagnosis.findings if finding.image_mode]
    if sizes:
        small, large = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
        extent = f"{small[0]} x {small[1]}" + ("" if small == large else f" to {large[0]} x {large[1]}")
        rows.append(("images", f"{_counts(f.source_mode for f in diagnosis.findings)}; {extent}"))
    rows.append(("masks", _counts(f.encoding or "empty" for f in diagnosis.findings if f.label_pixels)))
    for column in PLURALS:
        values = Counter(getattr(case, column) for case in diagnosis.cases if getattr(case, column))
        if values:
            rows.append((PLURALS[column], f"{len(values)}: {_counts(values.elements())}"))
    if diagnosis.splits:
        sizes_of_folds = ", ".join(f"{len(fold['train'])}/{len(fold['val'])}" for fold in diagnosis.splits)
        rows.append(("folds", f"{len(diagnosis.splits)} (training/validation: {sizes_of_folds})"))
    for title, text in rows:
        print(f"{title + ':':<12} {text or '-'}")


def _counts(values: Iterator[str]) -> str:
    found = Counter(value for value in values if value).most_common()
    shown = ", ".join(f"{value} {n}" for value, n in found[:SHOWN_NAMES])
    return shown + (f", {len(found) - SHOWN_NAMES} more" if len(found) > SHOWN_NAMES else "")


def print_result(result: ConversionResult, target: Target) -> None:
    """Print what was written, and what to type next."""
    n_classes = sum(label.name not in ("background", "ignore") for label in result.labels)
    content = f"{n_classes} classes" if n_classes > 1 else f"{100 * result.foreground_share:.1f} % foreground"
    if result.unchanged:
        print(f"{result.dataset_folder} was converted from these files with these flags before; nothing to do")
    elif any(result.n_reused):
        print(f"taken over unchanged: {result.n_reused[0]} images, {result.n_reused[1]} masks")
    print(
        f"{result.dataset_folder}: {result.n_train} training and {result.n_test} test images "
        f"({result.n_test_labels} with masks), {result.image_mode}, {content}"
    )
    if target.splits_file is not None:
        print(f"folds: {target.splits_file}")
    print(f"next: nnUNetv2_plan_and_preprocess -d {target.dataset_id} -c 2d --verify_dataset_integrity")


def _print_labels(labels: Sequence[LabelShare]) -> None:
    width = max(len(label.name) for label in labels)
    room = max(8, *(len(label.value or "-") for label in labels))
    print(f"{'label':5}  {'name':{width}}  {'in masks':>{room}}  of the training pixels")
    for label in labels:
        print(f"{label.label:5}  {label.name:{width}}  {label.value or '-':>{room}}  {100 * label.share:8.3f} %")


def refuse_unusable_report(path: Path) -> None:
    """Check, before the work, that a file can be written there.

    Raises:
        CommandLineError: the path is a folder, or its folder cannot be written.
    """
    if path.is_dir():
        raise CommandLineError(f"--report {path} is a folder. Name a file, such as {path / 'problems.csv'}.")
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "cannot be written" if folder.is_dir() else "is not a folder"
        raise CommandLineError(f"--report {path}: {folder} {why}. Name a file in a folder that can be written.")


def write_report(diagnosis: Diagnosis, path: Path) -> None:
    """Write every problem and warning to a CSV file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(("severity", "code", "what", "where", "remedy"))
        for problem in diagnosis.problems:
            severity = "warning" if problem.is_warning else "error"
            table.writerow((severity, problem.code, problem.what, problem.where, problem.remedy))
    shutil.move(temporary, path)
    print(f"report: {path}")
