"""Published data sets that `nnunet_ext convert --dataset NAME` knows, a module each or for a few of one family.

Every module here has ``LAYOUTS``, a tuple of :class:`nnunet_ext.dataset_conversion.datasets.layout.DatasetLayout`. A
new data set is a new module; nothing else is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout

__all__ = ["DatasetLayout", "all_layouts"]


@lru_cache(maxsize=1)
def all_layouts() -> dict[str, DatasetLayout]:
    """``{name: layout}`` of all modules of this folder, sorted by name."""
    found: dict[str, DatasetLayout] = {}
    for module in pkgutil.iter_modules(__path__, __name__ + "."):
        for layout in getattr(importlib.import_module(module.name), "LAYOUTS", ()):
            if layout.name in found:
                raise RuntimeError(f"two data sets are called {layout.name}; the second is in {module.name}")
            found[layout.name] = layout
    return dict(sorted(found.items()))
