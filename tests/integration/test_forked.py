"""A forked process, against a new interpreter that runs the same script."""

import subprocess
import sys
import time

import pytest
import warm


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "sys.exit()",
        "sys.exit(3)",
        "sys.exit('a last word')",
        "raise ValueError('no')",
        "os.kill(os.getpid(), 9)",
    ],
)
def test_a_script_prints_and_ends_as_in_a_new_interpreter(bare_host, tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sys
print("out", __name__, __file__, sys.argv, sys.path[0], os.environ["nnUNet_raw"], os.environ.get("nnUNet_results"))
print("err", sys.stdin.read(), sorted(m for m in sys.modules if m.startswith("nnunet")), file=sys.stderr)
sys.stdout.flush()
{end}
""")
    found = bare_host.forked(script, "-a", 1, nnUNet_results=None)
    expected = subprocess.run(
        [sys.executable, script, "-a", "1"], env=bare_host.environment(nnUNet_results=None),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == expected.returncode
    lines = expected.stdout.splitlines()
    assert found.stdout.splitlines()[:2] == lines[:2]
    assert found.stdout.splitlines()[-1] == lines[-1]
    assert ("Traceback" in found.stdout) == ("Traceback" in expected.stdout)


def test_a_script_that_hangs_is_killed_with_its_children(bare_host, tmp_path):
    script, beat = tmp_path / "script.py", tmp_path / "beat"
    script.write_text(f"""
import os, time
os.fork()
while True:
    open({str(beat)!r}, "a").write(".")
    time.sleep(0.02)
""")
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run_script(script, [], environment=bare_host.environment(), output=tmp_path / "output", timeout=3)
    time.sleep(0.5)
    size = beat.stat().st_size
    time.sleep(0.5)
    assert beat.stat().st_size == size > 0
