"""One HTML file of a comparison, with everything inside it, and its numbers as CSV and JSON beside it."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.html_parts import (
    Picture,
    details_html,
    document,
    figure,
    folded,
    overlay_section,
    paragraph,
    section,
    table_html,
)

__all__ = ["report_html", "table_html", "write_atomically", "write_report"]


def write_report(
    folder: Path,
    title: str,
    table: pd.DataFrame,
    per_case: pd.DataFrame,
    overlays: Sequence[Picture],
    details: Mapping[str, Any],
    *,
    lead: str = "",
    charts: Sequence[Picture] = (),
) -> Path:
    """Write `report.html`, `results.csv`, `results_per_case.csv`, `results.json`; return the page's path.

    `table`: one row per method; its column names are the heads and should carry the units. `per_case`: one
    row per case and method. `overlays` and `charts`: (caption, path of a PNG or JPEG), embedded in the page
    in this order. `details`: heading -> value, shown in this order; a text of one line becomes an entry of
    "How this was made", a text of several lines a block to copy, a list of texts a bulleted section. `lead`:
    what the page shows, in a sentence or two. All text is escaped; the page loads nothing from elsewhere.
    Each file is written under a temporary name and then renamed, so that a reader never sees half of one.
    NaN reads "n/a" in the page and null in the JSON.

    Raises `FileNotFoundError` for a missing picture and `ValueError` for one that is neither PNG nor JPEG.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = report_html(title, table, per_case, overlays, details, lead=lead, charts=charts)
    results = {
        "title": title,
        "table": _records(table),
        "per_case": _records(per_case),
        "details": _plain(dict(details)),
    }
    write_atomically(folder / "results.csv", table.to_csv(index=False))
    write_atomically(folder / "results_per_case.csv", per_case.to_csv(index=False))
    write_atomically(folder / "results.json", json.dumps(results, indent=2, allow_nan=False, default=str) + "\n")
    return write_atomically(folder / "report.html", page)


def report_html(
    title: str,
    table: pd.DataFrame,
    per_case: pd.DataFrame,
    overlays: Sequence[Picture],
    details: Mapping[str, Any],
    *,
    lead: str = "",
    charts: Sequence[Picture] = (),
) -> str:
    """Return the page of `write_report` as text."""
    return document(
        title,
        [
            paragraph(lead),
            section("Results", table_html(table)),
            section("Charts", "".join(figure(caption, path, "chart") for caption, path in charts)),
            section("Test cases", overlay_section(overlays)),
            section("Every case", folded(f"{len(per_case)} rows", table_html(per_case))),
            details_html(details),
        ],
    )


def write_atomically(path: Path, text: str) -> Path:
    """Write UTF-8 text under a temporary name in the same folder, then rename it; return the path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return _plain(table.to_dict(orient="records"))


def _plain(value: Any) -> Any:
    """Return the value in JSON's types: numpy scalars as Python's, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
