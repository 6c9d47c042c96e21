"""Cityscapes' iIoU: IoU of a class in which every instance weighs the same, however large it is.

    iIoU = iTP / (iTP + FP + iFN)

iTP and iFN count the reference's pixels of the class, each weighted by the class's mean instance size / the size of its
instance. Predictions have no instances, so FP are plain pixels of the confusion matrix. Only classes with a mean size
are scored; pixels of such a class outside any instance (groups) count in neither iTP nor iFN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nnunet_ext.evaluation.metrics.confusion import Labels, Matrix
from nnunet_ext.evaluation.metrics.undefined import ratio

Weighted = npt.NDArray[np.float64]


def instance_counts(
    reference: Labels,
    prediction: Labels,
    instances: Labels,
    mean_sizes: Mapping[int, float],
    categories: Sequence[int] | None = None,
) -> Weighted:
    """Sum the weighted true positives and false negatives of each class over the instances of an image.

    Args:
        reference, prediction: integer class maps of one shape.
        instances: the same shape; a number for each instance, 0 for none. For Cityscapes: ids below 1000 set to 0.
        mean_sizes: pixels of a mean instance, for each class that is scored.
        categories: of each of the K classes, where a class of the same category is right, too (category iIoU).

    Returns:
        (len(mean_sizes), 2): iTP and iFN in the order of `mean_sizes`. The results of images are added.

    Raises `ValueError` for maps of different shapes, and for an instance that has more than one class.
    """
    if not reference.shape == prediction.shape == instances.shape:
        raise ValueError(f"maps differ in shape: {reference.shape}, {prediction.shape} and {instances.shape}")
    inside = instances > 0
    truth, predicted = reference[inside], prediction[inside]
    ids, first, which = np.unique(instances[inside], return_index=True, return_inverse=True)
    classes = truth[first]
    if (classes[which] != truth).any():
        mixed = ids[np.unique(which[classes[which] != truth])]
        raise ValueError(f"instances of more than one class: {', '.join(map(str, mixed[:5]))}")
    right = _mapped(predicted, categories) == _mapped(truth, categories)
    sizes = np.bincount(which, minlength=ids.size)
    hits = np.bincount(which[right], minlength=ids.size)
    weights = np.asarray([mean_sizes.get(int(k), 0.0) for k in classes]) / sizes
    return np.asarray(
        [[(weights * n)[classes == k].sum() for n in (hits, sizes - hits)] for k in mean_sizes], dtype=np.float64
    )


def instance_iou(counts: Weighted, matrix: Matrix, classes: list[int]) -> Weighted:
    """Return the iIoU of each class.

    Args:
        counts: summed `instance_counts`, (n, 2).
        matrix: the summed confusion matrix of the same images.
        classes: the class (or category, with its merged matrix and counts) of each row of `counts`.

    Returns:
        (n,); NaN for a class without instances that is nowhere predicted.
    """
    false_positives = matrix.sum(0)[classes] - np.diagonal(matrix)[classes]
    return np.asarray(ratio(counts[:, 0], counts.sum(1) + false_positives))


def _mapped(labels: Labels, categories: Sequence[int] | None) -> Labels:
    """Return the categories of labels; ignored values, beyond all classes, stay apart as -1."""
    if categories is None:
        return labels
    table = np.append(np.asarray(categories, np.int64), -1)
    return table[np.minimum(labels, len(categories))]
