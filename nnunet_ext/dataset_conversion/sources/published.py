"""A published data set in its own layout."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets import DatasetLayout
from nnunet_ext.dataset_conversion.problems import Problem


@dataclass(frozen=True)
class PublishedSource:
    """One of the layouts of :mod:`nnunet_ext.dataset_conversion.datasets`.

    Attributes:
        layout: its declaration.
        root: folder of the unpacked data set.
    """

    layout: DatasetLayout
    root: Path

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Find all cases."""
        if not self.root.is_dir():
            where, remedy = f"{self.root} (-i) is not a folder", "correct the path after -i"
            problems.append(Problem("folder-missing", "folder not found", where, remedy))
            return []
        for sentence in self.layout.notes:
            notes[sentence] += 1
        return self.layout.cases(self.root, problems)
