"""One HTML file of a comparison, with everything inside it, and its numbers as CSV and JSON beside it."""

import base64
import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.overlays import LEGEND
from nnunet_ext.evaluation.report_style import CSS

Picture = tuple[str, str | os.PathLike[str]]
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
UNDEFINED = "n/a"


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
    parts = [
        f"<h1>{_escape(title)}</h1>",
        f"<p>{_escape(lead)}</p>" if lead else "",
        _section("Results", table_html(table)),
        _section("Charts", "".join(_figure(caption, path, "chart") for caption, path in charts)),
        _section("Test cases", _overlay_section(overlays)),
        _section("Every case", _folded(f"{len(per_case)} rows", table_html(per_case))),
        _details_html(details),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def table_html(table: pd.DataFrame) -> str:
    """Return the table as HTML: numbers right-aligned with as many decimals as their size warrants."""
    numeric = {name: pd.api.types.is_numeric_dtype(table[name]) for name in table.columns}
    texts = {name: _column_texts(table[name]) for name in table.columns}
    classes = {name: ' class="number"' if numeric[name] else "" for name in table.columns}
    head = "".join(f"<th{classes[name]}>{_escape(name)}</th>" for name in table.columns)
    rows = [
        "".join(f"<td{classes[name]}>{_escape(texts[name][row])}</td>" for name in table.columns)
        for row in range(len(table))
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def write_atomically(path: Path, text: str) -> Path:
    """Write UTF-8 text under a temporary name in the same folder, then rename it; return the path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _column_texts(column: "pd.Series[Any]") -> list[str]:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return [UNDEFINED if pd.isna(value) else str(value) for value in column]
    if pd.api.types.is_integer_dtype(column):
        return [f"{value:,}" for value in column]
    decimals = _decimals(column)
    return [UNDEFINED if pd.isna(value) else f"{value:,.{decimals}f}" for value in column]


def _decimals(column: "pd.Series[Any]") -> int:
    """Return the decimals that give the smallest number but 0 three digits, at most 3."""
    sizes = column.abs()
    smallest = sizes[(sizes > 0) & (sizes < math.inf)].min()
    return 3 if pd.isna(smallest) else min(3, max(0, 2 - math.floor(math.log10(smallest))))


def _overlay_section(overlays: Sequence[Picture]) -> str:
    if not overlays:
        return ""
    items = "".join(
        f'<li><span class="swatch{" hatched" if category.hatched else ""}" '
        f'style="background-color: rgb{category.colour}"></span>'
        f"<b>{category.name}</b>: {category.meaning}</li>"
        for category in LEGEND
    )
    figures = "".join(_figure(caption, path, "overlay") for caption, path in overlays)
    return f'<ul class="legend">{items}</ul>{figures}'


def _figure(caption: str, path: str | os.PathLike[str], kind: str) -> str:
    text = _escape(caption)
    return (
        f'<figure class="{kind}"><figcaption>{text}</figcaption>'
        f'<div class="scroll"><img alt="{text}" src="{_data_uri(Path(path))}"></div></figure>\n'
    )


def _data_uri(path: Path) -> str:
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        raise ValueError(f"picture {path} of the report is neither PNG nor JPEG; save it as .png")
    if not path.is_file():
        raise FileNotFoundError(f"picture {path} of the report does not exist; draw it before write_report")
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _details_html(details: Mapping[str, Any]) -> str:
    lines = {key: value for key, value in details.items() if not _is_section(value)}
    entries = "".join(f"<dt>{_escape(key)}</dt><dd>{_escape(value)}</dd>" for key, value in lines.items())
    sections = [_section(key, _detail_block(value)) for key, value in details.items() if _is_section(value)]
    return "\n".join([_section("How this was made", f"<dl>{entries}</dl>" if entries else ""), *sections])


def _is_section(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or "\n" in str(value)


def _detail_block(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "<ul>" + "".join(f"<li>{_escape(item)}</li>" for item in value) + "</ul>"
    return f"<pre>{_escape(value)}</pre>"


def _section(heading: str, body: str) -> str:
    return f"<h2>{_escape(heading)}</h2>\n{body}" if body else ""


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{_escape(summary)}</summary>\n{body}</details>"


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


def _escape(value: Any) -> str:
    return html.escape(str(value), quote=True)
