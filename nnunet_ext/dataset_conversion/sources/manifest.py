"""A table with a row a case: image, mask, and what is known about it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import SPLITS, Annotation, Case
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem
from nnunet_ext.dataset_conversion.sources.endings import (
    ANNOTATION_ENDINGS,
    IMAGE_ENDINGS,
    annotation_of,
    composed,
    ending_of,
    stem_of,
    typed_path,
)

COLUMNS = ("image", "mask", "case", "split", "group", "structure", "modality")
UNSPLIT = ("", "unsplit", "all")
SYNONYMS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


@dataclass(frozen=True)
class ManifestSource:
    """A CSV file with a header, or a JSON file with a list of objects (or one object that holds such a list).

    Columns: ``image``, and perhaps ``mask`` (several files apart by ";" are united), ``case`` (or ``id``; the image's
    stem if missing), ``split`` (train, val, test), ``group``, ``structure``, ``modality``. Others are ignored. Paths
    are relative to ``root``.

    Attributes:
        file: the table.
        root: folder that relative paths start at; None for the table's own.
    """

    file: Path
    root: Path | None = None

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Read the table; a row whose file does not exist is a problem, never dropped."""
        try:
            rows = _rows(self.file)
        except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
            where, remedy = f"--manifest {self.file}: {error}", "name a CSV or JSON file"
            problems.append(Problem("manifest-unreadable", "table that cannot be read", where, remedy))
            return []
        if not rows or "image" not in rows[0]:
            found = ", ".join(map(str, rows[0])) if rows else "no row"
            where = (
                f"--manifest {self.file} has {found}; it needs a column image, and may have {', '.join(COLUMNS[1:])}"
            )
            remedy = "write the names of the columns into the first line, apart by commas"
            problems.append(Problem("manifest-columns", "table without the column image", where, remedy))
            return []
        ignored = [column for column in rows[0] if column and column not in (*COLUMNS, "id")]
        if ignored:
            notes[f"columns of the manifest that are not used: {', '.join(ignored)}"] += 1
        made = [self._case(f"{self.file}, row {n}", row, problems) for n, row in enumerate(rows, 1)]
        return [case for case in made if case is not None]

    def _case(self, place: str, row: Mapping[str, object], problems: list[Problem]) -> Case | None:
        text = {key: _text(value) for key, value in row.items()}
        base = self.root or self.file.parent
        if not text.get("image"):
            where, remedy = f"{place}: nothing in the column image", "correct the table"
            problems.append(Problem("list-entry", "entries of a list that do not exist", where, remedy))
            return None
        image = typed_path(text["image"], base)
        masks = [typed_path(mask.strip(), base) for mask in text.get("mask", "").split(";") if mask.strip()]
        missing = [path for path in (image, *masks) if not path.is_file()]
        for path in missing:
            where, remedy = f"{place}: {path} does not exist", "correct the table, or name --root DIR"
            problems.append(Problem("list-entry", "entries of a list that do not exist", where, remedy))
        odd = [path for path in (image, *masks) if ending_of(path) not in (*IMAGE_ENDINGS, *ANNOTATION_ENDINGS)]
        for path in odd:
            where = f"{place}: {path}; allowed are {' '.join(IMAGE_ENDINGS)}"
            problems.append(Problem("format", "image file format not supported", where, "convert these files to PNG"))
        split = text.get("split", "").lower()
        split = SYNONYMS.get(split, "train" if split in UNSPLIT else split)
        if split not in SPLITS:
            where = f"{place}: split {text['split']!r}; allowed are {', '.join(SPLITS)}, or nothing"
            problems.append(Problem("split-unknown", "unknown part", where, "correct the column split"))
            return None
        if missing or odd:
            return None
        columns = {key: text[key] for key in ("group", "structure", "modality") if text.get(key)}
        name = text.get("case") or text.get("id") or stem_of(image)
        return Case(composed(name), ImageFile(image), _annotation(masks), split, **columns)


def _annotation(masks: list[Path]) -> Annotation | None:
    if not masks:
        return None
    if len(masks) == 1:
        return annotation_of(masks[0])
    from nnunet_ext.dataset_conversion.annotations.several_files import InstanceFiles

    return InstanceFiles(tuple(masks))


def _text(value: object) -> str:
    if isinstance(value, list):
        return ";".join(map(str, value))
    return "" if value is None else str(value).strip()


def _rows(file: Path) -> list[dict[str, object]]:
    if file.suffix.lower() != ".json":
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return [dict(row) for row in csv.DictReader(opened)]
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        lists = [v for v in content.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        content = lists[0] if len(lists) == 1 else []
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
