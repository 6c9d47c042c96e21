"""JSON and XML files, with one form of complaint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nnunet_ext.dataset_conversion.problems import RefusedFile


def json_of(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        RefusedFile: "unreadable".
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def xml_of(path: Path) -> ElementTree.Element:
    """Parse an XML file and return its root.

    Raises:
        RefusedFile: "unreadable".
    """
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RefusedFile:
    remedy = "copy or export these files again, or remove the pair"
    return RefusedFile("unreadable", "files that cannot be read", f"{path}: {error}", remedy)


def misformed(path: Path, kind: str, error: Exception) -> RefusedFile:
    """Say that a file of a known kind lacks something."""
    where = f"{path}: {type(error).__name__}: {error}"
    remedy = "export the file again with the program that made it"
    return RefusedFile("outlines-malformed", f"{kind} files with missing or wrong entries", where, remedy)


def unsupported(path: Path, kind: str, shape: str, allowed: str) -> RefusedFile:
    """Say that a file draws something other than outlines."""
    where = f"{path} has a {shape}; allowed are {allowed}"
    return RefusedFile("outline-kind", f"{kind} shapes that are no outlines", where, "redraw them as polygons")
