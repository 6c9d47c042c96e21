"""`nnunet_ext cascade validate`: how Dice falls with the budget, on the cases that neither network was trained on."""

from __future__ import annotations

import multiprocessing.dummy
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from nnunetv2.configuration import default_num_processes
from nnunetv2.evaluation import evaluate_predictions as host
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from torch import Tensor

from nnunet_ext.cascade import curve_figure, curve_tables
from nnunet_ext.cascade.coarse import CoarseModel
from nnunet_ext.cascade.curve import Point, curve_predictor
from nnunet_ext.cascade.curve_plan import CurvePlan, Fold, Request, plan_curve
from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.inference.predictor import replaced
from nnunet_ext.inference.trained_model import foreground_names

TABLE = "curve.csv"
Say = Callable[[str], None]
Points = dict[float, dict[str, Point]]


def validate(request: Request, out: Path, overwrite: bool, say: Say) -> None:
    """Predict the validation cases at all budgets, and write predictions, metrics, tables and a picture.

    OUT/budget_B/ has nnU-Net's predictions and summary.json; OUT/curve.csv, cases.csv and curve.png what they say.

    Args:
        request: of the user.
        out: folder; is there as a whole, or not at all.
        overwrite: replace what an earlier call left there.
        say: takes lines for the user.

    Raises:
        TrainedModelError: if a model, or a fold of it, is not there.
        TwoStageError: if something is missing or not allowed, or `out` is there.
    """
    check_output(out, overwrite)
    plan = plan_curve(request)
    for note in plan.notes:
        say(note)
    with written_at_once(out) as folder:
        points: Points = {budget: {} for budget in plan.budgets}
        facts: Any = None
        for fold in plan.folds:
            facts = _predict_fold(plan, fold, folder, points, say)
        fine, coarse = facts
        _conclude(plan, points, folder, out, fine, coarse, say)
    say(f"wrote {out}")


def check_output(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something, unless it is this command's own and the user wants it replaced.

    Raises:
        TwoStageError: what to type.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir() or not (out / TABLE).is_file():
        raise TwoStageError(f"-o {out} is there, and no curve made it (it has no {TABLE}). Choose a new folder.")
    if not overwrite:
        raise TwoStageError(f"-o {out} has a curve already. Choose a new folder, or replace the old curve: --overwrite")


@contextmanager
def written_at_once(out: Path) -> Iterator[Path]:
    """Give a temporary folder, and let it take the place of `out` if the block ends well; else remove it."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (out.with_name(f".{out.name}.{uuid.uuid4().hex}.{kind}") for kind in ("tmp", "old"))
    temporary.mkdir()
    try:
        yield temporary
        if out.exists():
            out.rename(old)
        temporary.rename(out)
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def _predict_fold(plan: CurvePlan, fold: Fold, folder: Path, points: Points, say: Say) -> tuple[Any, Any]:
    """Predict a fold's validation cases at all budgets; return both predictors."""
    request = plan.request

    def take(point: Point, logits: Tensor) -> None:
        points[point.budget][point.case] = point
        place = folder / folder_name(point.budget)
        place.mkdir(exist_ok=True)
        export_prediction_from_logits(
            logits.cpu(), predictor.properties, predictor.configuration_manager, predictor.plans_manager,
            predictor.dataset_json, str(place / point.case), num_threads_torch=torch.get_num_threads(),
        )  # fmt: skip

    coarse = CoarseModel(fold.coarse, request.device, plan.settings.coarse_mirroring)
    predictor = curve_predictor(
        fold.fine, coarse, plan.settings, plan.budgets, take, request.mirroring, request.step_size, request.device
    )
    say(f"fold {fold.name}: {len(fold.cases)} cases; fine {fold.fine.folder}, coarse {fold.coarse.folder}")
    dataset = infer_dataset_class(str(plan.images))(str(plan.images), list(fold.cases))
    for number, case in enumerate(fold.cases, 1):
        image, _, _, properties = dataset.load_case(case)
        predictor.curve(case, torch.from_numpy(image[:].copy()), properties)
        point = points[plan.budgets[-1]][case]
        say(
            f"  {number}/{len(fold.cases)} {case}: {point.coarse_seconds:.2f} s coarse, {point.fine_seconds:.2f} s fine"
        )
    return predictor, coarse.predictor


def folder_name(budget: float) -> str:
    """Return the name of a budget's folder."""
    return f"budget_{budget:g}"


def _conclude(
    plan: CurvePlan, points: Points, folder: Path, out: Path, fine: nnUNetPredictor, coarse: nnUNetPredictor, say: Say
) -> None:
    """Evaluate, and write and say what came out."""
    labels = fine.label_manager
    keys = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    names = foreground_names(fine.dataset_json["labels"], labels.has_regions)
    classes = dict(zip(keys, names, strict=True))
    summaries = {b: _metrics(plan, folder / folder_name(b), out / folder_name(b), fine, keys) for b in plan.budgets}
    folds = {case: fold.name for fold in plan.folds for case in fold.cases}
    cases = curve_tables.cases_table(points, folds, summaries, classes, fine.dataset_json["file_ending"])
    sizes = [prod(p.configuration_manager.patch_size) for p in (coarse, fine)]
    curve = curve_tables.curve_table(cases, sizes[0] / sizes[1])
    cases.to_csv(folder / "cases.csv", index=False, float_format="%.6g")
    curve.to_csv(folder / TABLE, index=False, float_format="%.6g")
    title = f"{plan.dataset.name}: {len(folds)} cases, fold {', '.join(f.name for f in plan.folds)}"
    curve_figure.draw(folder / "curve.png", curve, cases, f"{title}, windows by {plan.settings.criterion}")
    for line in curve_tables.lines_of(curve):
        say(line)
    for line in curve_tables.warnings_of(cases, curve, summaries[0.0], classes):
        say(line)


def _metrics(plan: CurvePlan, folder: Path, final: Path, fine: nnUNetPredictor, keys: Any) -> dict[str, Any]:
    """Let nnU-Net evaluate a folder, and write its summary.json with the names that the files will have.

    In threads: a pool of processes would take longer to start than most folders to evaluate, once for each budget.
    """
    labels, ending = fine.label_manager, fine.dataset_json["file_ending"]
    with replaced(host, "multiprocessing", SimpleNamespace(get_context=lambda _: multiprocessing.dummy)):
        result: dict[str, Any] = host.compute_metrics_on_folder(
            str(plan.truth), str(folder), None, fine.plans_manager.image_reader_writer_class(), ending, keys,
            labels.ignore_label, default_num_processes, chill=True,
        )  # fmt: skip
    for entry in result["metric_per_case"]:
        entry["prediction_file"] = str(final.absolute() / Path(entry["prediction_file"]).name)
    host.save_summary_json(result, str(folder / "summary.json"))
    return result
