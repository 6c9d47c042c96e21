"""A dataset as nnU-Net preprocessed it: its plans, its cases and its folds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunet_ext.cascade.settings import TwoStageError

TRUTH = "gt_segmentations"
SPLITS = "splits_final.json"


@dataclass(frozen=True)
class Dataset:
    """A dataset in nnUNet_preprocessed.

    Attributes:
        folder: nnUNet_preprocessed/NAME.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The dataset's name, with its id."""
        return self.folder.name

    @property
    def number(self) -> int:
        """The dataset's id."""
        return int(self.name.removeprefix("Dataset").split("_")[0])

    @property
    def known_plans(self) -> str:
        """The identifiers of its plans, for messages."""
        return ", ".join(sorted(p.stem for p in self.folder.glob("*Plans*.json"))) or "none"

    def plans(self, identifier: str, remedy: str | None = None) -> dict[str, Any]:
        """Read plans.

        Args:
            identifier: of the plans.
            remedy: what to type if they are not there; None: how plans for two stages are made.

        Raises:
            TwoStageError: if there is no such file, or it holds no plans.
        """
        path = self.folder / f"{identifier}.json"
        if not path.is_file():
            remedy = remedy or f"nnunet_ext plan --two-stage -d {self.name} --plans-name {identifier}"
            raise TwoStageError(f"-p {identifier}: there is no {path}; plans there: {self.known_plans}. Type: {remedy}")
        return read_plans(path)

    def splits(self) -> list[dict[str, list[str]]] | None:
        """Read the folds; None if no training has made them yet.

        Raises:
            TwoStageError: if the file holds no folds.
        """
        path = self.folder / SPLITS
        if not path.is_file():
            return None
        splits = _read(path)
        if not isinstance(splits, list) or not all(
            isinstance(s, dict) and {"train", "val"} <= s.keys() for s in splits
        ):
            raise TwoStageError(f'{path} holds no folds of nnU-Net: [{{"train": [...], "val": [...]}}, ...]')
        return splits

    def validation_cases(self, fold: str) -> list[str]:
        """Return the cases of a fold that its training does not see, sorted.

        Raises:
            TwoStageError: if there are no folds, or not this one.
        """
        if fold == "all":
            raise TwoStageError(
                "-f all: that model was trained on all cases, so none is left to validate with. Name folds, e.g. -f 0"
            )
        splits = self.splits()
        if splits is None:
            raise TwoStageError(
                f"{self.folder / SPLITS} is not there, so it is not known which cases the folds were not trained on. "
                "nnU-Net writes it when the first fold is trained; copy it from where these models were trained."
            )
        if not fold.isdigit() or int(fold) >= len(splits):
            raise TwoStageError(_no_fold(fold, self.folder / SPLITS, len(splits)))
        return sorted(map(str, splits[int(fold)]["val"]))

    def preprocessed(self, configuration: Mapping[str, Any]) -> Path:
        """Return the folder of a resolved configuration's images."""
        return self.folder / str(configuration["data_identifier"])

    def without_image(self, configuration: Mapping[str, Any], cases: Sequence[str]) -> list[str]:
        """Return the cases that are not preprocessed, or not to the end: nnU-Net writes a case's .pkl last."""
        folder = self.preprocessed(configuration)
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        return [c for c in cases if f"{c}.pkl" not in there or not there & {f"{c}.b2nd", f"{c}.npz", f"{c}.npy"}]


def find_dataset(dataset: str) -> Dataset:
    """Find a preprocessed dataset.

    Args:
        dataset: id or name, as for nnU-Net's `-d`.

    Raises:
        TwoStageError: if nnUNet_preprocessed is not set, or has no such dataset.
    """
    folder = folder_of("nnUNet_preprocessed")
    known = ", ".join(sorted(p.name for p in folder.glob("Dataset*"))) or "none"
    unknown = f"-d {dataset}: no such dataset, or several of this id. In {folder} there are: {known}."
    try:
        name = str(maybe_convert_to_dataset_name(dataset))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise TwoStageError(unknown) from error
    if not (folder / name).is_dir():
        raise TwoStageError(f"{unknown} Type: nnUNetv2_plan_and_preprocess -d {dataset}")
    return Dataset(folder / name)


def folder_of(variable: str) -> Path:
    """Return one of nnU-Net's folders.

    Raises:
        TwoStageError: if the variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise TwoStageError(f"{variable} is not set. Type: export {variable}=/a/folder   (`nnunet_ext doctor` checks)")
    return Path(value)


def read_plans(path: Path) -> dict[str, Any]:
    """Read a plans file.

    Raises:
        TwoStageError: if it holds no plans.
    """
    plans = _read(path)
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        raise TwoStageError(f"{path} holds no plans of nnU-Net. Move it away, and plan again.")
    return plans


def _no_fold(fold: str, path: Path, count: int) -> str:
    known = " ".join(map(str, range(count)))
    return f"-f {fold}: {path} has {count} folds, so no such one. Type: -f {known}"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
