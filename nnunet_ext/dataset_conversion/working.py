"""Work on many cases in several processes; one that is killed is a problem as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from nnunet_ext import parallel
from nnunet_ext.dataset_conversion.problems import ConversionError, Problem, describe

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    verb: str,
    progress: parallel.Progress | None,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, see :func:`nnunet_ext.parallel.in_order`.

    Raises:
        ConversionError: a process was killed.
    """
    try:
        yield from parallel.in_order(function, items, workers, verb, progress)
    except parallel.WorkerError as error:
        where = f"-np {workers}: a process ended while images were {verb if verb != 'wrote' else 'written'}"
        remedy = "most likely memory ran out: convert again with fewer processes, or with -np 1 in this process alone"
        problem = Problem("worker-killed", "a process that was killed", where, remedy)
        raise ConversionError(describe([problem]), [problem]) from error
