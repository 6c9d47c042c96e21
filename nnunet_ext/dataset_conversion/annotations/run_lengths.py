"""Objects as run lengths, "start length start length ...", in a table with a row for each object or each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nnunet_ext.dataset_conversion.annotations.foreground import labels_of_objects
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.problems import RefusedFile

SHOWN = 40
NOTHING = ("", "-1", "-1.0")
ORDERS = ("rows", "columns")


@dataclass(frozen=True)
class RunLengths:
    """Foreground of one image as run lengths; what any row marks is foreground.

    A row is ``"start length start length ..."``. Starts are 1-based: pixel 1 is the upper left one.

    Attributes:
        file: where the rows come from; named in messages and not read again.
        rows: run lengths, one text an object. None at all is an image without objects.
        shape: (H, W) that the run lengths are for; None for that of the image.
        order: "rows" if pixel 2 is to the right of pixel 1 (Sartorius), "columns" if it is below (most others).
    """

    file: Path
    rows: tuple[str, ...]
    shape: tuple[int, int] | None = None
    order: str = "columns"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order is {self.order!r}; allowed are {', '.join(ORDERS)}")

    @property
    def files(self) -> tuple[Path, ...]:
        """The table."""
        return (self.file,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Draw the runs.

        Raises:
            RefusedFile: "run-lengths-syntax" for rows that are no pairs of numbers, "run-lengths-outside" for runs
                that leave the image.
        """
        height, width = self.shape or shape
        flat = np.zeros(height * width, bool)
        for row in self.rows:
            for start, length in self._runs(row, height, width):
                flat[start - 1 : start - 1 + length] = True
        by_rows = self.order == "rows"
        objects = flat.reshape(height, width) if by_rows else flat.reshape(width, height).T
        return labels_of_objects(np.ascontiguousarray(objects), legend, self.file, "run lengths")

    def _runs(self, row: str, height: int, width: int) -> list[tuple[int, int]]:
        """Pairs of start (1-based) and length, all inside the image."""
        numbers = self._numbers(row)
        runs = list(zip(numbers[::2], numbers[1::2], strict=True))
        last = height * width
        for start, length in runs:
            if start < 1 or length < 0 or start - 1 + length > last:
                where = f"{self.file}: the run {start} {length} of {shortened(row)}; allowed are pixels 1 to {last}"
                remedy = f"check that the image is the one they were made for ({width} x {height}), and the order"
                raise RefusedFile("run-lengths-outside", "run lengths that leave the image", where, remedy)
        return runs

    def _numbers(self, row: str) -> list[int]:
        try:
            numbers = [int(text) for text in row.split()]
        except ValueError:
            numbers = [0]
        if len(numbers) % 2:
            where = f"{self.file}: {shortened(row)}; allowed are pairs of whole numbers, start and length"
            what = "run lengths that cannot be understood"
            raise RefusedFile("run-lengths-syntax", what, where, "mend the row, or remove it with its image")
        return numbers


def shortened(row: str) -> str:
    """Quote a row for messages, cut after ``SHOWN`` characters."""
    return repr(row if len(row) <= SHOWN else row[:SHOWN] + "...")


def runs_by_image(csv: Path, image_column: str, runs_column: str) -> dict[str, tuple[str, ...]]:
    """Rows of a table of run lengths, ``{image: rows}``, in the order of the file.

    Empty cells, and -1, say that an image has no object: it is kept, with ``()``.

    Raises:
        RefusedFile: "unreadable" if it is no CSV, "table-column" if a column is missing.
    """
    try:
        table = pd.read_csv(csv, dtype=str, keep_default_na=False, na_filter=False)
    except (OSError, ValueError) as error:  # pandas' ParserError and EmptyDataError are ValueErrors
        remedy = "copy or export the table again"
        raise RefusedFile("unreadable", "files that cannot be read", f"{csv}: {error}", remedy) from error
    for column in (image_column, runs_column):
        if column not in table:
            where = f"{csv} has no column {column!r}; it has {', '.join(map(str, table.columns))}"
            remedy = "name the columns as the data set does, or use another table"
            raise RefusedFile("table-column", "tables without an expected column", where, remedy)
    found: dict[str, list[str]] = {}
    for image, text in zip(table[image_column], table[runs_column], strict=True):
        rows = found.setdefault(str(image), [])
        runs = str(text).strip()
        if runs not in NOTHING and runs.lower() != "nan":
            rows.append(runs)
    return {image: tuple(rows) for image, rows in found.items()}
