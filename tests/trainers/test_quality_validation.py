"""Validation of lifted trainers: nnU-Net's results, and each case's quality beside them."""

import csv
import json
from pathlib import Path

from nnunet_ext.trainers.base import nnUNetTrainerExt

SL = "nnUNetTrainerSLUNet_5L1Res_1epochs_1iters"


def test_validation_is_nnunets_with_a_quality_for_each_case(make_trainer):
    trainer = make_trainer(SL, n_cases=10)
    trainer.run_training()
    folder = Path(trainer.output_folder, "validation")
    trainer.perform_actual_validation()
    with_quality = json.loads((folder / "summary.json").read_text())
    with open(folder / "quality.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    _, cases = trainer.do_split()
    assert len(cases) == 2
    assert [(r["case"], r["class"]) for r in rows] == [(c, k) for c in sorted(cases) for k in ("all", "a", "b")]
    assert all(0 <= float(r["quality"]) <= 1 for r in rows)
    (folder / "quality.csv").unlink()
    nnUNetTrainerExt.perform_actual_validation(trainer)
    assert json.loads((folder / "summary.json").read_text()) == with_quality
    assert not (folder / "quality.csv").exists()
