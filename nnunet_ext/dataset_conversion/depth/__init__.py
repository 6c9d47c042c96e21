"""Published data sets with depth maps, for depth estimation, a module each.

Every module here may have ``LAYOUTS``, a tuple of :class:`nnunet_ext.dataset_conversion.depth.layout.DepthLayout`. A
new data set is a new module; nothing else is edited.
"""

from __future__ import annotations

from functools import lru_cache

from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.maps import DepthMap
from nnunet_ext.dataset_conversion.published import collected

__all__ = ["DepthCase", "DepthLayout", "DepthMap", "all_depth_layouts"]


@lru_cache(maxsize=1)
def all_depth_layouts() -> dict[str, DepthLayout]:
    """``{name: layout}`` of all modules of this folder, sorted by name."""
    return collected(DepthLayout, __path__, __name__)
