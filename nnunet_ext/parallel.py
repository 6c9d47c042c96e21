"""A function over many items, in this process or in several, with results in order and bounded memory."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
FEWEST_FOR_WORKERS = 64  # starting processes takes about a second, as much as so many small pictures
ITEMS_AT_A_TIME = 8


class WorkerError(RuntimeError):
    """A process ended before its work was done; the message says what to type."""


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    verb: str,
    progress: Progress | None,
    fewest: int | None = None,
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
        WorkerError: a process was killed, for example because memory ran out.
    """
    if workers <= 1 or len(items) < (FEWEST_FOR_WORKERS if fewest is None else fewest):
        yield from _announced(map(function, items), len(items), verb, progress)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_work)
    try:
        yield from _announced(pool.map(function, items, chunksize=at_a_time), len(items), verb, progress)
    except BrokenProcessPool as error:
        raise WorkerError(
            f"-np {workers}: a process was killed while {len(items)} files were being worked on, most likely because "
            "memory ran out. Try again with fewer processes, or with -np 1 in this process alone."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _announced(results: Iterator[Result], total: int, verb: str, progress: Progress | None) -> Iterator[Result]:
    for done, result in enumerate(results, start=1):
        yield result
        if progress is not None:
            progress(verb, done, total)


def _begin_work() -> None:
    """Leave Ctrl-C to the parent, which cancels what has not begun; end with it if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
