"""Processes forked from one that has imported the large libraries, which takes a fresh interpreter some eight seconds.

nnU-Net and this package are not imported beforehand: they read the environment when they are, and each process has its
own.
"""

import multiprocessing
import os
import pickle
import runpy
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

LIBRARIES = [
    "SimpleITK", "blosc2", "dynamic_network_architectures", "matplotlib.pyplot", "nibabel", "numpy", "pandas",
    "seaborn", "skimage.transform", "sklearn.decomposition", "torch", "torch._dynamo", "torch._inductor.utils",
]  # fmt: skip
METHOD = "forkserver" if sys.platform == "linux" else "spawn"  # elsewhere some libraries do not survive a fork
TESTS = Path(__file__).parent

multiprocessing.set_forkserver_preload(LIBRARIES)


def run_script(script, arguments, *, environment, output, timeout):
    """Run a Python script as a shell would, with all it prints in the file `output`; return its exit code.

    What differs from a fresh interpreter: the libraries are there already, and worker processes that the script asks
    to be spawned are forked.
    """
    Path(output).touch()
    process = multiprocessing.get_context(METHOD).Process(
        target=_become, args=(str(script), list(arguments), environment, str(output))
    )
    process.start()
    try:
        process.join(timeout)
        if process.exitcode is None:
            raise subprocess.TimeoutExpired([script, *arguments], timeout)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.exitcode


def _become(script, arguments, environment, output):
    import numpy

    os.setsid()
    for number, file in enumerate((os.devnull, output, output)):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    sys.path = [str(Path(script).parent), *(p for p in sys.path if p and not Path(p).is_relative_to(TESTS))]
    numpy.random.seed()  # else every process has the generator of the one that they are forked from
    multiprocessing.get_context = _forking(multiprocessing.get_context)
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())  # as an interpreter prints it
        sys.exit(1)


def _forking(get_context):
    return lambda method=None: get_context("fork" if method == "spawn" and METHOD == "forkserver" else method)


def spawn(function, arguments, n):
    """`torch.multiprocessing.spawn` with this process's environment: call `function(rank, *arguments)` in `n` ones."""
    from torch.multiprocessing import start_processes

    call = pickle.dumps((function, arguments))  # unpickling imports the function's module: after the environment is set
    start_processes(_call, args=(dict(os.environ), call), nprocs=n, start_method=METHOD)


def _call(rank, environment, call):
    os.environ.clear()
    os.environ.update(environment)
    function, arguments = pickle.loads(call)
    function(rank, *arguments)
