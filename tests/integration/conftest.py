"""A small dataset, planned and preprocessed once, and the real commands on it, each in its own process.

A process that is killed, and one that is asked to be `fresh`, is a console script in a new interpreter; each command is
run so at least once. The others are the same scripts in a process that `warm` forks, which saves their imports.
"""

import contextlib
import copy
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import warm
from PIL import Image

from nnunet_ext.dataset_conversion.synthetic import synthetic_pair

DATASET_ID, DATASET_NAME = 901, "Tiny"
SIDE, N_TRAIN, N_TEST = 64, 12, 2
CRAFTED_PLANS = "nnUNetCraftedPlans"
HANG_SECONDS = 1500  # only so that a hanging command ends at all; the slowest here takes some 30 s on an idle machine
LAST_LINES = 25


def script(name):
    """Path of a console script of the environment that runs the tests."""
    return Path(sys.executable).parent / name


def last_lines(text):
    return "\n".join(text.splitlines()[-LAST_LINES:])


@dataclass(frozen=True)
class Host:
    """nnU-Net's three folders, and the environment in which its commands find them and our trainers."""

    raw: Path
    preprocessed: Path
    results: Path
    plugin: str

    @property
    def dataset(self):
        return f"Dataset{DATASET_ID}_{DATASET_NAME}"

    def model(self, trainer, configuration="2d", plans="nnUNetPlans"):
        return self.results / self.dataset / f"{trainer}__{plans}__{configuration}"

    def environment(self, **changes):
        """The shell's variables without any of nnU-Net's, and what a user exports. A change to None removes one."""
        kept = {k: v for k, v in os.environ.items() if not k.lower().startswith(("nnunet", "pytest", "wandb"))}
        ours = {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": self.plugin,
            "nnUNet_def_n_proc": "1",
            "nnUNet_n_proc_DA": "0",
            "nnUNet_compile": "f",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
            "PYTHONUNBUFFERED": "1",
        }
        return {k: v for k, v in {**kept, **ours, **changes}.items() if v is not None}

    def start(self, *command, **changes):
        """Start a console script in its own process group, standard error within standard output."""
        argv = [str(script(command[0])), *map(str, command[1:])]
        return subprocess.Popen(
            argv,
            env=self.environment(**changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def attempt(self, *command, fresh=False, **changes):
        """Run a console script to its end, whatever that is."""
        if not fresh:
            return self.forked(script(command[0]), *command[1:], **changes)
        process = self.start(*command, **changes)
        try:
            output, _ = process.communicate(timeout=HANG_SECONDS)
        except BaseException:
            kill_group(process)
            raise
        return subprocess.CompletedProcess(command, process.returncode, output)

    def forked(self, path, *arguments, **changes):
        """Run a Python script to its end in a forked process."""
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "output")
            code = warm.run_script(
                path, map(str, arguments), environment=self.environment(**changes), output=output, timeout=HANG_SECONDS
            )
            return subprocess.CompletedProcess((path, *arguments), code, output.read_text(errors="replace"))

    def run(self, *command, **changes):
        """Run a console script that must succeed."""
        done = self.attempt(*command, **changes)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{last_lines(done.stdout)}"
        return done

    def refuse(self, *command, **changes):
        """Run a console script that must fail, by itself and not by a signal; return its output."""
        done = self.attempt(*command, **changes)
        assert done.returncode > 0, f"{command} ended with {done.returncode}:\n{last_lines(done.stdout)}"
        return done.stdout

    def python(self, code, *arguments, **changes):
        """Run Python code in a new interpreter, where it must succeed; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=self.environment(**changes),
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"ended with {done.returncode}:\n{last_lines(done.stdout + done.stderr)}"
        return done.stdout

    def train(self, trainer, fold, *flags, configuration="2d", **changes):
        return self.run(*self.train_command(trainer, fold, *flags, configuration=configuration), **changes)

    @staticmethod
    def train_command(trainer, fold, *flags, configuration="2d"):
        return ("nnUNetv2_train", DATASET_ID, configuration, fold, "-tr", trainer, "-device", "cpu", *flags)

    def with_results(self, folder):
        """The same datasets, with trainings in another (new) folder."""
        folder.mkdir(parents=True)
        return replace(self, results=folder)

    def kill_when(self, reached, *command):
        """Run a console script until `reached(lines so far)`, then SIGKILL its whole group; return the lines."""
        process, lines = self.start(*command), []
        try:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if reached(lines):
                    break
        finally:
            kill_group(process)
        output = "\n".join(lines)
        assert process.returncode == -signal.SIGKILL, f"{command} ended before it was killed:\n{last_lines(output)}"
        return lines


def kill_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()


def write_pairs(folder, indices):
    """Write `images/*.png` (RGB) and `masks/*.png` (0 and 255), the corner of each made pair with most foreground."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in indices:
        _, image, mask = synthetic_pair(index)
        rows, columns = ((0, side - SIDE) for side in mask.shape)
        corners = [np.s_[r : r + SIDE, c : c + SIDE] for r in rows for c in columns]
        best = max(corners, key=lambda corner: int(mask[corner].sum()))
        assert mask[best].any()
        Image.fromarray(image[best]).save(folder / "images" / f"case_{index:02d}.png")
        Image.fromarray(mask[best]).save(folder / "masks" / f"case_{index:02d}.png")


def empty_host(base):
    folders = [base / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    path = subprocess.run([script("nnunet_ext"), "path"], capture_output=True, text=True, check=True)
    return Host(*folders, plugin=path.stdout.strip())


@pytest.fixture(scope="session")
def bare_host(tmp_path_factory):
    """A host with empty folders."""
    return empty_host(tmp_path_factory.mktemp("bare_host"))


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """A host with the dataset converted, planned and preprocessed by the real commands, and two folds.

    pytest's workers share it: the first that needs it makes it, and no test writes to the dataset.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with (base / "host.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = empty_host(base / "host")
        if not (base / "host_is_ready").exists():
            make_dataset(found, base / "png")
            (base / "host_is_ready").touch()
    return found


def make_dataset(host, source):
    write_pairs(source / "train", range(N_TRAIN))
    write_pairs(source / "test", range(N_TRAIN, N_TRAIN + N_TEST))
    host.run(
        "nnunet_ext", "convert", "-i", source / "train" / "images", "-m", source / "train" / "masks",
        "-d", DATASET_ID, "-n", DATASET_NAME,
        "--test-images", source / "test" / "images", "--test-masks", source / "test" / "masks", fresh=True,
    )  # fmt: skip
    # planning needs a positive nnUNet_n_proc_DA: it sets torch's threads from it
    host.run(
        "nnUNetv2_plan_and_preprocess", "-d", DATASET_ID, "-c", "2d", "--verify_dataset_integrity",
        "-npfp", 1, "-np", 1, "--no_pbar", fresh=True, nnUNet_n_proc_DA="1",
    )  # fmt: skip
    folder = host.preprocessed / host.dataset
    cases = [f"case_{i:02d}" for i in range(N_TRAIN)]
    halves = cases[::3], [c for c in cases if c not in cases[::3]]  # 4 and 8
    splits = [{"train": halves[1], "val": halves[0]}, {"train": halves[0], "val": halves[1]}]
    for place in (folder, host.raw / host.dataset):  # nnU-Net's planner stops if the two differ
        (place / "splits_final.json").write_text(json.dumps(splits))
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    (folder / f"{CRAFTED_PLANS}.json").write_text(json.dumps(crafted_plans(plans)))


def crafted_plans(plans):
    """The same plans with configurations that not every network takes: an odd patch, and a 3D one."""
    plans = copy.deepcopy(plans)
    plans["plans_name"] = CRAFTED_PLANS
    flat = plans["configurations"]["2d"]
    plans["configurations"]["2d_odd"] = {"inherits_from": "2d", "patch_size": [60, 60]}
    solid = copy.deepcopy(flat)
    solid["patch_size"], solid["spacing"] = [16, 64, 64], [1.0, 1.0, 1.0]
    network = solid["architecture"]["arch_kwargs"]
    for key in ("conv_op", "norm_op"):
        network[key] = network[key].replace("2d", "3d")
    n_stages = network["n_stages"]
    network["kernel_sizes"] = [[3, 3, 3]] * n_stages
    network["strides"] = [[1, 1, 1]] + [[2, 2, 2]] * (n_stages - 1)
    plans["configurations"]["3d_fake"] = solid
    return plans


@pytest.fixture
def fresh_host(host, tmp_path):
    """The session's dataset with an empty folder for trainings."""
    return host.with_results(tmp_path / "nnUNet_results")
