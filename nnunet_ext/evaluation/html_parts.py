"""Parts of a page that needs nothing but itself: tables, pictures inside it, sections, the page around them."""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from nnunet_ext.evaluation.overlays import LEGEND
from nnunet_ext.evaluation.report_style import CSS

Picture = tuple[str, "str | os.PathLike[str] | Image.Image"]  # caption; a file, or a picture in memory
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
UNDEFINED = "n/a"
SHORT = 22  # letters


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole page of parts that are HTML; empty ones are left out."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join([f"<h1>{escape(title)}</h1>", *(part for part in parts if part)])
        + "\n</body>\n</html>\n"
    )


def table_html(table: pd.DataFrame) -> str:
    """Return the table as HTML: numbers right-aligned with as many decimals as their size warrants."""
    numeric = {name: pd.api.types.is_numeric_dtype(table[name]) for name in table.columns}
    texts = {name: _column_texts(table[name]) for name in table.columns}
    classes = {name: ' class="number"' if numeric[name] else "" for name in table.columns}
    head = "".join(f"<th{classes[name]}>{escape(name)}</th>" for name in table.columns)
    rows = [
        "".join(f"<td{classes[name] or _short(texts[name][row])}>{escape(texts[name][row])}</td>" for name in texts)
        for row in range(len(table))
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def paragraph(text: str, muted: bool = False) -> str:
    """Return a paragraph; nothing of an empty text."""
    kind = ' class="muted"' if muted else ""
    return f"<p{kind}>{escape(text)}</p>" if text else ""


def notice(heading: str, items: Sequence[str]) -> str:
    """Return a framed list that a reader cannot miss; nothing of no items."""
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<div class="notice"><b>{escape(heading)}</b><ul>{listed}</ul></div>' if items else ""


def section(heading: str, body: str) -> str:
    """Return a section; nothing of an empty body."""
    return f"<h2>{escape(heading)}</h2>\n{body}" if body else ""


def folded(summary: str, body: str) -> str:
    """Return what opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}</details>"


def figure(caption: str, picture: str | os.PathLike[str] | Image.Image, kind: str) -> str:
    """Return a picture inside the page; `kind` is its class, "chart" or "overlay".

    Raises `FileNotFoundError` for a missing file and `ValueError` for one that is neither PNG nor JPEG.
    """
    text = escape(caption)
    uri = _data_uri_of(picture) if isinstance(picture, Image.Image) else _data_uri(Path(picture))
    return (
        f'<figure class="{kind}"><figcaption>{text}</figcaption>'
        f'<div class="scroll"><img alt="{text}" src="{uri}"></div></figure>\n'
    )


def overlay_section(overlays: Sequence[Picture]) -> str:
    """Return pictures of `overlays.comparison_figure` with the legend of their colours."""
    if not overlays:
        return ""
    items = "".join(
        f'<li><span class="swatch{" hatched" if category.hatched else ""}" '
        f'style="background-color: rgb{category.colour}"></span>'
        f"<b>{category.name}</b>: {category.meaning}</li>"
        for category in LEGEND
    )
    figures = "".join(figure(caption, picture, "overlay") for caption, picture in overlays)
    return f'<ul class="legend">{items}</ul>{figures}'


def details_html(details: Mapping[str, Any]) -> str:
    """Return a text of one line as an entry, one of several lines as a block to copy, a list as a bulleted section."""
    lines = {key: value for key, value in details.items() if not _is_section(value)}
    entries = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in lines.items())
    sections = [section(key, _detail_block(value)) for key, value in details.items() if _is_section(value)]
    return "\n".join([section("How this was made", f"<dl>{entries}</dl>" if entries else ""), *sections])


def escape(value: Any) -> str:
    """Return text that HTML takes for text."""
    return html.escape(str(value), quote=True)


def _short(text: str) -> str:
    """Return the class of a text that is not broken into lines."""
    return ' class="short"' if len(text) <= SHORT else ""


def _column_texts(column: pd.Series[Any]) -> list[str]:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return [UNDEFINED if pd.isna(value) else str(value) for value in column]
    if pd.api.types.is_integer_dtype(column):
        return [f"{value:,}" for value in column]
    decimals = _decimals(column)
    return [UNDEFINED if pd.isna(value) else f"{value:,.{decimals}f}" for value in column]


def _decimals(column: pd.Series[Any]) -> int:
    """Return the decimals that give the smallest number but 0 three digits, at most 3."""
    sizes = column.abs()
    smallest = sizes[(sizes > 0) & (sizes < math.inf)].min()
    return 3 if pd.isna(smallest) else min(3, max(0, 2 - math.floor(math.log10(smallest))))


def _data_uri(path: Path) -> str:
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        raise ValueError(f"picture {path} of the report is neither PNG nor JPEG; save it as .png")
    if not path.is_file():
        raise FileNotFoundError(f"picture {path} of the report does not exist; draw it before write_report")
    return _encoded(path.read_bytes(), media_type)


def _data_uri_of(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return _encoded(buffer.getvalue(), "image/png")


def _encoded(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _is_section(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or "\n" in str(value)


def _detail_block(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in value) + "</ul>"
    return f"<pre>{escape(value)}</pre>"
