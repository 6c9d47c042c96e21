"""What the demo's page holds: the table, the pictures of test cases, the charts and how it was all made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.figures import case_figure, learning_figure
from nnunet_ext.evaluation.overlays import comparison_figure, read_picture
from nnunet_ext.evaluation.ranking import ranked_cases as spread
from nnunet_ext.evaluation.summary import foreground_scores
from nnunet_ext.machine import hardware, versions
from nnunet_ext.run.demo_text import how_to_read, next_steps
from nnunet_ext.run.progress import clock
from nnunet_ext.run.workplace import Workplace

N_OVERLAYS = 6


@dataclass(frozen=True)
class TrainerResult:
    """What one trainer gave on the test images.

    `per_case`: as `read_summary` returns it. `training_seconds`: wall time of `nnUNetv2_train`, with start-up and
    the validation of the fold. `seconds_per_image`: prediction, without start-up. `pseudo_dices`: one number per
    epoch. `macs`: multiply-accumulates of one image at the plan's patch size.
    """

    trainer: str
    predictions: Path
    per_case: pd.DataFrame
    training_seconds: float
    seconds_per_image: float
    pseudo_dices: Sequence[float]
    parameters: int
    macs: float


def results_table(results: Sequence[TrainerResult]) -> pd.DataFrame:
    """Return one row per trainer; the column names carry the units."""
    return pd.DataFrame([_table_row(result) for result in results])


def per_case_table(results: Sequence[TrainerResult]) -> pd.DataFrame:
    """Return one row per trainer, case and class: `method` (the trainer), then the columns of `read_summary`."""
    tables = [result.per_case.assign(method=result.trainer) for result in results]
    table = pd.concat(tables, ignore_index=True)
    return table[["method", *(name for name in table.columns if name != "method")]]


def ranked_cases(results: Sequence[TrainerResult], count: int = N_OVERLAYS) -> list[tuple[str, str]]:
    """Return up to `count` cases spread evenly from worst to best, each with its rank in words.

    The rank is by the mean Dice over classes and trainers. Cases whose Dice is undefined are only shown if there
    are no others.
    """
    return spread(pd.concat([foreground_scores(result.per_case) for result in results]), count)


def draw_overlays(results: Sequence[TrainerResult], dataset: Path, folder: Path) -> list[tuple[str, Path]]:
    """Draw chosen test cases of the nnU-Net dataset folder; return (caption, path), worst first."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for case, rank in ranked_cases(results):
        image = read_picture(dataset / "imagesTs" / f"{case}_0000.png")
        reference = read_picture(dataset / "labelsTs" / f"{case}.png")
        predictions = {result.trainer: read_picture(result.predictions / f"{case}.png") for result in results}
        path = folder / f"{case}.png"
        comparison_figure(image, reference, predictions).save(path)
        pictures.append((f"{case}: {rank}", path))
    return pictures


def draw_charts(results: Sequence[TrainerResult], folder: Path) -> list[tuple[str, Path]]:
    """Draw the Dice of every test case and the learning curves; return (caption, path)."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = [foreground_scores(result.per_case).assign(method=result.trainer) for result in results]
    cases, curves = folder / "chart_cases.png", folder / "chart_learning.png"
    case_figure(pd.concat(scores)).save(cases)
    learning_figure({result.trainer: result.pseudo_dices for result in results}).save(curves)
    return [
        ("Dice of every test case; a line joins the networks' results on one case", cases),
        ("Pseudo Dice while training: nnU-Net's estimate on patches of the fold's validation cases", curves),
    ]


def details(
    place: Workplace, made_by: str, data_note: str, plan: str, results: Sequence[TrainerResult], seconds: float
) -> dict[str, str | list[str]]:
    """Return what `write_report` shows as the making of the results; `made_by` is the one command of it all."""
    trainers = [result.trainer for result in results]
    return {
        "Command": made_by,
        "Data": data_note,
        "Plan": plan,
        "Hardware": hardware(place.device),
        "Versions": versions(),
        "Duration": f"{clock(seconds)} min, finished {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "How to read it": how_to_read(place.device),
        "The same step by step": place.reproduction(),
        "Next steps with your own images": next_steps(trainers),
    }


def _table_row(result: TrainerResult) -> dict[str, Any]:
    scores = foreground_scores(result.per_case)
    return {
        "trainer": result.trainer,
        "Dice, mean": scores["Dice"].mean(),
        "Dice, sd": scores["Dice"].std(ddof=1),
        "IoU, mean": scores["IoU"].mean(),
        "test cases": len(scores),
        "undefined Dice": int(result.per_case["Dice"].isna().sum()),
        "parameters": result.parameters,
        "MACs (G)": result.macs / 1e9,
        "training (s)": result.training_seconds,
        "prediction (s/image)": result.seconds_per_image,
    }
