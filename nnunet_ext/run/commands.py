"""Run one console command as a subprocess: its output goes to a log file and to a callable, line by line."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LAST_LINES = 15
GRACE_SECONDS = 10.0


class CommandError(RuntimeError):
    """A command failed, or is not installed; the message says how to type it and where its output is."""


def find_command(name: str) -> str:
    """Return the path of a console command: the one beside the running Python, else the one on PATH.

    Raises `CommandError` if there is neither.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise CommandError(
            f"The command {name!r} is neither beside {sys.executable} nor on PATH. nnU-Net's commands come "
            f"with: {shlex.quote(sys.executable)} -m pip install 'nnunetv2>=2.8,<2.9'"
        )
    return found


def as_typed(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return the command as a user can type it in a POSIX shell, variables in front, everything quoted."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    return " ".join([*variables, shlex.join(command)])


def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> float:
    """Run `command` to its end and return the seconds it took (wall time).

    `command`: the name of a console command (see `find_command`) and its arguments. `environment`: variables
    set on top of the present ones. `log`: file that gets standard output and standard error, replaced if it
    exists. `folder`: working directory. `on_line`: called with each line, without its end, as it is written.

    Raises `CommandError` if the command is missing or ends with another status than 0. Whatever else ends the
    wait (KeyboardInterrupt, an error in `on_line`) ends the command and its children first.
    """
    argv = [find_command(command[0]), *command[1:]]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    log.parent.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=LAST_LINES)
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as file, _started(argv, variables, folder) as process:
        try:
            for line in _lines(process):
                file.write(line + "\n")
                file.flush()
                last.append(line)
                if on_line is not None:
                    on_line(line)
            status = process.wait()
        except BaseException:
            terminate_group(process)
            raise
    if status != 0:
        raise CommandError(_failure(command, environment, status, last, log, folder))
    return time.monotonic() - start


def terminate_group(process: "subprocess.Popen[str]") -> None:
    """End a process that leads its own group, and the group: SIGTERM, then SIGKILL after `GRACE_SECONDS`."""
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _started(argv: Sequence[str], variables: Mapping[str, str], folder: Path | None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        argv,
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # its own group, so that its workers end with it
    )


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    return (line.rstrip("\n") for line in process.stdout)


def _signal_group(process: "subprocess.Popen[str]", number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _failure(
    command: Sequence[str],
    environment: Mapping[str, str],
    status: int,
    last: Sequence[str],
    log: Path,
    folder: Path | None,
) -> str:
    ending = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    memory = " (SIGKILL is often the system's answer to a full memory)" if status == -signal.SIGKILL else ""
    where = f"cd {shlex.quote(str(folder))}\n" if folder is not None else ""
    output = "\n".join(f"    {line}" for line in last) or "    (no output)"
    return (
        f"{command[0]} {ending}{memory}. Its last lines:\n{output}\n"
        f"The whole output: {log}\nTo run it again by hand:\n{where}{as_typed(command, environment)}"
    )
