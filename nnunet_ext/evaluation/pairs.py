"""Which prediction belongs to which reference: files of the same name in two folders."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.evaluation.label_maps import ENDINGS
from nnunet_ext.evaluation.problems import EvaluationError, Problem


@dataclass(frozen=True)
class Pair:
    """A case whose two files are there."""

    case: str
    reference: Path
    prediction: Path

    @property
    def probabilities(self) -> Path:
        """Where nnU-Net writes the prediction's probabilities."""
        return self.prediction.with_name(f"{self.case}.npz")


def find_dataset_json(given: str | os.PathLike[str] | None, *folders: Path) -> dict[str, Any]:
    """Read the dataset.json that was given, or the first in `folders`; {} if there is none.

    Raises `EvaluationError` if the one given is missing, or the one found cannot be read or has no labels.
    """
    if given is not None and not Path(given).is_file():
        raise EvaluationError(f"there is no dataset.json at {given}")
    candidates = [Path(given)] if given is not None else [folder / "dataset.json" for folder in folders]
    for path in candidates:
        if path.is_file():
            return _content(path)
    return {}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content["labels"], dict):
            return dict(content)
    except (ValueError, KeyError, TypeError):
        pass
    raise EvaluationError(f"{path} is not a dataset.json of nnU-Net with `labels`: give another one with -djfile")


def file_ending(dataset: Mapping[str, Any], references: Path) -> str:
    """Return dataset.json's `file_ending`, else the one that most files in `references` have.

    Raises `EvaluationError` if no file has one that nnU-Net reads.
    """
    if dataset.get("file_ending"):
        return str(dataset["file_ending"])
    found = _endings(references)
    if not found:
        raise EvaluationError(f"{references} holds no file that ends with {', '.join(ENDINGS)}")
    return found.most_common(1)[0][0]


def pair_files(references: Path, predictions: Path, ending: str, chill: bool) -> tuple[list[Pair], list[Problem]]:
    """Pair the files of two folders by name.

    Args:
        references, predictions: folders.
        ending: of the label maps; other files are not looked at.
        chill: leave references without prediction out, as nnU-Net's flag of this name does, for the validation of
            one fold beside the references of all.

    Returns:
        The pairs by name, and what has no partner.

    Raises `EvaluationError` if one is no folder, both are the same, or a folder has no file with this ending.
    """
    if references.resolve() == predictions.resolve():
        raise EvaluationError(f"-r and -p are the same folder, {references}")
    has, predicted = (_cases(folder, ending) for folder in (references, predictions))
    pairs = [Pair(case, has[case], predicted[case]) for case in sorted(has.keys() & predicted.keys())]
    remedy = "predict these cases, too; or leave them out with --chill, as for one fold's validation"
    without = [] if chill else sorted(has.keys() - predicted.keys())
    problems = [Problem("prediction-missing", "a reference has no prediction", case, remedy) for case in without]
    remedy = f"add the reference to {references}, or remove the prediction"
    for case in sorted(predicted.keys() - has.keys()):
        problems.append(Problem("reference-missing", "a prediction has no reference", case, remedy))
    return pairs, problems


def _cases(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder")
    files = {path.name: path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    cases = {name.removesuffix(ending): path for name, path in files.items() if name.endswith(ending)}
    if not cases:
        others = ", ".join(f"{n} {kind}" for kind, n in _endings(folder).most_common(3)) or "none that nnU-Net reads"
        raise EvaluationError(f"{folder} holds no {ending} file (others: {others}). Is it the right folder?")
    return cases


def _endings(folder: Path) -> Counter[str]:
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder")
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return Counter(next(e for e in ENDINGS if name.endswith(e)) for name in names if name.endswith(ENDINGS))
