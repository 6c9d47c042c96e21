"""Quality scores in nnU-Net's validation at the end of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from nnunet_ext.inference.predictor import listening, replaced
from nnunet_ext.inference.report import QualityReport
from nnunet_ext.inference.table import FILE_NAME, QualityTable


@contextmanager
def scored_validation(
    host: ModuleType, folder: str, cases: Sequence[str], rank: int, world: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Write `quality.csv` for the cases that nnU-Net validates inside the block.

    Args:
        host: the module whose `nnUNetPredictor` validates.
        folder: of the validation.
        cases: of all processes, in nnU-Net's order.
        rank: of this process, which validates every `world`-th case; rank 0 writes the table of all.
        world: number of processes.
        say: takes a line for the log.
    """
    part = FILE_NAME if world == 1 else _part(rank)
    own = sorted(cases[rank::world])  # nnU-Net's datasets sort what they are given
    report = QualityReport(say=say, file_name=part, output=folder)
    with replaced(host, "nnUNetPredictor", listening(report, own)):
        yield
    if world > 1 and rank == 0 and report.table is not None:  # nnU-Net waited for all before it computed its scores
        _merge(Path(folder), world)


def _part(rank: int) -> str:
    return f"quality_rank{rank}.csv"


def _merge(folder: Path, world: int) -> None:
    parts = [folder / _part(rank) for rank in range(world)]
    rows = {case: rows for part in parts for case, rows in QualityTable(part, keep=True).cases.items()}
    table = QualityTable(folder / FILE_NAME)
    table.cases = dict(sorted(rows.items()))
    table.write()
    for part in parts:
        part.unlink()
