"""Do quality scores tell the true Dice? For the lifted models that `benchmarks/equal_budget.py` trained in a folder.

    python benchmarks/quality_correlation.py --work WORK [--device cpu]

For each fold: validation again with scores (`nnUNetv2_train ... --val`), the test images with `nnunet_ext predict`, and
`nnUNetv2_evaluate_folder`. Then the correlation of quality and Dice over validation and test cases, with bootstrap
intervals over cases, and the mean Dice of the quarter of cases with the lowest quality beside that of the rest. WORK
keeps everything, and what is there is not done again. The last checkpoint is used: nothing was selected on the
validation cases.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

import pandas as pd

from nnunet_ext.environment import plugin_folder
from nnunet_ext.evaluation.quality import Estimate, correlate, join_scores, read_quality
from nnunet_ext.evaluation.summary import foreground_scores, read_summary
from nnunet_ext.machine import hardware, versions
from nnunet_ext.run.commands import as_typed, run_command
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.spatial_lifting import SpatialLiftingTrainer


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True, help="folder of equal_budget.py")
    p.add_argument("--device", default="cuda", choices=("cuda", "cpu", "mps"))
    args = p.parse_args()
    work = args.work.absolute()
    models = sorted(work.glob("nnunet/results/*/*/fold_*/checkpoint_final.pth"))
    found = {}
    for checkpoint in models:
        trainer, _, configuration = checkpoint.parent.parent.name.split("__")
        if trainer.startswith("nnUNetTrainer_") or not issubclass(resolve(trainer), SpatialLiftingTrainer):
            continue
        fold = checkpoint.parent.name.removeprefix("fold_")
        tables = scores(work, checkpoint.parent, trainer, configuration, fold, args.device)
        found.update({(trainer, fold, split): table for split, table in tables.items()})
    if not found:
        print(f"no lifted models in {work}; train some with benchmarks/equal_budget.py")
        return 1
    report(work, found, args.device)
    return 0


def scores(
    work: Path, model: Path, trainer: str, configuration: str, fold: str, device: str
) -> dict[str, pd.DataFrame]:
    """Quality and Dice of the validation and the test cases."""
    dataset = model.parent.parent.name
    raw, out = f"nnunet/raw/{dataset}", f"quality/{trainer}_fold{fold}"
    number = dataset.removeprefix("Dataset").split("_")[0]
    if not (model / "validation" / "quality.csv").is_file():
        train = ["nnUNetv2_train", number, configuration, fold, "-tr", trainer, "-device", device, "--val"]
        run(work, f"quality_val_{trainer}_{fold}", train)
    if not (work / out / "summary.json").is_file():
        predict = [
            "nnunet_ext",
            "predict",
            "-d",
            number,
            "-c",
            configuration,
            "-tr",
            trainer,
            "-f",
            fold,
            "-device",
            device,
        ]
        run(work, f"quality_{trainer}_{fold}", [*predict, "-i", f"{raw}/imagesTs", "-o", out, "-npp", "0", "-nps", "0"])
        evaluate = ["nnUNetv2_evaluate_folder", f"{raw}/labelsTs", out, "-djfile", f"{out}/dataset.json"]
        run(work, f"quality_evaluate_{trainer}_{fold}", [*evaluate, "-pfile", f"{out}/plans.json", "-np", "1"])
    folders = {"validation": model / "validation", "test": work / out}
    return {
        split: join_scores(read_quality(f / "quality.csv"), foreground_scores(read_summary(f / "summary.json")))
        for split, f in folders.items()
    }


def run(work: Path, log: str, command: list[str]) -> None:
    environment = {
        **{f"nnUNet_{k}": str(work / "nnunet" / k) for k in ("raw", "preprocessed", "results")},
        "nnUNet_extTrainer": str(plugin_folder()),
        "nnUNet_def_n_proc": str(min(4, os.cpu_count() or 1)),
        "nnUNet_n_proc_DA": "0",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    print(f"$ {as_typed(command, {})}", flush=True)
    run_command(command, environment=environment, log=work / "logs" / f"{log}.txt", folder=work)


def report(work: Path, found: dict[tuple[str, str, str], pd.DataFrame], device: str) -> None:
    lines = [
        f"{work.name}. Hardware: {hardware(device)}. Versions: {versions()}.",
        "",
        "| trainer | fold | cases | n | Pearson (95 %) | Spearman (95 %) | mean quality | mean Dice "
        "| Dice of the worst quarter by quality | Dice of the rest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (trainer, fold, split), table in found.items():
        c, ranked = correlate(table), table.sort_values("quality")["Dice"]
        quarter = max(1, len(ranked) // 4)
        lines.append(
            f"| `{trainer}` | {fold} | {split} | {c.n} | {shown(c.pearson)} | {shown(c.spearman)} "
            f"| {table['quality'].mean():.3f} | {table['Dice'].mean():.3f} "
            f"| {ranked.iloc[:quarter].mean():.3f} | {ranked.iloc[quarter:].mean():.3f} |"
        )
    text = "\n".join(lines) + "\n"
    (work / "quality_table.md").write_text(text)
    print("\n" + text)


def shown(e: Estimate) -> str:
    return f"{e.value:.2f} (no interval)" if math.isnan(e.low) else f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
