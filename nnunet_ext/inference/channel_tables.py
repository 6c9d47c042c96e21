"""Tables of the channels that a network with instructive feature enhancement selects.

channels.csv, a row for each case, selection and channel:

    case, selection, stage, channel
    score           mean over the windows of the case
    chosen          share of the windows of the case in which the channel is chosen
    windows         how many there are
    shown_score     score in the window that CASE_channels.png shows
    rank            there, 1 for the highest score; ranks 1 to k are chosen

frequencies.csv, a row for each selection and channel:

    selection, stage, channel
    chosen          share of all windows of all cases
    lowest, highest the lowest and the highest share of any case
    expected        k / C, the share that a draw for every window would have
    kind            always, never or depends
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_ext.inference.channel_record import Selection

Array = npt.NDArray[Any]
KINDS = ("always", "depends", "never")
CHANNELS = ("case", "selection", "stage", "channel", "score", "chosen", "windows", "shown_score", "rank")
FREQUENCIES = ("selection", "stage", "channel", "chosen", "lowest", "highest", "expected", "kind")


@dataclass(frozen=True)
class SelectionStatistics:
    """One selection in one case, `(C,)` each: mean over windows, windows in which chosen, and of the shown window."""

    selection: Selection
    mean_scores: Array
    n_chosen: Array
    shown_scores: Array
    ranks: Array


@dataclass(frozen=True)
class CaseStatistics:
    """One case: how many windows it has, and what its selections chose in them."""

    case: str
    n_windows: int
    selections: Sequence[SelectionStatistics]


@dataclass(frozen=True)
class Frequency:
    """How often a selection chooses each channel over all cases.

    Attributes:
        chosen: `(C,)` share of all windows.
        lowest: `(C,)` lowest share of any case.
        highest: `(C,)` highest share of any case.
        n_windows: of all cases.
    """

    selection: Selection
    chosen: Array
    lowest: Array
    highest: Array
    n_windows: int

    @property
    def expected(self) -> float:
        """K / C."""
        return self.selection.module.k / self.selection.module.channels

    @property
    def kinds(self) -> list[str]:
        """Of each channel: "always", "depends" or "never" chosen."""
        return ["always" if share == 1 else "never" if share == 0 else "depends" for share in self.chosen]

    def counted(self) -> str:
        """Return a line on how many channels are of each kind."""
        kinds = self.kinds
        counts = [kinds.count(kind) for kind in ("always", "never", "depends")]
        return "{} always, {} never chosen, {} depend on the window".format(*counts)


def frequencies(cases: Sequence[CaseStatistics]) -> list[Frequency]:
    """Count over all cases, a window's worth each; at least one case, all of one model."""
    total = sum(case.n_windows for case in cases)
    found = []
    for number, one in enumerate(cases[0].selections):
        counts = np.stack([case.selections[number].n_chosen for case in cases])
        shares = counts / np.array([[case.n_windows] for case in cases])
        found.append(Frequency(one.selection, counts.sum(0) / total, shares.min(0), shares.max(0), total))
    return found


def write_channels(file: Path, cases: Iterable[CaseStatistics]) -> None:
    """Write channels.csv, see above."""
    _write(file, CHANNELS, (row for case in cases for s in case.selections for row in _channel_rows(case, s)))


def write_frequencies(file: Path, found: Iterable[Frequency]) -> None:
    """Write frequencies.csv, see above."""
    _write(file, FREQUENCIES, (row for frequency in found for row in _frequency_rows(frequency)))


def _channel_rows(case: CaseStatistics, s: SelectionStatistics) -> Iterable[tuple]:
    for channel in range(len(s.ranks)):
        yield (
            case.case, s.selection.name, s.selection.stage, channel, f"{s.mean_scores[channel]:.6g}",
            f"{s.n_chosen[channel] / case.n_windows:.6g}", case.n_windows, f"{s.shown_scores[channel]:.6g}",
            s.ranks[channel],
        )  # fmt: skip


def _frequency_rows(f: Frequency) -> Iterable[tuple]:
    for channel, kind in enumerate(f.kinds):
        shares = (f.chosen[channel], f.lowest[channel], f.highest[channel], f.expected)
        yield f.selection.name, f.selection.stage, channel, *(f"{share:.6g}" for share in shares), kind


def _write(file: Path, header: Sequence[str], rows: Iterable[tuple]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
