"""An evaluation, and the files it is written to: all of them, each whole, or none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.problems import EvaluationError, Problem

WRITER = "nnunet_ext evaluate"
FILES = ("per_case.csv", "summary.json", "groups.csv", "confusion.csv")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of predictions.

    Attributes:
        per_case: a row a case and class: `case`, `label` (as nnU-Net's summary.json has it), `class`, columns of the
            table of cases, TP, FP, FN, TN, a column a metric, and `diagonal` (of the image) where there are distances.
        summary: what summary.json holds, see docs/how_to/evaluate.md; NaN and infinity are floats here.
        groups: averages of each group, as `averages.group_table`; None unless asked for.
        confusion: pixels over all cases, rows the reference's labels, columns the prediction's; None if it is not
            known, or there is only one class.
        problems: what kept cases out, or out of groups.
    """

    per_case: pd.DataFrame
    summary: dict[str, Any]
    groups: pd.DataFrame | None
    confusion: pd.DataFrame | None
    problems: Sequence[Problem]

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write per_case.csv, summary.json and, if there are such, groups.csv and confusion.csv; return their paths.

        Files of an earlier evaluation are replaced. All are written under temporary names first.

        Raises `EvaluationError` if the folder holds a file of one of these names that is not ours, or cannot be
        written.
        """
        folder = Path(folder)
        refuse_other_files(folder)
        texts = {
            "per_case.csv": _csv(self.per_case),
            "groups.csv": None if self.groups is None else _csv(self.groups),
            "confusion.csv": None if self.confusion is None else self.confusion.to_csv(),
            "summary.json": json.dumps(_plain(self.summary), indent=2, allow_nan=False) + "\n",
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _write_all(folder, texts)
        except OSError as error:
            raise EvaluationError(f"{folder} cannot be written: {error}") from error


def refuse_other_files(folder: Path) -> None:
    """Raise `EvaluationError` if writing would replace a file that no evaluation of ours wrote."""
    summary = folder / "summary.json"
    if not summary.exists():
        present = [name for name in FILES if (folder / name).exists()]
    else:
        try:
            ours = json.loads(summary.read_text(encoding="utf-8")).get("written_by") == WRITER
        except (OSError, ValueError, AttributeError):
            ours = False
        present = [] if ours else ["summary.json"]
    if present:
        raise EvaluationError(f"{folder} holds a {present[0]} of something else: choose another folder with -o")


def _write_all(folder: Path, texts: dict[str, str | None]) -> list[Path]:
    drafts: dict[Path, Path] = {}
    try:
        for name, text in texts.items():
            if text is not None:
                draft = folder / f".{name}.{os.getpid()}.tmp"
                drafts[draft] = folder / name
                draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        for draft, path in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    for name, text in texts.items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
    return list(drafts.values())


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, na_rep="nan"))


def _plain(value: Any) -> Any:
    """Return what JSON can hold: null for NaN, "inf" and "-inf" for infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
