"""Where the cases of a data set come from: folders of pairs, regular expressions, lists, manifests, known layouts."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.problems import Problem
from nnunet_ext.dataset_conversion.sources.folders import FolderSource
from nnunet_ext.dataset_conversion.sources.lists import ListSource
from nnunet_ext.dataset_conversion.sources.manifest import ManifestSource
from nnunet_ext.dataset_conversion.sources.patterns import PatternSource
from nnunet_ext.dataset_conversion.sources.published import PublishedSource
from nnunet_ext.dataset_conversion.sources.tables import CocoSource, RunLengthSource

__all__ = [
    "CocoSource",
    "FolderSource",
    "ListSource",
    "ManifestSource",
    "PatternSource",
    "PublishedSource",
    "RunLengthSource",
    "Source",
]


class Source(Protocol):
    """Finds cases. Nothing is raised: what is wrong goes to ``problems``, what the user should know to ``notes``."""

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Return all cases that were found, with their parts."""
