import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nnunet_ext.run.commands import CommandError, as_typed, find_command, run_command


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Make an executable `tool` on PATH from lines of a shell script."""

    def make(script, name="tool"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        return name

    return make


def alive(pid):
    """Tell whether a process runs; one that ended and waits to be reaped does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_output_goes_to_log_and_lines(tool, tmp_path):
    lines = []
    name = tool('echo "one $1"; echo two >&2; printf "no end"; pwd > where')
    log = tmp_path / "logs" / "x.txt"
    seconds = run_command([name, "a b"], environment={}, log=log, folder=tmp_path, on_line=lines.append)
    assert lines == ["one a b", "two", "no end"]
    assert log.read_text() == "one a b\ntwo\nno end\n"
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)
    assert 0 <= seconds < 30


def test_lines_come_as_they_are_written(tool, tmp_path):
    name = tool(f'exec {sys.executable} -c "import time; print(1); time.sleep(0.5); print(2)"')
    times = []
    run_command([name], environment={}, log=tmp_path / "x.txt", on_line=lambda _: times.append(time.monotonic()))
    assert times[1] - times[0] > 0.3


def test_variables_are_set_on_top_of_the_present_ones(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "kept")
    lines = []
    name = tool('echo "$KEPT $ADDED"')
    run_command([name], environment={"ADDED": "added"}, log=tmp_path / "x.txt", on_line=lines.append)
    assert lines == ["kept added"]
    assert "ADDED" not in os.environ


def test_bytes_that_are_no_text_do_not_stop_it(tool, tmp_path):
    lines = []
    run_command([tool(r"printf '\377ok\r50%%\n'")], environment={}, log=tmp_path / "x.txt", on_line=lines.append)
    assert lines == ["\ufffdok", "50%"]


def test_a_failure_says_all_that_helps(tool, tmp_path):
    name = tool("seq 100; exit 3")
    log = tmp_path / "x.txt"
    with pytest.raises(CommandError) as error:
        run_command([name, "a b"], environment={"nnUNet_raw": "/data set"}, log=log, folder=tmp_path)
    message = str(error.value)
    assert "tool ended with status 3" in message
    assert "    100\n" in message
    assert "    80\n" not in message
    assert str(log) in message
    assert message.endswith(f"cd {tmp_path}\nnnUNet_raw='/data set' tool 'a b'")
    assert log.read_text().splitlines()[0] == "1"


def test_a_killed_command_is_named_as_such(tool, tmp_path):
    with pytest.raises(CommandError, match=r"ended by signal 9 .*memory"):
        run_command([tool("kill -9 $$")], environment={}, log=tmp_path / "x.txt")


def test_a_missing_command_says_how_to_install_it(tmp_path):
    with pytest.raises(CommandError, match=r"nnUNetv2_missing.*pip install 'nnunetv2"):
        run_command(["nnUNetv2_missing"], environment={}, log=tmp_path / "x.txt")


def test_the_command_beside_python_comes_first(tool, tmp_path, monkeypatch):
    tool("", "nnUNetv2_train")
    (tmp_path / "venv").mkdir()
    beside = tmp_path / "venv" / "nnUNetv2_train"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert find_command("nnUNetv2_train") == str(tmp_path / "bin" / "nnUNetv2_train")
    beside.touch(mode=0o755)
    assert find_command("nnUNetv2_train") == str(beside)


def test_what_is_typed_is_quoted():
    assert as_typed(["a", "b c", "$d"], {"X": "1 2"}) == "X='1 2' a 'b c' '$d'"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_ends_the_command_and_its_children(tool, tmp_path, interruption):
    name = tool("sleep 100 & echo $!; echo $$; wait")
    pids = []

    def interrupt(line):
        pids.append(int(line))
        if len(pids) == 2:
            raise interruption

    with pytest.raises(interruption):
        run_command([name], environment={}, log=tmp_path / "x.txt", on_line=interrupt)
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_waiting_ends_a_stubborn_command(tool, tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_ext.run.commands.GRACE_SECONDS", 0.3)
    name = tool("trap '' TERM; echo $$; while true; do sleep 0.1; done")
    pids = []

    def note(line):
        pids.append(int(line))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_command([name], environment={}, log=tmp_path / "x.txt", on_line=note)
    assert wait_until(lambda: not alive(pids[0]))
