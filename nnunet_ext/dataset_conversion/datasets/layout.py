"""What one published data set looks like on disk, as a declaration; a module of this folder holds one or a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.legend import Legend, legend_from_flags
from nnunet_ext.dataset_conversion.problems import Problem
from nnunet_ext.dataset_conversion.published import Published

Finder = Callable[[Path, list[Problem]], list[Case]]


@dataclass(frozen=True)
class DatasetLayout(Published):
    """One data set in one published form.

    Attributes, besides those of :class:`nnunet_ext.dataset_conversion.published.Published`:
        cases: finds all cases below a folder. What is wrong goes to the list of problems; nothing is raised.
        counts: "train", "val", "test" -> cases in the complete data set; empty if not known.
        labels: as ``--labels``; empty for binary masks.
        ignore: as ``--ignore``.
        other: as ``--other``.
        threshold: as ``--threshold``.
        regions: as ``--regions``.
        folds: number of cross-validation folds if there is no official validation part.
        val_share: share of a single validation part, as a paper has it; None for folds.
        test_share: share of the cases held out for test, as a paper has it; None for the data set's own test part.
        notes: what a user should know before training, a sentence each.
    """

    cases: Finder
    counts: Mapping[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    ignore: str | None = None
    other: str = "refuse"
    threshold: int | None = None
    regions: tuple[str, ...] = ()
    folds: int = 5
    val_share: float | None = None
    test_share: float | None = None
    notes: tuple[str, ...] = ()

    def legend(self, problems: list[Problem]) -> Legend:
        """Return what its annotations mean."""
        labels, regions = list(self.labels) or None, list(self.regions) or None
        return legend_from_flags(labels, self.ignore, self.threshold, problems, other=self.other, regions=regions)
