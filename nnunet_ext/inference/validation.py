"""Quality scores in nnU-Net's validation at the end of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from nnunet_ext.inference.predictor import listening, reason, replaced
from nnunet_ext.inference.report import QualityReport, warnings_of
from nnunet_ext.inference.table import FILE_NAME, QualityError, QualityTable

LISTED = 10  # cases in a line


@contextmanager
def scored_validation(
    host: ModuleType, folder: str, cases: Sequence[str], rank: int, world: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Write `quality.csv` for the cases that nnU-Net validates inside the block.

    What goes wrong with the scores is said, and leaves the validation as it is.

    Args:
        host: the module whose `nnUNetPredictor` validates.
        folder: of the validation.
        cases: of all processes, in nnU-Net's order.
        rank: of this process, which validates every `world`-th case; rank 0 writes the table of all.
        world: number of processes.
        say: takes a line for the log.
    """
    _remove_old_parts(Path(folder), rank, world)
    part = FILE_NAME if world == 1 else _part(rank)
    own = sorted(cases[rank::world])  # nnU-Net's datasets sort what they are given
    report = QualityReport(say=say, file_name=part, output=folder)
    with replaced(host, "nnUNetPredictor", listening(report, names=own)):
        yield
    if rank > 0 or report.table is None:
        return
    table: QualityTable | None = report.table
    if world > 1:  # nnU-Net waited for all before it computed its scores
        table = _merge(Path(folder), cases, world, say)
    for line in warnings_of(table) if table is not None else ():
        say(line)


def _part(rank: int) -> str:
    return f"quality_rank{rank}.csv"


def _remove_old_parts(folder: Path, rank: int, world: int) -> None:
    """Remove what an interrupted validation left: each process its own part, the first one those of no process."""
    current = {_part(other) for other in range(world)} if world > 1 else set()
    for path in folder.glob("quality_rank*.csv"):
        if path.name == _part(rank) or (rank == 0 and path.name not in current):
            with suppress(OSError):
                path.unlink()


def _merge(folder: Path, cases: Sequence[str], world: int, say: Callable[[str], None]) -> QualityTable | None:
    """Write the table of all processes and remove their parts; return it, None if it could not be written."""
    try:
        parts = {rank: folder / _part(rank) for rank in range(world)}
        for rank, path in parts.items():
            if cases[rank::world] and not path.is_file():
                say(f"warning: process {rank} wrote no {path.name}: its cases have no quality")
        rows = {case: rows for path in parts.values() for case, rows in QualityTable(path).cases.items()}
        without = sorted(set(cases) - set(rows))
        if without:
            more = ", ..." if len(without) > LISTED else ""
            say(f"warning: {len(without)} of {len(cases)} cases have no quality: {', '.join(without[:LISTED])}{more}")
        table = QualityTable(folder / FILE_NAME)
        for case in without:
            table.drop(case)  # an earlier validation's rows
        table.set(dict(sorted(rows.items())))
        for path in parts.values():
            path.unlink(missing_ok=True)
    except (QualityError, OSError) as error:
        say(f"warning: no {FILE_NAME} of all processes ({reason(error)})")
        return None
    return table
