"""Finding and loading what a training left, with messages that say what is there instead."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.file_path_utilities import get_output_folder
from torch import nn

DEFAULT_PLANS = "nnUNetPlans"
DEFAULT_CHECKPOINT = "checkpoint_final.pth"


class TrainedModelError(RuntimeError):
    """A trained model is not where it was looked for, or cannot be loaded; the message says what to type."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model on disk.

    Attributes:
        folder: nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION.
        folds: names of the folds, each "all" or a number.
        checkpoint: file name of the checkpoint in each fold.
    """

    folder: Path
    folds: tuple[str, ...]
    checkpoint: str

    @property
    def dataset(self) -> str:
        """The dataset's name, with its id."""
        return self.folder.parent.name

    @property
    def trainer(self) -> str:
        """The trainer that the folder is named after."""
        return self.folder.name.split("__")[0]

    def predictor(self, device: torch.device | str | None = None) -> nnUNetPredictor:
        """Load all folds into nnU-Net's predictor; its network holds the first fold's weights, in evaluation mode.

        Args:
            device: cpu, cuda or mps; None: a GPU if there is one.

        Raises:
            TrainedModelError: if the device is not there or a checkpoint cannot be loaded.
        """
        chosen = _device(device)
        with contextlib.redirect_stdout(io.StringIO()) as said:  # nnU-Net prints where it looks for trainers
            try:
                predictor = nnUNetPredictor(
                    device=chosen, perform_everything_on_device=chosen.type == "cuda", allow_tqdm=False
                )
                predictor.initialize_from_trained_model_folder(str(self.folder), self.folds, self.checkpoint)
            except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
                raise TrainedModelError(self._not_loaded(error, said.getvalue())) from error
        bare_network(predictor).to(chosen).eval()
        return predictor

    def _not_loaded(self, error: Exception, said: str) -> str:
        if "Could not find requested nnunet trainer" in str(error):
            return (
                f"nnU-Net finds no trainer {self.trainer} (nnUNet_extTrainer={os.environ.get('nnUNet_extTrainer')}). "
                f'Type: export nnUNet_extTrainer="$(nnunet_ext path)"   (`nnunet_ext doctor` checks it)'
            )
        files = ", ".join(str(self.folder / f"fold_{f}" / self.checkpoint) for f in self.folds)
        return (
            f"{files} cannot be loaded as a model of {self.trainer}: {type(error).__name__}: {_first_line(error)}. "
            f"If the file is damaged, choose another one of that fold with -chk."
        )


def find_trained_model(
    dataset: str, configuration: str, trainer: str, folds: Sequence[str],
    plans: str = DEFAULT_PLANS, checkpoint: str = DEFAULT_CHECKPOINT,
) -> TrainedModel:  # fmt: skip
    """Find a trained model without loading it.

    Args:
        dataset: id or name, as for nnU-Net's `-d`.
        folds: "all" or numbers, at least one.
        checkpoint: file name in each fold.

    Raises:
        TrainedModelError: if nnUNet_results is not set, or the dataset, model, a fold or a checkpoint is not there.
    """
    results = os.environ.get("nnUNet_results")
    if not results:
        raise TrainedModelError("nnUNet_results is not set. Type: export nnUNet_results=/folder/of/your/trainings")
    try:
        folder = Path(get_output_folder(dataset, trainer, plans, configuration))
    except (RuntimeError, ValueError) as error:
        known = _names(Path(results), "Dataset*")
        raise TrainedModelError(f"-d {dataset}: no such dataset. In {results} there are: {known}.") from error
    return trained_model_in(folder, folds, checkpoint)


def trained_model_in(folder: Path, folds: Sequence[str], checkpoint: str = DEFAULT_CHECKPOINT) -> TrainedModel:
    """Find a trained model in its folder without loading it.

    Args:
        folder: TRAINER__PLANS__CONFIGURATION.
        folds: "all" or numbers, at least one.
        checkpoint: file name in each fold.

    Raises:
        TrainedModelError: if the model, a fold or a checkpoint is not there.
    """
    if not (folder / "plans.json").is_file():
        raise TrainedModelError(_no_model(folder))
    for fold in folds:
        _check_fold(folder, fold, checkpoint)
    return TrainedModel(folder, tuple(folds), checkpoint)


def bare_network(predictor: nnUNetPredictor) -> nn.Module:
    """Return the predictor's network without the wrapper of torch.compile."""
    network: Any = predictor.network
    return network._orig_mod if hasattr(network, "_orig_mod") else network


def channel_names(dataset: Mapping[str, Any]) -> list[str]:
    """Return the names of the image's channels in dataset.json; old files call them `modality`."""
    return [str(name) for name in dataset.get("channel_names", dataset.get("modality", {})).values()]


def output_names(labels: Mapping[str, Any], regions: bool) -> list[str]:
    """Return the names of a network's outputs in their order.

    Args:
        labels: dataset.json's `labels`; the label "ignore" has no output.
        regions: whether training is region-based; then the background has no output either, and the order is that of
            the names in dataset.json.
    """
    values = {n: v if isinstance(v, (list, tuple)) else [v] for n, v in labels.items() if n != "ignore"}
    if regions:
        return [name for name, value in values.items() if set(value) != {0}]
    return sorted(values, key=lambda name: int(values[name][0]))


def foreground_names(labels: Mapping[str, Any], regions: bool) -> list[str]:
    """Return the names of a network's outputs without the background, in their order; arguments of `output_names`."""
    names = output_names(labels, regions)
    return names if regions else names[1:]


def _no_model(folder: Path) -> str:
    trained = sorted(p.parent.name.split("__") for p in folder.parent.glob("*__*__*/plans.json"))
    known = "".join(f"\n  -tr {t} -p {p} -c {c}" for t, p, c in (m for m in trained if len(m) == 3))
    return f"{folder}: there is no such trained model. Trained for {folder.parent.name} are:{known or ' none'}"


def _check_fold(folder: Path, fold: str, checkpoint: str) -> None:
    place = folder / f"fold_{fold}"
    if not place.is_dir():
        known = _names(folder, "fold_*").replace("fold_", "")
        raise TrainedModelError(f"-f {fold}: {folder} has no such fold. Its folds are: {known}.")
    if not (place / checkpoint).is_file():
        raise TrainedModelError(f"-chk {checkpoint}: not in {place}, which has: {_names(place, '*.pth')}.")


def _names(folder: Path, pattern: str) -> str:
    return ", ".join(sorted(p.name for p in folder.glob(pattern))) or "none"


def _device(name: torch.device | str | None) -> torch.device:
    if isinstance(name, torch.device):
        return name
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name is None:
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there.get(name, False):
        allowed = ", ".join(n for n, found in there.items() if found)
        raise TrainedModelError(f"-device {name}: not on this machine. Here are: {allowed}.")
    return torch.device(name)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"
