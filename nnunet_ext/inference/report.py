"""What a user gets of the qualities: the table, the pictures, a summary, and a clear word where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nnunet_ext.inference.predictor import QualityPredictor, reason
from nnunet_ext.inference.slices import SlicedPrediction, SliceGatherer, lifted_network
from nnunet_ext.inference.table import FILE_NAME, TOTAL, QualityError, QualityTable, Row
from nnunet_ext.inference.trained_model import foreground_names

LISTED = 10  # cases in the summary
LIFTED = "Lifted are the trainers of Spatial Lifting, e.g. nnUNetTrainerSLUNet_5L1Res; `nnunet_ext info` lists them."


class QualityReport:
    """Listens to a predictor and writes `quality.csv`.

    Args:
        min_quality: cases below it are marked for review.
        pictures: write pictures into the sub-folder `quality`, too.
        say: takes a line for the user.
        file_name: of the table.
        output: the folder of predictions, where nnU-Net does not tell it (its validation).
    """

    def __init__(
        self,
        min_quality: float | None = None,
        pictures: bool = False,
        say: Callable[[str], None] = lambda line: None,
        file_name: str = FILE_NAME,
        output: str | None = None,
    ) -> None:
        self.min_quality, self.pictures, self._say = min_quality, pictures, say
        self.file_name, self._output = file_name, output
        self.table: QualityTable | None = None
        self._names: list[str] = []
        self._without: list[str] = []  # cases
        self._available = False

    # ---------------------------------------------------------------- before work

    def gatherer(self, predictor: QualityPredictor) -> SliceGatherer | None:
        """Return what gathers the network's slices; None if it has none to compare.

        Raises:
            QualityError: if there are none, but `min_quality` or `pictures` need them. Never in nnU-Net's validation,
                which is to finish as without scores: there a line says what is wrong.
        """
        why_not = _why_not(predictor)
        self._available = why_not is None
        if why_not is not None:
            if self.min_quality is not None or self.pictures:
                asked = "--min-quality" if self.min_quality is not None else "--pictures"
                raise QualityError(f"{asked} {why_not} Leave {asked} out to predict without quality scores.")
            self._say(f"no {self.file_name}: a quality score {why_not}")
            return None
        self._names = foreground_names(predictor.dataset_json["labels"], predictor.label_manager.has_regions)
        for line in _caveats(predictor):
            self._say(line)
        if self._output is not None:
            try:
                self.folder(self._output, keep=False)
            except (QualityError, OSError) as error:
                self._say(f"no {self.file_name}: {error}")
                return None
        lifted = lifted_network(predictor.network)
        return None if lifted is None else SliceGatherer(lifted, predictor.label_manager.has_regions)

    def folder(self, path: str, keep: bool, part: int = 0, n_parts: int = 1) -> None:
        """Begin the table of a folder of predictions; each part of a divided prediction has its own.

        Raises:
            QualityError: if a file of the table's name stands there that is none.
        """
        name = self.file_name if n_parts == 1 else f"{Path(self.file_name).stem}_part{part}.csv"
        file = Path(path) / name
        if not self._available:
            if file.exists():
                self._say(f"{file} is of an earlier prediction")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        self.table = QualityTable(file, self.min_quality, keep)

    # ---------------------------------------------------------------- cases

    def case(self, name: str, sliced: SlicedPrediction, image: Tensor) -> None:
        """Score a case and write the table; pictures that cannot be drawn cost nothing but themselves."""
        if self.table is None:
            return
        self.table.add(name, rows_of(sliced, self._names))
        if self.pictures:
            from nnunet_ext.inference import pictures

            try:
                pictures.write(self.table.path.parent / "quality", name, sliced, image)
            except Exception as error:  # matplotlib and Pillow raise many kinds
                self._say(f"warning: no pictures of {name} ({reason(error)})")

    def failed(self, name: str, why: str) -> None:
        """Say that a case has no score; the one of an earlier prediction of it goes."""
        self._without.append(name)
        self._say(f"warning: no quality of {name} ({why}); its prediction is not affected")
        if self.table is not None:
            with contextlib.suppress(OSError):  # said already, if that is why
                self.table.drop(name)

    def finish(self) -> None:
        """Say which cases are worst, and how many to look at."""
        if self._without:
            self._say(f"warning: {len(self._without)} cases have no quality: {', '.join(self._without)}")
        totals = self.table.totals() if self.table is not None else []
        if self.table is None or not totals:
            return
        self._say(f"quality of {len(totals)} cases, worst first (agreement of the slices; 1 is best):")
        for case, row in totals[:LISTED]:
            self._say(f"  {row.quality:.4f}  {case}{'  review' if self.table.needs_review(row) else ''}")
        more = f"the other {len(totals) - LISTED} and " if len(totals) > LISTED else ""
        self._say(f"{more}every class: {self.table.path}")
        if self.min_quality is not None:
            low = sum(self.table.needs_review(row) for _, row in totals)
            self._say(f"{low} of {len(totals)} cases are below {self.min_quality:g}: look at these")
        for line in warnings_of(self.table):
            self._say(line)


def warnings_of(table: QualityTable) -> list[str]:
    """Return what to know before believing a table's scores, a line each."""
    totals = [row for _, row in table.totals()]
    if not totals or any(row.quality != 1 for row in totals):
        return []
    empty = " They predict no foreground at all." if not any(row.voxels for row in totals) else ""
    return [
        "warning: the quality of every case is 1, so it tells nothing about them: the slices do not differ."
        f"{empty} Was the network trained long enough?"
    ]


def rows_of(sliced: SlicedPrediction, names: list[str]) -> list[Row]:
    """Return a case's rows: over all classes, then each class."""
    found = sliced.agreement()
    voxels = sliced.prediction.flatten(1).sum(1).tolist()
    anywhere = int(sliced.prediction.any(0).sum()) if len(voxels) > 1 else voxels[0]
    classes = [Row(*values) for values in zip(names, found.classes.tolist(), voxels, strict=True)]
    return [Row(TOTAL, float(found.total), anywhere), *classes]


def _why_not(predictor: QualityPredictor) -> str | None:
    """Return why there is no quality, None if there is."""
    lifted = lifted_network(predictor.network)
    if lifted is None:
        return f"needs a lifted network, whose slices can be compared; {predictor.trainer_name} has none. {LIFTED}"
    n_selected = len(lifted.selection.selected)
    if n_selected == lifted.depth:
        return (
            f"needs slices that do not predict, to compare with; {predictor.trainer_name} selects all "
            f"{lifted.depth} of its {lifted.depth} slices."
        )
    if predictor.scales is not None:
        return f"compares the slices of one scale; --scales {predictor.scales} has others."
    return None


def _caveats(predictor: QualityPredictor) -> list[str]:
    """Lines about checkpoints that hold no statistics of their slices."""
    states = predictor.list_of_parameters or [predictor.network.state_dict()]
    losses = [v for state in states for k, v in state.items() if k.endswith("selection.mean_loss")]
    without = sum(not bool(torch.isfinite(loss).any()) for loss in losses)
    if not without:
        return []
    return [
        f"warning: {without} of {len(states)} checkpoints hold no slice statistics (an epoch of training writes them), "
        "so the middle slices predict instead of the best, and are compared with the others"
    ]
