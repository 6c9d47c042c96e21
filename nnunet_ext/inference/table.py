"""`quality.csv`: one row a case and class, whole at every moment."""

from __future__ import annotations

import csv
import io
import math
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "quality.csv"
COLUMNS = ("case", "class", "quality", "voxels", "review")
TOTAL = "all"  # the first row of each case, over all classes


class QualityError(RuntimeError):
    """A quality score cannot be had as asked; the message says why and what to type."""


@dataclass(frozen=True)
class Row:
    """Quality of a class in a case, and how many voxels (at the plan's resolution) are predicted as it."""

    name: str
    quality: float
    voxels: int


class QualityTable:
    """The table in memory and in its file, which is first written with the first new case.

    Rows that the file holds already stay until their case has new ones, as the segmentations beside it do.

    Args:
        path: where the file stands.
        min_quality: rows below it get `review` true; None leaves the column empty.
        keep: earlier cases count as this prediction's, which goes on with them.

    Raises:
        QualityError: if there is another file of that name.
    """

    def __init__(self, path: Path, min_quality: float | None = None, keep: bool = False) -> None:
        self.path, self.min_quality = path, min_quality
        self.cases: dict[str, list[Row]] = _read(path) if path.is_file() else {}
        self._new = set(self.cases) if keep else set()

    def add(self, case: str, rows: list[Row]) -> None:
        """Set a case's rows and write the file."""
        self.set({case: rows})

    def set(self, cases: dict[str, list[Row]]) -> None:
        """Set the rows of cases, which stand last then, and write the file."""
        self.cases = {name: rows for name, rows in self.cases.items() if name not in cases} | cases
        self._new |= set(cases)
        self.write()

    def drop(self, case: str) -> None:
        """Take an earlier prediction's rows of a case out, and write the file if there were some."""
        self._new.discard(case)
        if self.cases.pop(case, None) is not None:
            self.write()

    def write(self) -> None:
        """Write the file: at every moment either the old or the new one stands there."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for case, rows in self.cases.items():
            writer.writerows(self._cells(case, row) for row in rows)
        temporary = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _cells(self, case: str, row: Row) -> tuple[str, str, str, int, str]:
        quality = "" if math.isnan(row.quality) else f"{row.quality:.6f}"
        review = "" if self.min_quality is None else str(self.needs_review(row)).lower()
        return case, row.name, quality, row.voxels, review

    def needs_review(self, row: Row) -> bool:
        """Whether a row's quality is below the least that was asked for."""
        return self.min_quality is not None and row.quality < self.min_quality

    def totals(self) -> list[tuple[str, Row]]:
        """Return the row over all classes of each case of this prediction, worst first."""
        rows = [(case, rows[0]) for case, rows in self.cases.items() if case in self._new]
        return sorted(rows, key=lambda pair: pair[1].quality)


def _read(path: Path) -> dict[str, list[Row]]:
    cases: dict[str, list[Row]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as f:
            lines = csv.DictReader(f)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its first line is {','.join(lines.fieldnames or ())!r}")
            for line in lines:
                row = Row(line["class"], float(line["quality"] or "nan"), int(line["voxels"]))
                cases.setdefault(line["case"], []).append(row)
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise QualityError(
            f"{path} is not a table of qualities with the columns {', '.join(COLUMNS)} ({error}). "
            "Move it away and predict again; cases that are not predicted again will have no row."
        ) from None
    return cases
