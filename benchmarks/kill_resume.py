"""Does a training survive being killed at any moment? Kill it, check its checkpoints, continue it, check the end.

    python benchmarks/kill_resume.py --work FOLDER [-n 10] [--seed 0]

Each of the n trials, in a results folder of its own below FOLDER:

1. starts `nnUNetv2_train 901 2d_tiny 0 -tr TRAINER -device cpu` and ends its whole process group with SIGKILL. Even
   trials do so at a moment drawn uniformly from the time between the first epoch's begin and the end of the process
   (validation included), as an undisturbed reference training needed it; the moment is found again by the lines
   printed until then, so that a busier or idler machine does not shift it. Odd trials aim at a write, with a network
   whose checkpoints are large: at a drawn one of the checkpoints' temporary files, the kill follows as soon as the
   file is seen, or a drawn 0 to 100 ms later;
2. reads every `*.pth` that is there with `torch.load`: none may be broken;
3. runs the same command with `--c` to its end;
4. checks that `checkpoint_final.pth` is of the last epoch with one logged loss for each epoch, that the losses logged
   before the kill are its first ones, that the training went on at the epoch that the checkpoint said (at 0 if there
   was none), that the manifest is closed, the validation was made and no temporary file is left.

A training that ends before its moment comes (the machine got faster) counts as "not killed"; the trial's checks
hold all the same. The dataset (12 made images, patch 64 x 64) is converted, planned and preprocessed below FOLDER
once and used again by later calls. Prints a table and a verdict; the exit code is 0 if all trials passed, else 1.
The drawn moments depend on --seed alone; what they hit depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

EPOCHS = 6
TRAINERS = {  # by aim
    "moment": f"nnUNetTrainerSLUNet_5L1Res_{EPOCHS}epochs_4iters",
    "write": f"nnUNetTrainerExt_Plain_UNet_{EPOCHS}epochs_4iters",
}
LEAST_WRITES = EPOCHS + 1  # latest after every epoch but the last, best at least once, final
DATASET, CONFIGURATION = "Dataset901_Tiny", "2d_tiny"
EPOCH_BEGINS = re.compile(r": Epoch (\d+)\s*$")


@dataclass
class Trial:
    """What one trial did and found."""

    number: int
    aim: str
    killed_at: str = "not killed"
    epochs_seen: int = 0
    checkpoints: str = "none"
    resumed_at: int | None = None
    faults: list[str] = field(default_factory=list)


class Training:
    """A running training; its output is read by a thread, so that this one is free to kill at a moment."""

    def __init__(self, work: Path, results: Path, trainer: str, *flags: str) -> None:
        self.lines: list[str] = []
        self.times: list[float] = []  # of the lines since the first epoch's begin
        command = ["nnUNetv2_train", "901", CONFIGURATION, "0", "-tr", trainer, "-device", "cpu", *flags]
        self.process = start(work, results, *command)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self.times or EPOCH_BEGINS.search(self.lines[-1]):
                self.times.append(time.monotonic())

    @property
    def epochs(self) -> list[int]:
        """Numbers of the epochs that have begun."""
        return [int(m[1]) for m in map(EPOCH_BEGINS.search, list(self.lines)) if m]

    def kill(self) -> bool:
        """SIGKILL to the whole group; whether the training was still running."""
        running = self.process.poll() is None
        if running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        return running and self.process.returncode == -signal.SIGKILL

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait()
        self.reader.join()
        return status


def start(work: Path, results: Path, *command: str) -> subprocess.Popen:
    script = Path(sys.executable).parent / command[0]
    kept = {k: v for k, v in os.environ.items() if not k.lower().startswith("nnunet")}
    plugin = subprocess.run(
        [Path(sys.executable).parent / "nnunet_ext", "path"], capture_output=True, text=True, check=True
    )
    environment = {
        **kept,
        "nnUNet_raw": str(work / "nnUNet_raw"),
        "nnUNet_preprocessed": str(work / "nnUNet_preprocessed"),
        "nnUNet_results": str(results),
        "nnUNet_extTrainer": plugin.stdout.strip(),
        "nnUNet_def_n_proc": "1",
        "nnUNet_n_proc_DA": "0" if command[0] == "nnUNetv2_train" else "1",
        "nnUNet_compile": "f",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [str(script), *command[1:]],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def prepare(work: Path) -> None:
    """Make, convert, plan and preprocess the dataset, unless that was done."""
    from nnunet_ext.dataset_conversion.synthetic import write_synthetic_dataset

    plans_file = work / "nnUNet_preprocessed" / DATASET / "nnUNetPlans.json"
    if plans_file.is_file() and CONFIGURATION in json.loads(plans_file.read_text())["configurations"]:
        return
    for folder in ("nnUNet_raw", "nnUNet_preprocessed"):
        shutil.rmtree(work / folder, ignore_errors=True)
        (work / folder).mkdir(parents=True)
    write_synthetic_dataset(work / "png", n_train=12, n_test=0)
    source = work / "png" / "train"
    images = ("-i", str(source / "images"), "-m", str(source / "masks"), "--mask-suffix", "_mask")
    for command in (
        ("nnunet_ext", "convert", *images, "-d", "901", "-n", "Tiny"),
        ("nnUNetv2_plan_and_preprocess", "-d", "901", "-c", "2d", "-npfp", "1", "-np", "1", "--no_pbar"),
    ):
        process = start(work, work / "nnUNet_results", *command)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{command[0]} failed:\n{output[-3000:]}")
    plans = json.loads(plans_file.read_text())
    plans["configurations"][CONFIGURATION] = {"inherits_from": "2d", "patch_size": [64, 64], "batch_size": 2}
    plans_file.write_text(json.dumps(plans, indent=2))


def fold_folder(results: Path, trainer: str) -> Path:
    return results / DATASET / f"{trainer}__nnUNetPlans__{CONFIGURATION}" / "fold_0"


def reference(work: Path) -> list[float]:
    """Train undisturbed; return the seconds of each line, and of the end, since the first epoch's begin."""
    training = Training(work, work / "results_reference", TRAINERS["moment"])
    if training.wait():
        raise SystemExit("the undisturbed training failed:\n" + "\n".join(training.lines[-25:]))
    return [t - training.times[0] for t in (*training.times, time.monotonic())]


def temporary(fold: Path) -> list[str]:
    """Names of the temporary files of checkpoints that are there now."""
    try:
        return [name for name in os.listdir(fold) if name.startswith("checkpoint_") and name.endswith(".tmp")]
    except FileNotFoundError:
        return []


def wait_for_write(training: Training, fold: Path, number: int) -> bool:
    """Wait until the `number`-th temporary file of a checkpoint appears; whether it did before the process ended."""
    writes, before = 0, []
    while training.process.poll() is None:
        now = temporary(fold)
        writes += bool(now) and now != before
        before = now
        if writes == number:
            return True
        time.sleep(0.001)
    return False


def kill_at_a_moment(trial: Trial, training: Training, draw: random.Random, usual: list[float]) -> None:
    moment = draw.uniform(0, usual[-1])
    n_lines = sum(t <= moment for t in usual)
    while len(training.times) < n_lines and training.process.poll() is None:
        time.sleep(0.001)
    until = time.monotonic() + moment - usual[n_lines - 1]
    while len(training.times) == n_lines and time.monotonic() < until and training.process.poll() is None:
        time.sleep(0.001)
    if training.kill():
        trial.killed_at = f"{100 * moment / usual[-1]:.0f} % of the time"


def kill_in_a_write(trial: Trial, training: Training, draw: random.Random, fold: Path) -> None:
    target, delay = draw.randint(1, LEAST_WRITES), draw.choice([0.0, draw.uniform(0, 0.1)])
    reached = wait_for_write(training, fold, target)
    time.sleep(delay)
    if training.kill() and reached:
        inside = ", inside" if temporary(fold) else ""
        trial.killed_at = f"write {target} + {1000 * delay:.0f} ms{inside}"


def read_checkpoints(trial: Trial, fold: Path) -> dict[str, dict]:
    found = {}
    for file in sorted(fold.glob("*.pth")):
        try:
            found[file.stem.removeprefix("checkpoint_")] = torch.load(file, map_location="cpu", weights_only=False)
        except Exception as error:
            trial.faults.append(f"{file.name} is broken: {type(error).__name__}")
    trial.checkpoints = ", ".join(f"{name} {c['current_epoch']}" for name, c in found.items()) or "none"
    return found


def check_resumed(trial: Trial, training: Training, fold: Path, before: dict[str, dict]) -> None:
    """Compare the end of a continued training with what was there at the kill."""
    source = next((before[name] for name in ("final", "latest", "best") if name in before), None)
    expected = 0 if source is None else source["current_epoch"]
    trial.resumed_at = training.epochs[0] if training.epochs else EPOCHS
    final = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    losses = final["logging"]["train_losses"]
    known = [] if source is None else source["logging"]["train_losses"][:expected]
    manifest = json.loads((fold / "nnunet_ext_manifest.json").read_text())
    checks = {
        f"resumed at {trial.resumed_at}, not {expected}": trial.resumed_at == expected,
        f"went through epochs {training.epochs}": training.epochs == list(range(expected, EPOCHS)),
        f"final checkpoint of epoch {final['current_epoch']}": final["current_epoch"] == EPOCHS,
        f"{len(losses)} losses logged": len(losses) == EPOCHS,
        "losses before the kill were changed": losses[: len(known)] == known,
        f"manifest: first_epoch {manifest['first_epoch']}": manifest["first_epoch"] == expected,
        "manifest not closed": bool(manifest["finished"]),
        "no validation": (fold / "validation" / "summary.json").is_file(),
        "checkpoint_latest.pth left": not (fold / "checkpoint_latest.pth").exists(),
        f"temporary files left: {temporary(fold)}": not temporary(fold),
    }
    trial.faults += [fault for fault, passed in checks.items() if not passed]


def run_trial(number: int, work: Path, seed: int, usual: list[float]) -> Trial:
    draw = random.Random(f"{seed}-{number}")
    trial = Trial(number, "moment" if number % 2 == 0 else "write")
    trainer, results = TRAINERS[trial.aim], work / f"results_{number:03d}"
    fold = fold_folder(results, trainer)
    training = Training(work, results, trainer)
    if trial.aim == "moment":
        kill_at_a_moment(trial, training, draw, usual)
    else:
        kill_in_a_write(trial, training, draw, fold)
    trial.epochs_seen = len(training.epochs)
    before = read_checkpoints(trial, fold)
    again = Training(work, results, trainer, "--c")
    if again.wait():
        trial.faults.append("--c failed: " + (again.lines or ["no output"])[-1])
    else:
        check_resumed(trial, again, fold, before)
    return trial


def show(trial: Trial) -> None:
    resumed = "-" if trial.resumed_at is None else trial.resumed_at
    verdict = "; ".join(trial.faults) or "ok"
    print(
        f"{trial.number:5} {trial.aim:7} {trial.killed_at:26} {trial.epochs_seen:11} {trial.checkpoints:28} "
        f"{resumed:>10}  {verdict}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the dataset and the trials' results")
    parser.add_argument("-n", type=int, default=10, help="trials (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--keep", action="store_true", help="keep the results of trials that passed")
    args = parser.parse_args()
    work = args.work.resolve()
    for old in [*work.glob("results_reference"), *work.glob("results_[0-9][0-9][0-9]")]:
        shutil.rmtree(old)
    prepare(work)
    usual = reference(work)
    print(f"{TRAINERS['moment']}: {usual[-1]:.1f} s from the first epoch to the end\n", flush=True)
    print("trial aim     killed at                  epochs seen checkpoints (epoch)          resumed at  verdict")
    trials = []
    for number in range(args.n):
        trials.append(run_trial(number, work, args.seed, usual))
        show(trials[-1])
        if not trials[-1].faults and not args.keep:
            shutil.rmtree(work / f"results_{number:03d}")
    failed = sum(bool(t.faults) for t in trials)
    killed = sum(t.killed_at != "not killed" for t in trials)
    print(f"\n{killed} of {args.n} were killed; {args.n - failed} of {args.n} finished as an undisturbed training does")
    print("PASSED" if not failed else f"FAILED: results of the {failed} trials are below {work}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
