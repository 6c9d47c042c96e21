"""For tests of data set layouts: write a tiny copy of the true layout, find its cases, read their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets import all_layouts
from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.problems import Problem


def save(pixels: np.ndarray | Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def picture(seed: int, shape: tuple[int, ...] = (12, 16, 3)) -> np.ndarray:
    """Pixels that differ from those of any other seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def found(name: str, root: Path) -> dict[str, Case]:
    """Cases of a layout, by name; there must be no problem."""
    problems: list[Problem] = []
    cases = all_layouts()[name].cases(root, problems)
    assert problems == []
    by_name = {case.name: case for case in cases}
    assert len(by_name) == len(cases)
    return by_name


def complaints(name: str, root: Path) -> list[Problem]:
    """Problems that finding the cases of a layout gives."""
    problems: list[Problem] = []
    all_layouts()[name].cases(root, problems)
    return problems


def labels(name: str, case: Case) -> np.ndarray:
    """(H, W) uint8 labels of a case, as they would be written; the image must be readable and as large."""
    problems: list[Problem] = []
    legend = all_layouts()[name].legend(problems)
    assert problems == []
    shape = case.image.read(Reading()).pixels.shape[:2]
    assert case.mask is not None
    mask = case.mask.read(legend, shape).labels
    assert (mask.shape, mask.dtype) == (shape, np.uint8)
    return mask
