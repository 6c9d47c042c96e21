"""Train several trainers on one dataset with equal budgets, predict its test images, and tabulate what came out.

    python benchmarks/equal_budget.py --data DATA --work WORK --patch 128 --batch 4 --device cpu \
        --trainers nnUNetTrainerSLUNet_5L1Res_20epochs_50iters nnUNetTrainer_20epochs_50iters

DATA holds images, masks and `splits.json` (`{"pairs": [{"image": ..., "mask": ..., "split": "train" | "test"}]}`,
paths relative to DATA; "val" counts as "train", as nnU-Net makes its own folds). Everything goes through the commands
that users type: `nnunet_ext convert`, `nnUNetv2_plan_and_preprocess`, `nnUNetv2_train` (fold 0), `nnUNetv2_predict`,
`nnUNetv2_evaluate_folder`. The plan is nnU-Net's; with --patch, a configuration `2d_small` with that patch and batch is
added to it, with as many stages as leave a bottleneck of 2 x 2 pixels, and with --narrow 2 half of the channels
(`2d_narrow2`). WORK is kept, and what is finished there is not done again. The test images are only predicted, never
looked at in training.

Masks with several classes need their names: --convert-flags="--labels background=0 road=3 ... --ignore 255". An image's
Dice is then the mean over the classes that its mask or its prediction holds.

One training a trainer says nothing about small differences: nnU-Net does not seed. Use --repeats.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import statistics
import sys
from pathlib import Path

from nnunet_ext.environment import plugin_folder
from nnunet_ext.evaluation.summary import foreground_scores, read_summary
from nnunet_ext.machine import hardware, versions
from nnunet_ext.run.commands import as_typed, run_command
from nnunet_ext.run.progress import PredictionProgress

DATASET_ID = 901


def main() -> int:
    args = parser().parse_args()
    if not (args.data / "splits.json").is_file():
        print(f"skipped: {args.data / 'splits.json'} is not here")
        return 0
    bench = Bench(args)
    bench.convert()
    bench.plan()
    rows = [bench.measure(trainer, fold) for trainer in args.trainers for fold in range(args.repeats)]
    report(args, rows)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="folder with splits.json")
    p.add_argument("--work", type=Path, required=True, help="folder for everything that is written")
    p.add_argument("--trainers", nargs="+", required=True)
    p.add_argument("--patch", type=int, help="square patch in pixels; default: the plan's")
    p.add_argument("--batch", type=int, default=2, help="batch size that goes with --patch")
    p.add_argument("--narrow", type=int, default=1, help="divisor of the plan's channels, goes with --patch")
    p.add_argument("--repeats", type=int, default=1, help="folds trained of each trainer, from 0")
    p.add_argument("--convert-flags", default="", metavar="'FLAGS'", help="more flags for `nnunet_ext convert`, quoted")
    p.add_argument("--device", default="cuda", choices=("cuda", "cpu", "mps"))
    return p


def smaller(architecture: dict, patch: int, narrow: int = 1) -> dict:
    """Return the plan's network without the stages that would leave a bottleneck below 2 x 2 pixels, and narrower."""
    kwargs = dict(architecture["arch_kwargs"])
    n, stages = 1, kwargs["n_stages"]
    while n < stages and patch // math.prod(s[0] for s in kwargs["strides"][: n + 1]) >= 2:
        n += 1
    for key, value in kwargs.items():
        if isinstance(value, list):
            kwargs[key] = value[: n - (stages - len(value))]
    kwargs["features_per_stage"] = [f // narrow for f in kwargs["features_per_stage"]]
    return {**architecture, "arch_kwargs": {**kwargs, "n_stages": n}}


class Bench:
    """The commands, in one folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.work = args, args.work.absolute()
        self.name = args.data.name.replace("_", "")
        self.dataset = f"Dataset{DATASET_ID}_{self.name}"
        small = "2d_small" if args.narrow == 1 else f"2d_narrow{args.narrow}"
        self.configuration = "2d" if args.patch is None else small
        self.environment = {
            **{f"nnUNet_{k}": str(self.work / "nnunet" / k) for k in ("raw", "preprocessed", "results")},
            "nnUNet_extTrainer": str(plugin_folder()),
            "nnUNet_def_n_proc": str(min(4, os.cpu_count() or 1)),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        for folder in ("raw", "preprocessed", "results"):
            (self.work / "nnunet" / folder).mkdir(parents=True, exist_ok=True)

    def run(self, log: str, command: list[str], on_line=None, **variables: str) -> float:
        print(f"$ {as_typed(command, variables)}", flush=True)
        environment = {**self.environment, **variables}
        return run_command(
            command, environment=environment, log=self.work / "logs" / f"{log}.txt", folder=self.work, on_line=on_line
        )

    def convert(self) -> None:
        if (self.work / "nnunet" / "raw" / self.dataset).exists():
            return
        pairs = json.loads((self.args.data / "splits.json").read_text())["pairs"]
        for pair in pairs:
            for kind in ("image", "mask"):
                source = self.args.data / pair[kind]
                folder = self.work / "pairs" / ("test" if pair["split"] == "test" else "train") / f"{kind}s"
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / (Path(pair["image"]).stem + source.suffix))
        command = ["nnunet_ext", "convert", "-d", str(DATASET_ID), "-n", self.name]
        command += ["-i", "pairs/train/images", "-m", "pairs/train/masks"]
        command += ["--test-images", "pairs/test/images", "--test-masks", "pairs/test/masks"]
        self.run("convert", [*command, *shlex.split(self.args.convert_flags)])

    def plan(self) -> None:
        plans = self.work / "nnunet" / "preprocessed" / self.dataset / "nnUNetPlans.json"
        if not plans.exists():
            command = ["nnUNetv2_plan_and_preprocess", "-d", str(DATASET_ID), "-c", "2d"]
            self.run("plan", [*command, "--verify_dataset_integrity", "--no_pbar", "-npfp", "1", "-np", "1"])
        content = json.loads(plans.read_text())
        if self.args.patch is not None:
            planned = content["configurations"]["2d"]["architecture"]
            content["configurations"][self.configuration] = {
                "inherits_from": "2d",
                "patch_size": [self.args.patch, self.args.patch],
                "batch_size": self.args.batch,
                "architecture": smaller(planned, self.args.patch, self.args.narrow),
            }
            plans.write_text(json.dumps(content, indent=2))

    def measure(self, trainer: str, fold: int) -> dict[str, object]:
        folder = f"predictions/{trainer}_fold{fold}"
        done = self.work / folder / "measured.json"
        if done.is_file():
            return json.loads(done.read_text())
        where = ["-d", str(DATASET_ID), "-c", self.configuration, "-tr", trainer, "-f", str(fold)]
        device = ["-device", self.args.device]
        # augmentation in the training's own process costs less than it saves where there is no GPU to feed
        workers = {} if self.args.device == "cuda" else {"nnUNet_n_proc_DA": "0"}
        train = ["nnUNetv2_train", str(DATASET_ID), self.configuration, str(fold), "-tr", trainer, *device]
        seconds = self.run(f"train_{trainer}_{fold}", train, **workers)
        raw, progress = f"nnunet/raw/{self.dataset}", PredictionProgress()
        predict = ["nnUNetv2_predict", *where, *device, "-i", f"{raw}/imagesTs", "-o", folder]
        self.run(f"predict_{trainer}_{fold}", [*predict, "-npp", "0", "-nps", "0", "--disable_progress_bar"], progress)
        evaluate = ["nnUNetv2_evaluate_folder", f"{raw}/labelsTs", folder, "-djfile", f"{folder}/dataset.json"]
        self.run(f"evaluate_{trainer}_{fold}", [*evaluate, "-pfile", f"{folder}/plans.json", "-np", "1"])
        row = {"trainer": trainer, "fold": fold, "training_s": seconds, "s_per_image": progress.seconds_per_case()}
        row |= self.scores(trainer, fold, folder) | self.size(trainer)
        done.write_text(json.dumps(row, indent=2))
        return row

    def scores(self, trainer: str, fold: int, folder: str) -> dict[str, float]:
        test = foreground_scores(read_summary(self.work / folder / "summary.json"))["Dice"]
        model = f"nnunet/results/{self.dataset}/{trainer}__nnUNetPlans__{self.configuration}/fold_{fold}"
        validation = foreground_scores(read_summary(self.work / model / "validation" / "summary.json"))["Dice"]
        return {
            "test": test.mean(),
            "test_sd": test.std(),
            "test_n": int(test.count()),
            "validation": validation.mean(),
        }

    def size(self, trainer: str) -> dict[str, float]:
        from nnunet_ext.trainers.describe import describe_trainer

        folder = self.work / "nnunet" / "preprocessed" / self.dataset
        plans = json.loads((folder / "nnUNetPlans.json").read_text())
        dataset = json.loads((folder / "dataset.json").read_text())
        found = describe_trainer(trainer, plans, self.configuration, dataset)
        return {"parameters": found["parameters"], "macs": found["macs"], "patch": found["patch_size"]}


def report(args: argparse.Namespace, rows: list[dict]) -> None:
    lines = [
        f"Dataset {args.data.name}, {rows[0]['test_n']} test images, patch {rows[0]['patch']}, fold 0"
        + (f" to {args.repeats - 1}" if args.repeats > 1 else ""),
        f"Hardware: {hardware(args.device)}. Versions: {versions()}.",
        "",
        "| trainer | test Dice, mean (sd over images) | validation Dice | parameters | GMACs a patch | training s "
        "| s/image |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| `{r['trainer']}`, fold {r['fold']} | {r['test']:.3f} ({r['test_sd']:.3f}) | {r['validation']:.3f} "
            f"| {r['parameters']:,} | {r['macs'] / 1e9:.3f} | {r['training_s']:.0f} | {r['s_per_image']:.2f} |"
        )
    for trainer in args.trainers:
        means = [r["test"] for r in rows if r["trainer"] == trainer]
        if len(means) > 1:
            lines.append(f"\n{trainer}: {statistics.mean(means):.3f}, sd over folds {statistics.stdev(means):.3f}")
    text = "\n".join(lines) + "\n"
    (args.work / "table.md").write_text(text)
    print("\n" + text)


if __name__ == "__main__":
    sys.exit(main())
