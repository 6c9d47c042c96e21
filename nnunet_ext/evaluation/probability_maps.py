"""The probabilities that nnU-Net writes beside predictions with `--save_probabilities`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunet_ext.evaluation.classes import Classes
from nnunet_ext.evaluation.problems import Problem, RefusedCase

REMEDY = "predict again with --save_probabilities, or evaluate without --probabilities"


def probability_maps(path: Path, case: str, classes: Classes, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the probability of each class, `(classes, *shape)` float32.

    The file has a channel for each label (softmax; a class of several labels is their sum), or, after region-based
    training, one for each region in the order of dataset.json.

    Args:
        path: `CASE.npz` with the array `probabilities`, `(channels, *S)`.
        case: for messages.
        classes: as in dataset.json.
        shape: of the label maps.

    Raises `RefusedCase` if it is missing, something else, or of another size.
    """
    if not path.is_file():
        raise _refused("probabilities-missing", "a prediction has no probabilities beside it", f"{case}: {path.name}")
    try:
        with np.load(path) as content:
            maps = content["probabilities"]
        maps = maps.reshape(len(maps), *shape).astype(np.float32, copy=False)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as error:
        where = f"{case}: {path.name} ({type(error).__name__}: {error})"
        raise _refused("probabilities", "a file of probabilities is unreadable or of another size", where) from error
    chosen = _of_classes(maps, classes)
    if chosen is None:
        where = f"{case}: {len(maps)} channels for {len(classes.known)} labels, {len(classes.members)} classes"
        raise _refused("probabilities", "a file of probabilities has other classes", where)
    if not (chosen.min() >= 0 and chosen.max() <= 1 + 1e-3):  # False for NaN
        raise _refused("probabilities", "probabilities are not between 0 and 1", f"{case}: {path.name}")
    return np.minimum(chosen, 1, out=chosen)


def _of_classes(maps: npt.NDArray[np.float32], classes: Classes) -> npt.NDArray[np.float32] | None:
    if classes.region_based:
        return maps if len(maps) == len(classes.members) else None
    if len(maps) != len(classes.known):
        return None
    return np.stack([maps[[classes.known.index(v) for v in labels]].sum(0) for labels in classes.members.values()])


def _refused(code: str, what: str, where: str) -> RefusedCase:
    return RefusedCase(Problem(code, what, where, REMEDY))
