"""For tests of depth data sets: find the cases of a tiny copy, read their maps."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.depth import DepthCase, DepthMap, all_depth_layouts
from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.problems import Problem

NAN = float("nan")


def found(name: str, root: Path) -> dict[str, DepthCase]:
    """Cases of a layout, by name; there must be no problem."""
    problems: list[Problem] = []
    cases = all_depth_layouts()[name].cases(root, problems)
    assert problems == []
    by_name = {case.name: case for case in cases}
    assert len(by_name) == len(cases)
    return by_name


def complaints(name: str, root: Path) -> list[str]:
    """Codes of the problems that finding the cases of a layout gives."""
    problems: list[Problem] = []
    all_depth_layouts()[name].cases(root, problems)
    return [problem.code for problem in problems]


def depth(name: str, case: DepthCase) -> DepthMap:
    """The map of a case: float32, of the layout's unit, of the image's size if the layout says so.

    The case must survive the way to a worker process.
    """
    assert pickle.loads(pickle.dumps(case)) == case
    layout = all_depth_layouts()[name]
    result = case.depth.read()
    assert (result.values.dtype, result.values.ndim, result.unit) == (np.float32, 2, layout.unit)
    if layout.same_size:
        assert result.values.shape == case.image.read(Reading()).pixels.shape[:2]
    return result


def row(*values: float) -> np.ndarray:
    """(12, 16) float32 with these values at the start of each row, and the last one in the rest."""
    whole = [*values, *[values[-1]] * (16 - len(values))]
    return np.array([whole] * 12, np.float32)


def save_npy(array: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path
