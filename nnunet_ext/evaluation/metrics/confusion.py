"""Scores of whole datasets from one confusion matrix of classes.

nnU-Net averages the scores of cases; scene parsing (Cityscapes, ADE20K) sums the confusion matrices of all images first
and scores the sum. A class that occurs nowhere has the score NaN and is left out of the mean, as cityscapesScripts has
it; `Mean` counts such classes.

Rows are the reference's classes, columns the prediction's. Matrices of images are added: `sum(matrices)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_ext.evaluation.metrics.undefined import Floats, Mean, mean_of_defined, ratio

Labels = npt.NDArray[np.integer]
Matrix = npt.NDArray[np.int64]
CHUNK = 1 << 20  # pixels at a time: np.bincount needs eight bytes for each


def confusion_matrix(reference: Labels, prediction: Labels, n_classes: int, ignore: int | None = None) -> Matrix:
    """Count how often each class of the reference is predicted as each class.

    Args:
        reference: integer class map, any shape; classes 0 .. K-1, or `ignore`.
        prediction: integer class map of the same shape, classes 0 .. K-1 (any value where the reference is ignored).
        n_classes: K.
        ignore: the reference's value of pixels that do not count.

    Returns:
        (K, K) int64.

    Raises `ValueError` for maps of two shapes or not of integers, and for labels that are neither a class nor ignored.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"class maps differ in shape: {reference.shape} and {prediction.shape}")
    if any(labels.dtype.kind not in "iub" for labels in (reference, prediction)):
        raise ValueError(f"class maps must hold integers; got {reference.dtype} and {prediction.dtype}")
    rows, columns = reference.ravel(), prediction.ravel()
    matrix = np.zeros(n_classes * n_classes, np.int64)
    for start in range(0, rows.size, CHUNK):
        part = slice(start, start + CHUNK)
        matrix += _counts(rows[part], columns[part], n_classes, ignore)
    return matrix.reshape(n_classes, n_classes)


def class_iou(matrix: Matrix) -> Floats:
    """Return TP / (TP + FP + FN) of each class, (K,); NaN for a class that is in neither map."""
    hits = np.diagonal(matrix)
    return np.asarray(ratio(hits, matrix.sum(0) + matrix.sum(1) - hits))


def class_accuracy(matrix: Matrix) -> Floats:
    """Return the share of each class's pixels that are right (recall), (K,); NaN for a class not in the reference."""
    return np.asarray(ratio(np.diagonal(matrix), matrix.sum(1)))


def mean_iou(matrix: Matrix) -> Mean:
    """Average the classes' IoU; classes that occur nowhere are left out and counted."""
    return mean_of_defined(class_iou(matrix))


def mean_accuracy(matrix: Matrix) -> Mean:
    """Average the classes' accuracy; classes that the reference lacks are left out and counted."""
    return mean_of_defined(class_accuracy(matrix))


def pixel_accuracy_of_classes(matrix: Matrix) -> float:
    """Return the share of pixels whose class is right; NaN without pixels."""
    return float(ratio(np.trace(matrix), matrix.sum()))


def by_category(matrix: Matrix, categories: Sequence[int]) -> Matrix:
    """Merge classes into categories, within which errors do not count.

    Args:
        matrix: (K, K).
        categories: the category, 0 .. M-1, of each of the K classes.

    Returns:
        (M, M), with M one more than the largest category.

    Raises `ValueError` unless there is one category, 0 or more, for each class.
    """
    groups = np.asarray(categories, dtype=np.int64)
    if groups.shape != (len(matrix),) or (groups < 0).any():
        raise ValueError(f"{len(matrix)} classes need as many categories of 0 or more; got {list(categories)}")
    member = np.equal.outer(np.arange(groups.max() + 1), groups).astype(np.int64)
    return member @ matrix @ member.T


def _counts(rows: Labels, columns: Labels, n_classes: int, ignore: int | None) -> Matrix:
    if ignore is not None:
        kept = rows != ignore
        rows, columns = rows[kept], columns[kept]
    _check_labels("reference", rows, n_classes)
    _check_labels("prediction", columns, n_classes)
    return np.bincount(rows.astype(np.intp) * n_classes + columns, minlength=n_classes * n_classes)


def _check_labels(name: str, labels: npt.NDArray[Any], n_classes: int) -> None:
    if labels.size and not (labels.min() >= 0 and labels.max() < n_classes):
        unknown = np.unique(labels[(labels < 0) | (labels >= n_classes)])
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if unknown.size > 5 else "")
        raise ValueError(f"the {name} holds labels that are no class: {shown}; classes are 0 to {n_classes - 1}")
