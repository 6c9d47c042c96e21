"""Metrics that follow from the counts in nnU-Net's summary.json: no image is read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_ext.evaluation.averages import COUNTS
from nnunet_ext.evaluation.choosing import chosen_metrics
from nnunet_ext.evaluation.classes import classes_of
from nnunet_ext.evaluation.evaluation_files import Evaluation
from nnunet_ext.evaluation.pairs import find_dataset_json
from nnunet_ext.evaluation.summarising import About, summarised
from nnunet_ext.evaluation.summary import SummaryError, read_summary


def evaluate_summary(
    path: str | os.PathLike[str],
    *,
    dataset_json: str | os.PathLike[str] | None = None,
    metrics: Sequence[str] = ("counts",),
    cases: str | os.PathLike[str] | None = None,
    by: Sequence[str] = (),
) -> Evaluation:
    """Score the cases of a summary.json that nnU-Net's validation or `nnUNetv2_evaluate_folder` wrote.

    Args:
        path: the file.
        dataset_json: names of the classes; None for the file beside it, or of the trained model that it belongs to.
            Without any, classes are called as nnU-Net calls them.
        metrics: as for `evaluate_folders`; those that need images are refused.
        cases, by: as for `evaluate_folders`; `by` needs `cases` here.

    Returns:
        As `evaluate_folders`, without a confusion.

    Raises `SummaryError` for no or another file and for impossible counts, `EvaluationError` for metrics that need
    images.
    """
    names = chosen_metrics(metrics, images=False)
    path = Path(path)
    try:
        rows = read_summary(path)
    except FileNotFoundError as error:
        raise SummaryError(str(error)) from None
    if (rows[COUNTS] < 0).any(axis=None) or rows.duplicated(["case", "label"]).any():
        raise SummaryError(f"{path} has negative counts, or a case twice. Write it anew with nnUNetv2_evaluate_folder.")
    called = _called(find_dataset_json(dataset_json, path.parent, path.parent.parent.parent))
    rows["class"] = [called.get(label, label) for label in rows["label"]]
    about = About({"summary": str(path)}, rows["case"].nunique(), "px", None, ())
    if by and cases is None:
        raise SummaryError(f"--by {' '.join(by)} needs --cases cases.csv, which `nnunet_ext convert` wrote")
    return summarised(rows[["case", "label", "class", *COUNTS]], names, None, about, cases, by)


def _called(dataset: Mapping[str, object]) -> dict[str, str]:
    """Return nnU-Net's key of each class -> its name."""
    labels = dataset.get("labels")
    return {key: name for name, key in classes_of(labels).keys.items()} if isinstance(labels, dict) else {}
