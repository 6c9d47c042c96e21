"""What two stages cost, image by image: `two_stage.csv` beside the predictions."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE_NAME = "two_stage.csv"
COLUMNS = (
    "case", "windows", "selected", "fine_forwards", "coarse_forwards", "fine_seconds", "coarse_seconds",
    "coarse_labels",
)  # fmt: skip


@dataclass
class Row:
    """One image.

    Attributes:
        case: its name.
        windows: of the fine network's grid.
        selected: of them, those that it was given, in each fold.
        fine_forwards: images given to the fine network: windows, mirrored ones and folds counted singly.
        coarse_forwards: the same of the coarse network, at its own resolution.
        fine_seconds: wall time of choosing, predicting and merging.
        coarse_seconds: wall time of resampling and predicting.
        classes: labels that the coarse network predicts anywhere.
    """

    case: str
    windows: int = 0
    selected: int = 0
    fine_forwards: int = 0
    coarse_forwards: int = 0
    fine_seconds: float = 0.0
    coarse_seconds: float = 0.0
    classes: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, cells: Sequence[str]) -> Row:
        """Read what `cells` gives."""
        windows, selected, fine, coarse = map(int, cells[1:5])
        seconds, coarse_seconds = map(float, cells[5:7])
        classes = [int(c) for c in cells[7].split()]
        return cls(cells[0], windows, selected, fine, coarse, seconds, coarse_seconds, classes)

    def cells(self) -> list[str]:
        """Return the row as text, in the order of `COLUMNS`."""
        counts = (self.windows, self.selected, self.fine_forwards, self.coarse_forwards)
        seconds = (f"{s:.4f}" for s in (self.fine_seconds, self.coarse_seconds))
        return [self.case, *map(str, counts), *seconds, " ".join(str(int(c)) for c in self.classes)]


class Record:
    """Writes a line for each image as soon as it is predicted, and says at the end what is to be known of all.

    Args:
        say: takes a line for the user; None says nothing.
        file_name: of the table in the predictions' folder.
    """

    def __init__(self, say: Callable[[str], None] | None = None, file_name: str = FILE_NAME) -> None:
        self.say, self.file_name = say or (lambda _: None), file_name
        self.path: Path | None = None
        self.rows: list[Row] = []

    def open(self, folder: Path, keep: bool, part: int = 0, parts: int = 1, new: Collection[str] = ()) -> None:
        """Take the predictions' folder.

        Args:
            folder: of the predictions.
            keep: go on with the table that is there.
            part: of `parts` processes that predict into the same folder, each with a table of its own.
            new: cases that will be predicted; what the table says of them is forgotten.
        """
        name = self.file_name if parts == 1 else part_name(self.file_name, part, parts)
        self.path, self.rows = folder / name, []
        kept = [r for r in _lines(self.path) if r and r[0] not in new] if keep else []
        folder.mkdir(parents=True, exist_ok=True)
        _write(self.path, kept)

    def join(self, parts: int) -> None:
        """Make one table, and one record, of those of all processes, and remove their tables."""
        assert self.path is not None
        folder = self.path.parent
        paths = [folder / part_name(self.file_name, part, parts) for part in range(parts)]
        lines = sorted(line for path in paths for line in _lines(path))
        self.path, self.rows = folder / self.file_name, [Row.read(line) for line in lines]
        _write(self.path, lines)
        for path in paths:
            path.unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        """Take an image that is predicted."""
        if row.windows == 1 and not any(r.windows == 1 for r in self.rows):
            case = row.case or "this image"
            self.say(
                f"{case}: the fine network's patch holds the whole image, so there is nothing to choose from and "
                "it is refined as a whole. `nnunet_ext plan --two-stage` plans smaller patches."
                if row.selected
                else f"{case}: the fine network's patch holds the whole image; it is left to the coarse network."
            )
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a", newline="") as f:
                csv.writer(f).writerow(row.cells())

    def finish(self, labels: dict[int, str], budget: float, larger: str = "Raise --budget") -> None:
        """Say what both stages did together, and which classes the coarse network never predicted.

        Args:
            labels: names of the foreground labels by their value.
            budget: that was asked for.
            larger: how a larger budget is asked for.
        """
        if not self.rows:
            return
        windows, selected = (sum(getattr(r, name) for r in self.rows) for name in ("windows", "selected"))
        fine, coarse = (sum(getattr(r, name) for r in self.rows) for name in ("fine_seconds", "coarse_seconds"))
        self.say(
            f"{len(self.rows)} images: {selected} of {windows} windows refined ({selected / max(windows, 1):.1%}); "
            f"{coarse:.1f} s coarse, {fine:.1f} s fine" + (f"; each image in {self.path}" if self.path else "")
        )
        found = {c for r in self.rows for c in r.classes}
        missing = [f"{name} ({value})" for value, name in labels.items() if value not in found]
        if missing and budget < 1:
            self.say(
                f"warning: the coarse network predicted {', '.join(missing)} in none of the {len(self.rows)} images. "
                "Where such a structure is, windows are not chosen because of it, and a small budget cannot bring it "
                f"back. {larger}, or train a coarse network at a smaller factor."
            )


def part_name(file_name: str, part: int, parts: int) -> str:
    """Return the name of the table of one of several processes."""
    return f"{Path(file_name).stem}_part{part}of{parts}.csv"


def _lines(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as f:
        return list(csv.reader(f))[1:]


def _write(path: Path, lines: Iterable[Sequence[str]]) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", newline="") as f:
        csv.writer(f).writerows([COLUMNS, *lines])
    temporary.replace(path)


def foreground(labels: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of dataset.json's foreground labels by their value; of regions, none."""
    return {v: name for name, v in labels.items() if isinstance(v, int) and v != 0 and name != "ignore"}
