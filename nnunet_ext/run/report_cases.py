"""Pictures of a report's worst, median and best cases: image, reference, and the predictions of up to four trainers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_ext.evaluation.case_scores import case_scores, higher_is_better
from nnunet_ext.evaluation.collect import Run
from nnunet_ext.evaluation.html_parts import Picture
from nnunet_ext.evaluation.overlays import comparison_figure
from nnunet_ext.evaluation.ranking import ranked_cases
from nnunet_ext.run.progress import Say

N_CASES = 5  # worst, median, best, and one between each
MOST_TRAINERS = 4


@dataclass(frozen=True)
class CaseFiles:
    """Where the cases of a dataset are, and how they are read.

    Attributes:
        files: by case, `images` (one path a channel) and `label`.
        ending: of predictions.
        ignore: the ignore label; None without.
        reader: of nnU-Net.
    """

    files: Mapping[str, Mapping[str, Any]]
    ending: str
    ignore: int | None
    reader: Any


def draw_cases(
    runs: Sequence[Run], table: pd.DataFrame, metric: str, baseline: str, raw: Path | None, say: Say
) -> tuple[list[Picture], list[str]]:
    """Draw cases spread from worst to best.

    Args:
        runs: that are compared.
        table: as from `long_table.long_table`, with the metric.
        metric: that ranks the cases.
        baseline: whose prediction is always shown.
        raw: nnUNet_raw; None if it is not set.
        say: takes a line for each picture.

    Returns:
        Captions and pictures, worst first; and a line for each thing that is missing for more of them.
    """
    dataset = runs[0].model.folder.parent.name
    if raw is None or not (raw / dataset / "dataset.json").is_file():
        where = "nnUNet_raw is not set" if raw is None else f"{raw / dataset} is not there"
        return [], [f"No pictures of cases: {where}."]
    found = _case_files(raw / dataset)
    scores = case_scores(table, metric)
    shown = _shown_trainers(scores, baseline, not higher_is_better(metric))
    pictures: list[Picture] = []
    missing: list[str] = []
    chosen = ranked_cases(
        scores.rename(columns={"score": metric}), N_CASES, metric, higher_is_better(metric)
    )  # fmt: skip
    for case, rank in chosen:
        say(f"drawing {case} ({rank})")
        try:
            pictures.append(_draw(case, rank, runs, shown, scores, metric, found))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            missing.append(f"No picture of {case}: {lines[0][:300]}")
    return pictures, missing


def _case_files(folder: Path) -> CaseFiles:
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    files = get_filenames_of_train_images_and_targets(str(folder), content)
    example = next(iter(files.values()))["images"][0]
    reader = determine_reader_writer_from_dataset_json(content, example, verbose=False)()
    return CaseFiles(files, content["file_ending"], content["labels"].get("ignore"), reader)


def _shown_trainers(scores: pd.DataFrame, baseline: str, ascending: bool) -> list[str]:
    """Return the baseline and the best others (`ascending`: those with least), in the order of the tables."""
    means = scores.groupby("trainer", sort=False)["score"].mean().drop(baseline)
    best = means.sort_values(ascending=ascending).index[: MOST_TRAINERS - 1]
    return [name for name in dict.fromkeys(scores["trainer"]) if name == baseline or name in best]


def _draw(
    case: str,
    rank: str,
    runs: Sequence[Run],
    shown: Sequence[str],
    scores: pd.DataFrame,
    metric: str,
    found: CaseFiles,
) -> tuple[str, Any]:
    entry = found.files[case]
    image, _ = found.reader.read_images(entry["images"])
    reference = _labels(found, Path(entry["label"]))
    own = {run.name: run for run in runs if run.repeat == 0 and case in run.cases}
    predictions = {name: _labels(found, own[name].validation / f"{case}{found.ending}") for name in shown}
    if found.ignore is not None:
        for prediction in predictions.values():
            prediction[reference == found.ignore] = 0
        reference[reference == found.ignore] = 0
    place = _best_slice(reference, list(predictions.values()))
    of_case = scores[(scores["case"] == case) & (scores["repeat"] == 0)].set_index("trainer")["score"]
    captions = {name: f"{metric} {of_case[name]:.3f}" for name in shown}
    where = f", slice {place} of {len(reference)}, scores of the volume" if len(reference) > 1 else ""
    picture = comparison_figure(
        _display(image[:, place]), reference[place], {n: p[place] for n, p in predictions.items()}, captions
    )
    return f"{case}: {rank}{where}", picture


def _labels(found: CaseFiles, path: Path) -> np.ndarray:
    """Read a label map as (Z, H, W)."""
    if not path.is_file():
        raise OSError(f"{path} is not there; nnUNetv2_train ... --val writes predictions again")
    labels, _ = found.reader.read_seg(str(path))
    return np.asarray(labels[0]).astype(np.int64)


def _best_slice(reference: np.ndarray, predictions: Sequence[np.ndarray]) -> int:
    """Return the slice with most foreground of the reference, else of predictions, else the middle one."""
    for maps in ([reference], predictions):
        area = sum((labels > 0).sum(axis=(1, 2)) for labels in maps)
        if np.any(area):
            return int(np.argmax(area))
    return len(reference) // 2


def _display(image: np.ndarray) -> np.ndarray:
    """Return (C, H, W) for `comparison_figure`: colour of three channels, else the first; 8-bit values as they are."""
    shown = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
    eight_bit = shown.min() >= 0 and shown.max() <= 255 and shown.max() > 1 and not np.mod(shown, 1).any()
    return shown.astype(np.uint8) if eight_bit else shown
