"""The benchmarks import and explain themselves; what they measure is not run here."""

import subprocess
import sys

from support import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
ASK_ALL = """
import runpy, sys
for script in sys.argv[1:]:
    sys.path[0], sys.argv = script.rpartition("/")[0], [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, (script, end.code)
    else:
        raise AssertionError(f"{script} has no --help")
"""


def test_every_benchmark_starts():
    """In one process, which imports what they share once."""
    done = subprocess.run([sys.executable, "-c", ASK_ALL, *SCRIPTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for script in SCRIPTS:
        assert f"usage: {script.name}" in done.stdout
