"""One case: its two label maps read, compared and scored. Runs in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunet_ext.evaluation.class_scores import class_scores
from nnunet_ext.evaluation.classes import Classes
from nnunet_ext.evaluation.label_maps import LabelMap, read_label_map
from nnunet_ext.evaluation.metrics.registry import METRICS
from nnunet_ext.evaluation.pairs import Pair
from nnunet_ext.evaluation.probability_maps import probability_maps
from nnunet_ext.evaluation.problems import Problem, RefusedCase

AT_A_TIME = 1 << 20  # pixels
FEW_LABELS = 256
SAME_SPACING = 0.01  # relative; headers are rounded


@dataclass(frozen=True)
class Rules:
    """How every case is scored.

    Attributes:
        classes: what is scored.
        reader: nnU-Net's reader class of the files.
        metrics: names that need more than counts, as in `METRICS`.
        spacing: size of a pixel along each axis; None for the file's own.
        probabilities: whether the `.npz` beside each prediction is read.
    """

    classes: Classes
    reader: type
    metrics: tuple[str, ...]
    spacing: tuple[float, ...] | None = None
    probabilities: bool = False


@dataclass(frozen=True)
class CaseScores:
    """What one case adds.

    Attributes:
        case: its name.
        counts: `(classes, 4)` int64: TP, FP, FN, TN.
        confusion: `(labels, labels)` int64: rows the reference's labels, columns the prediction's.
        scores: `(classes, metrics)` float64, in the order of `Rules.metrics`.
        diagonal: of the image, in the unit of its spacing.
        problem: why there is none of this, or None.
    """

    case: str
    counts: npt.NDArray[np.int64]
    confusion: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    diagonal: float
    problem: Problem | None = None


def score_case(rules: Rules, pair: Pair) -> CaseScores:
    """Score one case; what is wrong with its files comes back as `problem`."""
    try:
        return _score(rules, pair)
    except RefusedCase as refusal:
        nothing = np.zeros((0, 0), np.int64)
        return CaseScores(pair.case, nothing, nothing, np.zeros((0, 0)), 0.0, refusal.problem)


def labels_in(reader: type, pair: Pair) -> tuple[int, ...]:
    """Return the labels of a case's reference; none if it cannot be read, which scoring will say."""
    try:
        labels = read_label_map(pair.reference, reader, pair.case).labels
        return tuple(np.flatnonzero(np.bincount(labels.ravel())).tolist())
    except RefusedCase:
        return ()


def _score(rules: Rules, pair: Pair) -> CaseScores:
    reference, prediction = (
        read_label_map(path, rules.reader, pair.case) for path in (pair.reference, pair.prediction)
    )
    _check_geometry(rules, pair.case, reference, prediction)
    classes = rules.classes
    confusion = _confusion(classes, pair.case, reference.labels, prediction.labels)
    spacing = rules.spacing or reference.spacing
    diagonal = float(np.linalg.norm(np.multiply(reference.labels.shape, spacing)))
    counts = counts_of_classes(classes, confusion)
    scores = np.zeros((len(counts), 0))
    if rules.metrics:
        scores = _scores(rules, pair, reference.labels, prediction.labels, spacing)
    return CaseScores(pair.case, counts, confusion, scores, diagonal)


def counts_of_classes(classes: Classes, confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return TP, FP, FN, TN of each class or region, `(classes, 4)`, of a confusion of labels."""
    member = classes.member_table()
    tp = np.einsum("cr,rp,cp->c", member, confusion, member)
    fn, fp = member @ confusion.sum(1) - tp, member @ confusion.sum(0) - tp
    return np.stack([tp, fp, fn, confusion.sum() - tp - fp - fn], axis=1)


def _check_geometry(rules: Rules, case: str, reference: LabelMap, prediction: LabelMap) -> None:
    shapes = reference.labels.shape, prediction.labels.shape
    if shapes[0] != shapes[1]:
        where = f"{case}: {_size(shapes[0])} and {_size(shapes[1])}"
        remedy = "predict the images that these references were drawn on, at their own size"
        raise RefusedCase(Problem("size", "reference and prediction differ in size", where, remedy))
    if rules.spacing is None and not np.allclose(reference.spacing, prediction.spacing, rtol=SAME_SPACING):
        where = f"{case}: {reference.spacing} and {prediction.spacing}"
        remedy = "mend the headers of the files, or give --spacing for all"
        raise RefusedCase(Problem("spacing", "reference and prediction differ in spacing", where, remedy))
    if rules.spacing is not None and len(rules.spacing) != len(shapes[0]):
        where = f"{case}: {len(shapes[0])} axes, --spacing has {len(rules.spacing)}"
        raise RefusedCase(Problem("axes", "--spacing does not fit", where, "give --spacing a number for each axis"))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _confusion(
    classes: Classes, case: str, reference: npt.NDArray[np.int32], prediction: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Count pairs of labels outside of ignored pixels, `(labels, labels)`.

    Raises `RefusedCase` for labels that no class has: anywhere in the reference, where it counts in the prediction.
    """
    k = len(classes.known)  # k: the place of what is ignored; k + 1: of labels that no class has
    size = int(max(reference.max(initial=0), prediction.max(initial=0), *classes.known)) + 1
    column = np.full(size, k + 1, np.int32)
    column[list(classes.known)] = np.arange(k)
    row = column.copy()
    if classes.ignore is not None and classes.ignore < size:
        row[classes.ignore] = k
    pairs = np.zeros((k + 2, k + 2), np.int64)
    if size <= FEW_LABELS:  # count labels as they are, then look up what each one is
        table = _joint(reference, prediction, size)
        np.add.at(pairs, (row[:, None], column[None, :]), table)
    else:
        for rows, columns in zip(_parts(reference), _parts(prediction), strict=True):
            pairs += _joint(row[rows], column[columns], k + 2)
    for unknown, file in ((pairs[k + 1].any(), reference), (pairs[:k, k + 1].any(), prediction)):
        if unknown:
            raise RefusedCase(_unknown(classes, case, file, "reference" if file is reference else "prediction"))
    return pairs[:k, :k]


def _joint(rows: npt.NDArray[np.int32], columns: npt.NDArray[np.int32], size: int) -> npt.NDArray[np.int64]:
    """Return how often each pair of numbers below `size` occurs, `(size, size)`."""
    table = np.zeros(size * size, np.int64)
    for first, second in zip(_parts(rows), _parts(columns), strict=True):
        table += np.bincount(first * np.int32(size) + second, minlength=len(table))
    return table.reshape(size, size)


def _parts(labels: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.int32]]:
    """Yield the pixels in parts: counting them needs eight bytes for each."""
    flat = labels.ravel()
    return (flat[start : start + AT_A_TIME] for start in range(0, flat.size, AT_A_TIME))


def _unknown(classes: Classes, case: str, labels: npt.NDArray[np.int32], name: str) -> Problem:
    allowed = {*classes.known, *([classes.ignore] if name == "reference" else [])}
    found = [label for label in np.unique(labels).tolist() if label not in allowed]
    ignored = "" if classes.ignore is None else f", and in references {classes.ignore}, which is ignored"
    remedy = (
        f"known are {_shown(classes.known)}{ignored}: mend the files, or say what the labels are with -djfile, "
        "or with --labels and --ignore"
    )
    return Problem("labels", f"a {name} holds labels that no class has", f"{case}: {_shown(found)}", remedy)


def _shown(labels: Sequence[int]) -> str:
    return ", ".join(map(str, labels[:12])) + (", ..." if len(labels) > 12 else "")


def _scores(
    rules: Rules,
    pair: Pair,
    reference: npt.NDArray[np.int32],
    prediction: npt.NDArray[np.int32],
    spacing: tuple[float, ...],
) -> npt.NDArray[np.float64]:
    """Return what needs more than counts, `(classes, metrics)`; ignored pixels are background everywhere."""
    classes = rules.classes
    _check_axes(rules, pair.case, reference.ndim)
    counted = None if classes.ignore is None else reference != classes.ignore
    maps = probability_maps(pair.probabilities, pair.case, classes, reference.shape) if rules.probabilities else None
    if maps is not None and counted is not None:
        maps *= counted
    found = []
    for index, labels in enumerate(classes.members.values()):
        masks = _mask(labels, reference, counted), _mask(labels, prediction, counted)
        found.append(class_scores(rules.metrics, *masks, spacing, None if maps is None else maps[index]))
    return np.array(found, np.float64)


def _check_axes(rules: Rules, case: str, axes: int) -> None:
    others = [name for name in rules.metrics if METRICS[name].dims not in (None, axes)]
    if others:
        remedy = f"leave {', '.join(others)} out of --metrics"
        raise RefusedCase(Problem("axes", "a metric is not defined for such images", f"{case}: {axes} axes", remedy))


def _mask(
    labels: tuple[int, ...], file: npt.NDArray[np.int32], counted: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_]:
    mask = file == labels[0] if len(labels) == 1 else np.isin(file, labels)
    return mask if counted is None else mask & counted
