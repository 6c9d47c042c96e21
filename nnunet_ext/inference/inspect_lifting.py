"""Pictures of a lifted network at work, as in Fig. 2 of Spatial Lifting (M. Xu, T. Zhou, Y. Li, Y. Zhang)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.inference.attribution import choose_layer, require_captum
from nnunet_ext.inference.cases import find_cases
from nnunet_ext.inference.inspection import InspectionError, check_output
from nnunet_ext.inference.lifted_case import Subject, view_case
from nnunet_ext.inference.lifting_figure import SliceStatistics, case_figure, losses_figure
from nnunet_ext.inference.trained_model import TrainedModel, bare_network, channel_names, output_names

Method = Literal["none", "saliency", "gradcam"]


@dataclass(frozen=True)
class Wanted:
    """What to show.

    Attributes:
        cases: names of cases; None: all.
        class_name: one of the model's outputs; None: the first that is not the background.
        attribution: "none", "saliency" or "gradcam".
        layer: of Grad-CAM; None: the last with several channels before the output.
    """

    cases: Sequence[str] | None = None
    class_name: str | None = None
    attribution: Method = "none"
    layer: str | None = None


def inspect(
    model: TrainedModel,
    images: Path,
    output: Path,
    wanted: Wanted,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Write slices.csv, slice_losses.png and a picture CASE_slices.png of every case.

    Args:
        model: of one fold, from `find_trained_model`.
        images: folder of images in nnU-Net's naming.
        output: folder for the pictures; files of the same names are replaced, others stay.
        device: cpu, cuda or mps; None: a GPU if there is one.
        say: told what is done and what to know about it, a line at a time.

    Returns:
        The files written.

    Raises:
        InspectionError: if the model is not lifted, has no such class, or `output` is `images`.
        CasesError: if the images are not there, or have other channels than the model's.
        AttributionError: if captum is missing, or there is no such layer.
        TrainedModelError: if the checkpoint cannot be loaded.
    """
    _check(images, output, wanted)
    subject = prepare(model, wanted, device)
    cases = find_cases(images, subject.predictor.dataset_json["file_ending"], wanted.cases)
    statistics = slice_statistics(subject.network)
    if not statistics.known:
        say(f"warning: {model.checkpoint} of fold {model.folds[0]} holds no slice losses: the middle slices predict")
    written = write_statistics(output, statistics)
    for number, (case, files) in enumerate(cases.items(), 1):
        say(f"case {number} of {len(cases)}: {case}")
        written.append(output / f"{case}_slices.png")
        case_figure(view_case(subject, case, files), statistics).save(written[-1])
    say(f"{output}: {len(written) - 2} pictures of cases, slice_losses.png, slices.csv")
    return written


def prepare(model: TrainedModel, wanted: Wanted, device: str | None = None) -> Subject:
    """Load a model and find the class and the layer that are wanted; see `inspect` for what is raised."""
    predictor = model.predictor(device)
    network = bare_network(predictor)
    if not isinstance(network, LiftedNetwork):
        raise InspectionError(
            f"-tr {model.trainer}: its network is not lifted, so it has no slices. Lifted are nnUNetTrainerSLUNet "
            f"and its kin; `nnunet_ext info` lists all trainers."
        )
    regions = bool(predictor.label_manager.has_regions)
    names = output_names(predictor.dataset_json["labels"], regions)
    name = names[0 if regions else 1] if wanted.class_name is None else wanted.class_name
    if name not in names:
        raise InspectionError(f"--class {name}: {model.dataset} has no such class. Its classes are: {', '.join(names)}")
    layer = wanted.layer
    if wanted.attribution == "gradcam":
        size = (1, len(channel_names(predictor.dataset_json)), *predictor.configuration_manager.patch_size)
        layer = choose_layer(network, torch.zeros(size, device=predictor.device), wanted.layer)
    return Subject(predictor, network, name, names.index(name), wanted.attribution, layer)


def slice_statistics(network: LiftedNetwork) -> SliceStatistics:
    """Return what the checkpoint holds about the slices."""
    return SliceStatistics(network.selection.mean_loss.tolist(), network.selection.selected.tolist())


def write_statistics(output: Path, statistics: SliceStatistics) -> list[Path]:
    """Write slices.csv (slice, mean_loss, selected) and slice_losses.png; return the two files."""
    output.mkdir(parents=True, exist_ok=True)
    table, chart = output / "slices.csv", output / "slice_losses.png"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["slice", "mean_loss", "selected"])
        rows.writerows([d, loss, d in statistics.selected] for d, loss in enumerate(statistics.mean_loss))
    losses_figure(statistics).save(chart)
    return [table, chart]


def _check(images: Path, output: Path, wanted: Wanted) -> None:
    """Refuse before any work what can be refused."""
    if wanted.attribution != "none":
        require_captum()
    if wanted.layer is not None and wanted.attribution != "gradcam":
        raise InspectionError(f"--layer {wanted.layer}: only Grad-CAM has a layer. Type: --attribution gradcam")
    check_output(images, output)
