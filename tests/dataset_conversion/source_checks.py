"""For tests of sources: small pictures and masks, and what a source finds or complains about."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.legend import legend_from_flags

SIZE = (12, 16)  # H, W
BINARY = legend_from_flags(None, None, None, [])


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(SIZE, value, np.uint8)).save(path)
    return path


def mask(path: Path, rows: slice = slice(0, 3)) -> Path:
    marked = np.zeros(SIZE, np.uint8)
    marked[rows] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(marked).save(path)
    return path


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


def found(source, notes=None) -> dict:
    problems = []
    cases = source.cases(problems, Counter() if notes is None else notes)
    assert problems == []
    return {case.name: case for case in cases}


def pairs(source, root: Path) -> dict[str, tuple[str, str | None]]:
    """``{case: (image, mask)}`` as paths below ``root``."""

    def below(path: Path) -> str:
        return path.resolve().relative_to(root.resolve()).as_posix()

    return {
        name: (below(case.image.files[0]), case.mask and below(case.mask.files[0]))
        for name, case in found(source).items()
    }


def complaints(source) -> list[tuple[str, str]]:
    problems = []
    source.cases(problems, Counter())
    assert all(problem.remedy and not problem.is_warning for problem in problems)
    return [(problem.code, problem.where) for problem in problems]


def complaint(source) -> str:
    ((code, where),) = complaints(source)
    return f"{code}: {where}"


def labels(case) -> np.ndarray:
    return case.mask.read(BINARY, SIZE).labels
