"""What SIGTERM does to a command and to the processes that it forks."""

import os
import signal
import time

import pytest

from nnunet_ext import cli


def test_workers_that_are_ended_while_they_begin_end(monkeypatch):
    """Pools that end at once, as nnU-Net lists images: a signal that a worker forgets would leave it there."""

    def command(args):
        for _ in range(10):
            worker = os.fork()
            if worker == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(worker, signal.SIGTERM)
            begun = time.monotonic()
            assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGTERM
            assert time.monotonic() - begun < 30
        return 0

    monkeypatch.setattr(cli, "path", command)
    assert cli.main(["path"]) == 0


def test_termination_ends_the_command_and_workers_that_swallow_exceptions(monkeypatch):
    """A worker of nnU-Net's pools that is terminated while it begins loses exceptions, as this one does."""

    def command(args):
        ready, told = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.write(told, b"x")
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    continue
        os.read(ready, 1)
        os.kill(worker, signal.SIGTERM)
        end = time.monotonic() + 30
        while (done := os.waitpid(worker, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
            time.sleep(0.01)
        if done == (0, 0):
            os.kill(worker, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(done[1]) == -signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(cli, "path", command)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        cli.main(["path"])
    assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("blocked", [set(), {signal.SIGTERM}])
def test_a_fork_leaves_the_blocked_signals_as_they_were(monkeypatch, blocked):
    masks = []

    def command(args):
        before = signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        try:
            worker = os.fork()
            now = signal.pthread_sigmask(signal.SIG_BLOCK, set())
            if worker == 0:
                os._exit(0 if now == blocked else 1)
            masks.append((now, os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return 0

    monkeypatch.setattr(cli, "path", command)
    assert cli.main(["path"]) == 0
    assert masks == [(blocked, 0)]


def test_termination_while_a_worker_is_forked_is_not_forgotten(monkeypatch):
    own, sent = signal.pthread_sigmask, []

    def block_and_send(how, mask):
        before = own(how, mask)
        if how == signal.SIG_BLOCK and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return before

    def command(args):
        monkeypatch.setattr(signal, "pthread_sigmask", block_and_send)
        worker = os.fork()
        if worker == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        time.sleep(30)

    monkeypatch.setattr(cli, "path", command)
    with pytest.raises(SystemExit) as end:
        cli.main(["path"])
    assert sent
    assert end.value.code == 143
