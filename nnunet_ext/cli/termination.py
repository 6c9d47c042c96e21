"""What SIGTERM does to a command, and to the worker processes that nnU-Net forks from it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def ends_when_told() -> Iterator[None]:
    """Leave by an exception when the process is terminated, so that a command that was started ends with it.

    nnU-Net's worker processes are copies of this one, made by fork. They leave at once, without an exception.
    """
    _workers_leave_at_once()
    try:
        before = signal.signal(signal.SIGTERM, _end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(*_: object) -> None:
    if getattr(_thread, "forks", False):  # Python forgets exceptions in the hooks of a fork: once more, later
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return
    sys.exit(143)


@functools.cache
def _workers_leave_at_once() -> None:
    """Let SIGTERM wait while a worker is forked: Python forgets one that arrives as the worker begins.

    The worker, and who waits for it, would then stay for ever; nnU-Net ends pools that have just begun. Afterwards
    parent and worker block what the thread that forks blocked before.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_begin)


_thread = threading.local()  # a mask is a thread's own


def _hold() -> None:
    _thread.forks = True  # until all hooks of others have run: ours come first and last
    _thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _thread.mask)
    _thread.forks = False


def _begin() -> None:
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()
