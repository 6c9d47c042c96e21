"""Which channels instructive feature enhancement selects, as in Fig. 5 of IFE (L. Liu, H. Zhou, J. Chen et al.).

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation, MICCAI 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.inference import channel_figure, channel_frequencies
from nnunet_ext.inference.cases import find_cases
from nnunet_ext.inference.channel_case import Subject, view_case
from nnunet_ext.inference.channel_record import find_selections, unmirrored
from nnunet_ext.inference.channel_tables import CaseStatistics, frequencies, write_channels, write_frequencies
from nnunet_ext.inference.inspection import InspectionError, check_output
from nnunet_ext.inference.trained_model import TrainedModel, bare_network


@dataclass(frozen=True)
class Wanted:
    """What to show.

    Attributes:
        cases: names of cases; None: all.
        n_channels: how many maps of chosen channels of each selection, and as many of others.
    """

    cases: Sequence[str] | None = None
    n_channels: int = 6


def inspect(
    model: TrainedModel,
    images: Path,
    output: Path,
    wanted: Wanted,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Write a picture CASE_channels.png of every case, and channels.csv, frequencies.csv and frequencies.png of all.

    Args:
        model: of one fold, from `find_trained_model`.
        images: folder of images in nnU-Net's naming.
        output: folder for the pictures; files of the same names are replaced, others stay.
        device: cpu, cuda or mps; None: a GPU if there is one.
        say: told what is done and what to know about it, a line at a time.

    Returns:
        The files written.

    Raises:
        InspectionError: if the network selects no channels, its configuration is the second of a cascade, `output` is
            `images`, or no map is wanted.
        CasesError: if the images are not there, or have other channels than the model's.
        TrainedModelError: if the checkpoint cannot be loaded.
    """
    check_output(images, output)
    if wanted.n_channels < 1:
        raise InspectionError(f"--channels {wanted.n_channels}: how many maps to show, 1 or more")
    subject = prepare(model, wanted, device)
    cases = find_cases(images, subject.predictor.dataset_json["file_ending"], wanted.cases)
    for selection in subject.selections:
        if selection.module.score == "random":
            say(f"{selection.label}: selects at random, by one draw for all images; its scores have no meaning")
    output.mkdir(parents=True, exist_ok=True)
    written, statistics = [], []
    for number, (case, files) in enumerate(cases.items(), 1):
        say(f"case {number} of {len(cases)}: {case}")
        found, view = view_case(subject, case, files)
        statistics.append(found)
        written.append(output / f"{case}_channels.png")
        channel_figure.draw(written[-1], view)
    written += write_statistics(output, statistics, say)
    say(f"{output}: {len(cases)} pictures of cases, channels.csv, frequencies.csv, frequencies.png")
    return written


def prepare(model: TrainedModel, wanted: Wanted, device: str | None = None) -> Subject:
    """Load a model and find where it selects channels; see `inspect` for what is raised."""
    predictor = model.predictor(device)
    previous = predictor.configuration_manager.previous_stage_name
    if previous is not None:
        raise InspectionError(
            f"{model.folder.name}: its configuration takes predictions of {previous} beside the images, which are "
            f"not computed here. Type: -c {previous}"
        )
    selections = find_selections(bare_network(predictor))
    if not selections:
        raise InspectionError(
            f"-tr {model.trainer}: its network selects no channels. Those of nnUNetTrainerIFECurvature and its kin "
            f"do; `nnunet_ext info` lists all trainers."
        )
    return Subject(unmirrored(predictor), selections, wanted.n_channels)


def write_statistics(output: Path, cases: Sequence[CaseStatistics], say: Callable[[str], None]) -> list[Path]:
    """Write channels.csv, frequencies.csv and frequencies.png, and say what they tell; return the files."""
    files = [output / name for name in ("channels.csv", "frequencies.csv", "frequencies.png")]
    found = frequencies(cases)
    write_channels(files[0], cases)
    write_frequencies(files[1], found)
    channel_frequencies.draw(files[2], found)
    for frequency in found:
        say(f"{frequency.selection.label}: {frequency.counted()}")
    if found[0].n_windows == 1:
        say("of one window alone, every channel is always or never chosen: take more images to see what it depends on")
    return files
