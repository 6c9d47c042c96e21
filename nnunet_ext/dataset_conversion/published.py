"""What every declaration of a published data set tells, and how the declarations of a folder are collected."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Published:
    """Where one published data set comes from, and how its layout is known.

    Attributes:
        name: what users type, small letters, digits and "_".
        title: name for people.
        papers: which of the five papers use it: "spatial_lifting", "m2snet", "ovenet", "ife", "two_stage".
        reference: the data set's own publication, in one line.
        url: where the data are given out.
        licence: terms of use as far as known, with a link.
        tree: the folders and files expected, a line each.
        version: which release or copy has this layout.
        confirmed: how the layout is known, such as "files seen", "public documentation: URL", or "not confirmed: why".
    """

    name: str
    title: str
    papers: tuple[str, ...]
    reference: str
    url: str
    licence: str
    tree: str
    version: str
    confirmed: str


Declaration = TypeVar("Declaration", bound=Published)


def collected(kind: type[Declaration], path: Iterable[str], package: str) -> dict[str, Declaration]:
    """``{name: declaration}`` of the tuples ``LAYOUTS`` in the modules of a package, sorted by name.

    Args:
        kind: class of the declarations.
        path: ``__path__`` of the package.
        package: its name.

    Raises:
        RuntimeError: two declarations share a name.
    """
    found: dict[str, Declaration] = {}
    for module in pkgutil.iter_modules(path, package + "."):
        for layout in getattr(importlib.import_module(module.name), "LAYOUTS", ()):
            if not isinstance(layout, kind) or layout.name in found:
                raise RuntimeError(f"{module.name}: {layout.name} is there twice, or is no {kind.__name__}")
            found[layout.name] = layout
    return dict(sorted(found.items()))
