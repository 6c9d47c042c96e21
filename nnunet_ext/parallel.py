"""A function over many items, in this process or in several, with results in order and bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
FEWEST_FOR_WORKERS = 64  # starting processes takes about a second, as much as so many small pictures
ITEMS_AT_A_TIME = 8


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    verb: str,
    progress: Progress | None,
    fewest: int = FEWEST_FOR_WORKERS,
    at_a_time: int = ITEMS_AT_A_TIME,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order.

    Args:
        function: picklable if there are several workers; what it raises is raised here.
        items: picklable likewise.
        workers: number of processes; 1, or fewer than ``fewest`` items, means this process.
        verb: what is done, such as "checked", for ``progress``.
        progress: called with (verb, items done, items in all) after each item.
        fewest: items that are worth starting processes for; volumes are sooner than pictures.
        at_a_time: items that a process gets at once.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a worker was killed, for example because memory ran out.
    """
    if workers <= 1 or len(items) < fewest:
        yield from _announced(map(function, items), len(items), verb, progress)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    try:
        yield from _announced(pool.map(function, items, chunksize=at_a_time), len(items), verb, progress)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _announced(results: Iterator[Result], total: int, verb: str, progress: Progress | None) -> Iterator[Result]:
    for done, result in enumerate(results, start=1):
        yield result
        if progress is not None:
            progress(verb, done, total)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which cancels what has not begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
