"""Published data sets that `nnunet_ext convert --dataset NAME` knows, a module each or for a few of one family.

Every module here has ``LAYOUTS``, a tuple of :class:`nnunet_ext.dataset_conversion.datasets.layout.DatasetLayout`. A
new data set is a new module; nothing else is edited.
"""

from __future__ import annotations

import difflib
from functools import lru_cache

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.problems import ConversionError
from nnunet_ext.dataset_conversion.published import collected

__all__ = ["DatasetLayout", "all_layouts", "find_layout"]


@lru_cache(maxsize=1)
def all_layouts() -> dict[str, DatasetLayout]:
    """``{name: layout}`` of all modules of this folder, sorted by name."""
    return collected(DatasetLayout, __path__, __name__)


def find_layout(name: str) -> DatasetLayout:
    """Return a layout by its name; capitals, "-" and blanks make no difference.

    Raises:
        ConversionError: there is none of this name; the message has the nearest.
    """
    layouts = all_layouts()
    plain = {_plain(known): layout for known, layout in layouts.items()}
    if _plain(name) in plain:
        return plain[_plain(name)]
    near = difflib.get_close_matches(_plain(name), plain, 3, 0.4)
    nearest = f" Nearest: {', '.join(plain[key].name for key in near)}." if near else ""
    raise ConversionError(
        f"--dataset {name}: not one of the {len(layouts)} published datasets.{nearest} Type: nnunet_ext convert --list"
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
