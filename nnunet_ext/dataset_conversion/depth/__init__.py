"""Published data sets with depth maps, for depth estimation, a module each.

Every module here may have ``LAYOUTS``, a tuple of :class:`nnunet_ext.dataset_conversion.depth.layout.DepthLayout`. A
new data set is a new module; nothing else is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.maps import DepthMap

__all__ = ["DepthCase", "DepthLayout", "DepthMap", "all_depth_layouts"]


@lru_cache(maxsize=1)
def all_depth_layouts() -> dict[str, DepthLayout]:
    """``{name: layout}`` of all modules of this folder, sorted by name."""
    found: dict[str, DepthLayout] = {}
    for module in pkgutil.iter_modules(__path__, __name__ + "."):
        for layout in getattr(importlib.import_module(module.name), "LAYOUTS", ()):
            if layout.name in found:
                raise RuntimeError(f"two depth data sets are called {layout.name}; the second is in {module.name}")
            found[layout.name] = layout
    return dict(sorted(found.items()))
