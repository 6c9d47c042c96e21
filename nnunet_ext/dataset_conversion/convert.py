"""2D image and mask pairs into a data set in nnU-Net raw format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.checks import (
    Survey,
    check_enough,
    check_flags,
    check_split,
    check_suffixes,
    survey_files,
)
from nnunet_ext.dataset_conversion.legend import Legend, legend_from_flags
from nnunet_ext.dataset_conversion.pairs import Pair, Side, find_pairs
from nnunet_ext.dataset_conversion.problems import ConversionError, Problem, counted, raise_if_any
from nnunet_ext.dataset_conversion.writing import write_dataset

__all__ = ["ConversionError", "ConversionResult", "LabelShare", "convert"]


@dataclass(frozen=True)
class LabelShare:
    """One of the data set's labels.

    Attributes:
        label: value in the label files.
        name: name in ``dataset.json``.
        value: value in the masks, if a flag names it.
        share: its pixels over all pixels of the training masks, 0 to 1.
    """

    label: int
    name: str
    value: int | None
    share: float


@dataclass(frozen=True)
class ConversionResult:
    """What was written.

    Attributes:
        dataset_folder: the new ``Dataset<id>_<name>`` folder.
        n_train: number of training cases (each an image and a label file).
        n_test: number of test images.
        n_test_labels: number of test labels.
        image_mode: "L" (8-bit grey), "I;16" (16-bit grey), both with one channel, or "RGB" with three.
        foreground_share: pixels of all classes but background, over all that are not ignored, in the training masks.
        notes: what was changed or assumed, one sentence each.
        labels: every label if ``labels`` or ``ignore`` was given; empty for masks with background and foreground only.
    """

    dataset_folder: Path
    n_train: int
    n_test: int
    n_test_labels: int
    image_mode: str
    foreground_share: float
    notes: tuple[str, ...]
    labels: tuple[LabelShare, ...] = ()


def convert(
    images: Path,
    masks: Path,
    dataset_id: int,
    name: str,
    raw_folder: Path,
    *,
    image_suffix: str = "",
    mask_suffix: str = "",
    test_images: Path | None = None,
    test_masks: Path | None = None,
    threshold: int | None = None,
    labels: Sequence[str] | None = None,
    ignore: int | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ConversionResult:
    """Convert pairs of 2D images and masks to ``raw_folder/Dataset<id>_<name>``.

    Every file is checked before anything is written, and the data set appears under its name only when it is
    complete. The source files are only read. Images (PNG, BMP, TIFF, JPEG) become PNG with the same pixel
    values; masks (PNG, BMP, TIFF) become PNG with shape (H, W), uint8: 0 background, 1 foreground or the classes.

    Args:
        images: folder of the training images.
        masks: folder of the training masks; may be the same folder if the suffixes differ.
        dataset_id: nnU-Net's data set id, 1 to 999, not in use in ``raw_folder``.
        name: letters, digits, "-" and single "_".
        raw_folder: ``nnUNet_raw``; created if it does not exist.
        image_suffix: end of every image stem that is not part of the case name.
        mask_suffix: end of every mask stem, such as "_mask".
        test_images: folder of the test images, same naming; with or without ``test_masks``.
        test_masks: folder of the test masks.
        threshold: foreground is value > threshold; needed if masks hold other values than 0/1 or 0/255.
        labels: ``NAME=VALUE`` for each class. ``background`` is label 0, the others are 1, 2, ... as they come.
        ignore: value of pixels that nnU-Net neither learns nor scores; their label is the highest.
        overwrite: replace a data set of the same id and name. It stays as it is if the conversion fails.
        progress: called now and then with a short text.

    Raises:
        ConversionError: with all problems found; nothing was written.
        OSError: the output could not be written (disk full, no permission); what was written is removed.
    """
    problems: list[Problem] = []
    notes: Counter[str] = Counter()
    target = Path(raw_folder) / f"Dataset{dataset_id:03d}_{name}"
    suffixes = (image_suffix, mask_suffix)
    legend = legend_from_flags(labels, ignore, threshold, problems)
    problems += check_flags(dataset_id, name, Path(raw_folder), threshold, overwrite)
    problems += check_suffixes({"--image-suffix": image_suffix, "--mask-suffix": mask_suffix})
    problems += _sources_in_target((images, masks, test_images, test_masks), target)
    train = _training_pairs(Path(images), Path(masks), suffixes, problems, notes)
    test = _test_pairs(test_images, test_masks, suffixes, problems, notes)
    problems += check_split(train, test)
    survey = survey_files(train, test, legend, problems, notes, progress)
    raise_if_any(problems)

    sentences = tuple(_sentences(notes, survey, legend, target if os.path.lexists(target) else None))
    write_dataset(target, name, train, test, survey.image_mode, legend, progress)
    return _result(target, train, test, survey, legend, sentences)


def _sources_in_target(sources: Sequence[Path | None], target: Path) -> Iterator[Problem]:
    for source in sources:
        if source is not None and Path(source).resolve().is_relative_to(target.resolve()):
            where = f"{source} lies in {target}"
            yield Problem("source folder inside the data set to be written", where, "choose another -d or -n")


def _training_pairs(
    images: Path, masks: Path, suffixes: tuple[str, str], problems: list[Problem], notes: Counter[str]
) -> list[Pair]:
    image_side = Side("image", images, suffixes[0], "-i", "--image-suffix")
    mask_side = Side("mask", masks, suffixes[1], "-m", "--mask-suffix")
    n_before = len(problems)
    pairs = find_pairs(image_side, mask_side, problems, notes)
    if len(problems) == n_before:  # otherwise the number of pairs is not settled
        problems += check_enough(pairs)
    return pairs


def _test_pairs(
    images: Path | None,
    masks: Path | None,
    suffixes: tuple[str, str],
    problems: list[Problem],
    notes: Counter[str],
) -> list[Pair]:
    if images is None:
        if masks is not None:
            remedy = "name the folder of the test images with --test-images, or leave --test-masks away"
            problems.append(Problem("test masks without test images", f"--test-masks {masks}", remedy))
        return []
    image_side = Side("image", Path(images), suffixes[0], "--test-images", "--image-suffix")
    mask_side = None
    if masks is not None:
        mask_side = Side("mask", Path(masks), suffixes[1], "--test-masks", "--mask-suffix")
    return find_pairs(image_side, mask_side, problems, notes)


def _result(
    target: Path, train: Sequence[Pair], test: Sequence[Pair], survey: Survey, legend: Legend, notes: tuple[str, ...]
) -> ConversionResult:
    n_labels = sum(pair.mask is not None for pair in test)
    shares = tuple(_label_shares(legend, survey.label_pixels)) if legend.value_of else ()
    share = survey.foreground / survey.pixels
    return ConversionResult(target, len(train), len(test), n_labels, survey.image_mode, share, notes, shares)


def _label_shares(legend: Legend, pixels: Mapping[int, int]) -> Iterator[LabelShare]:
    total = sum(pixels.values())
    for name, label in legend.names.items():
        yield LabelShare(label, name, legend.value_of.get(name), pixels[label] / total)


def _sentences(notes: Counter[str], survey: Survey, legend: Legend, replaced: Path | None) -> Iterator[str]:
    for template, n in notes.items():
        sentence = template
        for noun in ("image", "mask", "file"):
            sentence = sentence.replace(f"{{{noun}s}}", counted(n, noun))
        yield sentence
    grey = sum(mode == "L" for mode in survey.modes.values())
    if survey.image_mode == "RGB" and grey:
        yield f"{counted(grey, 'grey image')} written as RGB, as the data set holds colour images"
    if survey.encodings["0/1"] and survey.encodings["0/255"]:
        numbers = f"0/1 in {survey.encodings['0/1']}, 0/255 in {survey.encodings['0/255']}"
        yield f"masks use two encodings, each file mapped by its own values: {numbers}"
    if legend.threshold is not None:
        yield (
            f"masks thresholded at > {legend.threshold}: {counted(survey.stray_pixels, 'pixel')} in "
            f"{counted(survey.stray_masks, 'mask')} were not 0, 1 or 255"
        )
    yield from legend.sentences(survey.label_pixels)
    if survey.empty_masks:
        yield f"{counted(survey.empty_masks, 'training mask')} without foreground"
    if replaced is not None:
        yield f"replaced the old {replaced.name}: plan and preprocess again before training"
