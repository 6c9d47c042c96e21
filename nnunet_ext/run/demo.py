"""The demo: convert, plan, train, predict, evaluate and report, with nnU-Net's stock commands as subprocesses.

Everything is written below one output folder: `data` (the made dataset, or links to the user's files),
`nnunet` (nnU-Net's three folders), `predictions`, `overlays`, `logs` (the whole output of every command), the
page `report.html` and its numbers as CSV and JSON.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_ext.evaluation.report import write_report
from nnunet_ext.evaluation.summary import foreground_scores, read_summary
from nnunet_ext.run.commands import find_command
from nnunet_ext.run.demo_data import DemoData, check_data, find_data, split_data
from nnunet_ext.run.demo_folder import claim_folder
from nnunet_ext.run.demo_page import (
    TrainerResult,
    details,
    draw_charts,
    draw_overlays,
    per_case_table,
    results_table,
)
from nnunet_ext.run.demo_text import (
    DATASET_ID,
    DATASET_NAME,
    DEFAULT_TRAINERS,
    LEAD,
    TITLE,
    convert_command,
    demo_command,
)
from nnunet_ext.run.progress import PredictionProgress, Say, Steps, TrainingProgress, epochs_in_name
from nnunet_ext.run.workplace import NNUNET_FOLDERS, Workplace, chosen_device, training_settings

N_TRAIN, N_TEST = 30, 10
CONFIGURATION = "2d"


def run_demo(
    output: Path,
    *,
    data: Path | None = None,
    trainers: Sequence[str] = DEFAULT_TRAINERS,
    device: str | None = None,
    seed: int = 0,
    say: Say,
) -> Path:
    """Train and compare `trainers` on a small dataset and return the path of the page with the results.

    `output`: a new folder, or that of an earlier demo, whose results are replaced. `data`: the user's images and
    masks (see `nnunet_ext.run.demo_data.LAYOUTS`); without it a dataset is made with `seed`. `device`: "cpu", "cuda"
    or "mps"; by default a GPU if there is one. `say` gets each line of progress.

    Raises, before anything is changed, `ValueError` for an unknown trainer or device, `DemoDataError` if the
    user's folder does not fit and `DemoFolderError` for an output folder that no demo made; later `CommandError`
    if a command of nnU-Net fails, and `nnunet_ext.dataset_conversion.problems.ConversionError` for unusable files.
    """
    output, start = Path(output).absolute(), time.monotonic()
    data = None if data is None else Path(data).absolute()
    place = Workplace(output, chosen_device(device))
    steps = Steps(5 + 3 * len(trainers), say)
    steps.begin(f"check trainers and data; the device is {place.device}")
    _check_trainers(trainers)
    if data is not None:
        check_data(data)
    chosen = {"data": data, "trainers": list(trainers), "device": place.device, "seed": seed}
    if claim_folder(output, chosen, data):
        steps.note(f"replacing the earlier demo in {output}")
    pairs = _provide_data(steps, output / "data", data, seed)
    dataset = _convert(steps, place, pairs)
    plans = _plan(steps, place, dataset)
    results = [_train_and_test(steps, place, dataset, plans, trainer) for trainer in trainers]
    steps.begin("report")
    made_by = demo_command(place, data, trainers, seed)
    about = details(place, made_by, pairs.note, _plan_in_words(plans), results, time.monotonic() - start)
    page = _write_page(output, dataset, results, about)
    steps.note(f"done; open {page}")
    return page


def _check_trainers(trainers: Sequence[str]) -> None:
    """Fail in seconds, not after planning: find the commands, and build every network for an example plan."""
    if not trainers:
        raise ValueError("no trainers were given; name at least one, such as nnUNetTrainer_1epoch")
    find_command("nnUNetv2_train")
    from nnunet_ext.trainers.describe import describe_trainer, example_plans

    plans, dataset_json = example_plans()
    for trainer in trainers:
        describe_trainer(trainer, plans, CONFIGURATION, dataset_json)


def _provide_data(steps: Steps, folder: Path, data: Path | None, seed: int) -> DemoData:
    if data is not None:
        steps.begin(f"look at {data}")
        pairs = find_data(data, folder)
    else:
        from nnunet_ext.dataset_conversion.synthetic import write_synthetic_dataset

        steps.begin(f"make a dataset of {N_TRAIN} training and {N_TEST} test images")
        write_synthetic_dataset(folder, n_train=N_TRAIN, n_test=N_TEST, seed=seed)
        note = f"Made images (nnunet_ext.dataset_conversion.synthetic, seed {seed}); no clinical data."
        pairs = split_data(folder / "train", folder / "test", note)
    steps.note(pairs.note)
    return pairs


def _convert(steps: Steps, place: Workplace, pairs: DemoData) -> Path:
    from nnunet_ext.dataset_conversion.convert import convert

    steps.begin("convert to nnU-Net's raw format")
    place.typed.append(convert_command(pairs, place.output))
    result = convert(
        pairs.images,
        pairs.masks,
        DATASET_ID,
        DATASET_NAME,
        place.output / NNUNET_FOLDERS["nnUNet_raw"],
        mask_suffix=pairs.mask_suffix,
        test_images=pairs.test_images,
        test_masks=pairs.test_masks,
    )
    counts = f"{result.n_train} training, {result.n_test} test images, {result.image_mode}"
    for line in (f"{counts}, {result.foreground_share:.1%} foreground", *result.notes):
        steps.note(line)
    return Path(result.dataset_folder)


def _plan(steps: Steps, place: Workplace, dataset: Path) -> dict[str, Any]:
    steps.begin("plan and preprocess (nnU-Net samples 100 million intensities: about half a minute)")
    command = ["nnUNetv2_plan_and_preprocess", "-d", str(DATASET_ID), "-c", CONFIGURATION]
    place.run("plan", [*command, "--verify_dataset_integrity", "--no_pbar", "-npfp", "1", "-np", "1"])
    folder = place.output / NNUNET_FOLDERS["nnUNet_preprocessed"] / dataset.name
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    steps.note(_plan_in_words(plans))
    return plans


def _plan_in_words(plans: dict[str, Any]) -> str:
    chosen = plans["configurations"][CONFIGURATION]
    patch = " x ".join(map(str, chosen["patch_size"]))
    return f"patch {patch} pixels, batch {chosen['batch_size']}, configuration {CONFIGURATION}, fold 0 of 5"


def _train_and_test(
    steps: Steps, place: Workplace, dataset: Path, plans: dict[str, Any], trainer: str
) -> TrainerResult:
    from nnunet_ext.trainers.describe import describe_trainer

    dataset_json = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    described = describe_trainer(trainer, plans, CONFIGURATION, dataset_json)
    steps.begin(f"train {trainer} ({described['parameters']:,} parameters)")
    training = TrainingProgress(steps.note, epochs_in_name(trainer))
    command = ["nnUNetv2_train", str(DATASET_ID), CONFIGURATION, "0", "-tr", trainer, "-device", place.device]
    training_seconds = place.run(f"train_{trainer}", command, training, training_settings(place.device))
    predicting = _predict(steps, place, dataset, trainer)
    return TrainerResult(
        trainer=trainer,
        predictions=place.output / "predictions" / trainer,
        per_case=_evaluate(steps, place, dataset, trainer),
        training_seconds=training_seconds,
        seconds_per_image=predicting.seconds_per_case(),
        pseudo_dices=training.dices,
        parameters=int(described["parameters"]),
        macs=float(described["macs"]),
    )


def _predict(steps: Steps, place: Workplace, dataset: Path, trainer: str) -> PredictionProgress:
    steps.begin(f"predict the test images with {trainer}")
    progress = PredictionProgress()
    images = f"{NNUNET_FOLDERS['nnUNet_raw']}/{dataset.name}/imagesTs"
    command = ["nnUNetv2_predict", "-d", str(DATASET_ID), "-i", images, "-o", f"predictions/{trainer}"]
    command += ["-tr", trainer, "-c", CONFIGURATION, "-f", "0", "-device", place.device]
    command += ["-npp", "0", "-nps", "0", "--disable_progress_bar"]
    place.run(f"predict_{trainer}", command, progress)
    return progress


def _evaluate(steps: Steps, place: Workplace, dataset: Path, trainer: str) -> pd.DataFrame:
    steps.begin(f"evaluate {trainer}")
    folder = f"predictions/{trainer}"
    labels = f"{NNUNET_FOLDERS['nnUNet_raw']}/{dataset.name}/labelsTs"
    command = ["nnUNetv2_evaluate_folder", labels, folder, "-djfile", f"{folder}/dataset.json"]
    place.run(f"evaluate_{trainer}", [*command, "-pfile", f"{folder}/plans.json", "-np", "1"])
    per_case = read_summary(place.output / folder / "summary.json")
    steps.note(f"Dice {foreground_scores(per_case)['Dice'].mean():.3f} (mean over the test images)")
    return per_case


def _write_page(output: Path, dataset: Path, results: Sequence[TrainerResult], about: Mapping[str, Any]) -> Path:
    return write_report(
        output,
        TITLE,
        results_table(results),
        per_case_table(results),
        draw_overlays(results, dataset, output / "overlays"),
        about,
        lead=LEAD,
        charts=draw_charts(results, output / "overlays"),
    )
