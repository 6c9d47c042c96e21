"""Folders as nnU-Net leaves them after trainings, made in a moment: summaries, logs, manifests, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DATASET = "Dataset901_Made"
SIDE = 24
LOG = """
2026-01-01 10:00:00.000000: Using splits
2026-01-01 10:00:00.000000: Epoch {epoch}
2026-01-01 10:00:00.000000: Current learning rate: 0.01
2026-01-01 10:00:07.000000: train_loss -0.1
2026-01-01 10:00:07.000000: Pseudo dice [np.float32({dice}), np.float64({dice})]
2026-01-01 10:00:07.000000: Epoch time: {seconds} s
"""
VALIDATION = """2026-01-01 10:01:00.000000: predicting a
2026-01-01 10:01:02.000000: a, shape torch.Size([1, 1, 24, 24]), rank 0
2026-01-01 10:01:04.500000: predicting b
2026-01-01 10:01:10.000000: Validation complete
2026-01-01 10:01:10.000000: Mean Validation Dice:  0.7
"""


def entry(case: str, counts: dict[str, tuple[int, int, int]], n: int = SIDE * SIDE) -> dict[str, Any]:
    """A case of summary.json; `counts`: TP, FP and FN by label."""
    metrics = {}
    for label, (tp, fp, fn) in counts.items():
        union = tp + fp + fn
        metrics[label] = {
            "Dice": 2 * tp / (tp + union) if union else float("nan"),
            "IoU": tp / union if union else float("nan"),
            "TP": tp, "FP": fp, "FN": fn, "TN": n - union, "n_pred": tp + fp, "n_ref": tp + fn,
        }  # fmt: skip
    return {"metrics": metrics, "prediction_file": f"/p/{case}.png", "reference_file": f"/r/{case}.png"}


def write_fold(
    results: Path, trainer: str, fold: Any, cases: dict[str, Any], *, configuration: str = "2d", epochs: int = 2,
    seconds: float = 3.0, manifest: dict[str, Any] | None = None, quality: dict[str, float] | None = None,
) -> Path:  # fmt: skip
    """Write a validated fold and return its folder; `cases`: TP, FP, FN of one class, or of each label, by case."""
    model = results / DATASET / f"{trainer}__nnUNetPlans__{configuration}"
    folder = model / f"fold_{fold}"
    (folder / "validation").mkdir(parents=True)
    entries = [entry(case, c if isinstance(c, dict) else {"1": c}) for case, c in cases.items()]
    (folder / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": entries}))
    logs = [LOG.format(epoch=i, dice=0.1 * (i + 1), seconds=seconds) for i in range(epochs)]
    (folder / "training_log_2026_1_1_10_00_00.txt").write_text("".join(logs) + VALIDATION)
    (folder / "checkpoint_final.pth").touch()
    if manifest is not None:
        (folder / "nnunet_ext_manifest.json").write_text(json.dumps(manifest))
    if quality is not None:
        rows = "".join(f"{case},all,{q},9,\n" for case, q in quality.items())
        (folder / "validation" / "quality.csv").write_text(f"case,class,quality,voxels,review\n{rows}")
    return folder


def write_pictures(raw: Path, results: Path, trainers: list[str], folds: dict[int, list[str]]) -> None:
    """Write images, labels and predictions: a square, which each trainer finds a little further to the right."""
    dataset = raw / DATASET
    for name in ("imagesTr", "labelsTr"):
        (dataset / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    reference = np.zeros((SIDE, SIDE), np.uint8)
    reference[6:14, 6:14] = 1
    for fold, cases in folds.items():
        for case in cases:
            image = rng.integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
            Image.fromarray(image).save(dataset / "imagesTr" / f"{case}_0000.png")
            Image.fromarray(reference).save(dataset / "labelsTr" / f"{case}.png")
            for shift, trainer in enumerate(trainers):
                folder = results / DATASET / f"{trainer}__nnUNetPlans__2d" / f"fold_{fold}" / "validation"
                Image.fromarray(np.roll(reference, shift, axis=1)).save(folder / f"{case}.png")
    content = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "cell": 1},
        "numTraining": sum(map(len, folds.values())),
        "file_ending": ".png",
    }
    (dataset / "dataset.json").write_text(json.dumps(content))
