"""2D images and their annotations into a data set in nnU-Net raw format: look at everything, then write."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.cases_table import cases_csv
from nnunet_ext.dataset_conversion.flags import (
    choice_problems,
    count_problems,
    in_use,
    sources_in_target,
    target_problems,
    threshold_problems,
)
from nnunet_ext.dataset_conversion.grouping import grouped
from nnunet_ext.dataset_conversion.inspecting import Finding, Inspection
from nnunet_ext.dataset_conversion.legend import Legend, legend_from_flags
from nnunet_ext.dataset_conversion.options import Options, Target
from nnunet_ext.dataset_conversion.problems import ConversionError, Problem, raise_if_any
from nnunet_ext.dataset_conversion.sources import FolderSource, Source
from nnunet_ext.dataset_conversion.splits import Fold, fold_sentence, make_splits, with_test_part
from nnunet_ext.dataset_conversion.splits_file import check_writable, other_splits, write_splits
from nnunet_ext.dataset_conversion.survey import (
    Survey,
    content_problems,
    duplicate_problems,
    mode_problems,
    name_problems,
    palette_problems,
    sentences,
    twins,
)
from nnunet_ext.dataset_conversion.working import in_order
from nnunet_ext.dataset_conversion.writing import Output, differing_files, splits_text, write_dataset
from nnunet_ext.parallel import Progress

NOT_THERE = ("folder-missing", "layout-not-found")  # a wrong folder: how many cases it holds is no matter

__all__ = ["ConversionError", "ConversionResult", "Diagnosis", "LabelShare", "Options", "Target", "convert", "diagnose"]


@dataclass(frozen=True)
class LabelShare:
    """One of the data set's labels.

    Attributes:
        label: value in the label files.
        name: name in ``dataset.json``.
        value: what names it in the masks, as typed; None if no flag does.
        share: its pixels over all pixels of the training masks, 0 to 1.
    """

    label: int
    name: str
    value: str | None
    share: float


@dataclass(frozen=True)
class ConversionResult:
    """What was written.

    Attributes:
        dataset_folder: the new ``Dataset<id>_<name>`` folder.
        n_train: number of training cases (each an image and a label file), those of validation among them.
        n_test: number of test images.
        n_test_labels: number of test labels.
        image_mode: "L" (8-bit grey), "I;16" (16-bit grey), "F" (float grey) with one channel, "RGB" or "RGB;16" with
            three.
        foreground_share: pixels of all classes but background, over all that are not ignored, in the training masks.
        notes: what was changed or assumed, one sentence each.
        labels: every label if the masks are not binary or hold pixels to ignore; empty otherwise.
        warnings: what the user should look at.
        n_reused: images and masks that were linked or copied instead of written anew.
        unchanged: the data set was there already, converted from the same files with the same flags.
    """

    dataset_folder: Path
    n_train: int
    n_test: int
    n_test_labels: int
    image_mode: str
    foreground_share: float
    notes: tuple[str, ...]
    labels: tuple[LabelShare, ...] = ()
    warnings: tuple[Problem, ...] = ()
    n_reused: tuple[int, int] = (0, 0)
    unchanged: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """What was found before anything is written.

    Attributes:
        target: where the data set is to go.
        cases: every case, divided.
        findings: one for each case.
        survey: counts over all of them.
        legend: what masks mean.
        splits: folds for nnU-Net.
        problems: errors and warnings.
        notes: what is changed or assumed, one sentence each.
        options: what was asked for.
    """

    target: Target
    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]
    survey: Survey
    legend: Legend
    splits: tuple[Fold, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    options: Options

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that stop the conversion."""
        return tuple(problem for problem in self.problems if not problem.is_warning)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that do not."""
        return tuple(problem for problem in self.problems if problem.is_warning)

    def write(self, progress: Progress | None = None) -> ConversionResult:
        """Write the data set; it appears under its name only when it is complete.

        Raises:
            ConversionError: there are errors, or a data set of this id that differs; nothing was written.
            OSError: the output could not be written (disk full, no permission); what was written is removed.
        """
        raise_if_any(self.problems)
        raise_if_any(list(self.in_the_way(labels=False)))
        target, replaced = self.target, os.path.lexists(self.target.folder)
        if replaced and not self.options.overwrite:
            write_splits(target.splits_file, splits_text(self.splits))
            return self._result((), (0, 0), unchanged=True)
        check_writable(target.splits_file)
        reused = write_dataset(self._output(), progress, self.options.overwrite)
        write_splits(target.splits_file, splits_text(self.splits))
        sentence = f"replaced the old {target.folder.name}: plan and preprocess again before training"
        return self._result((sentence,) if replaced else (), reused)

    def in_the_way(self, labels: bool = True) -> Iterator[Problem]:
        """Check for a data set of this id and name, or folds, that differ and that nobody asked to replace.

        Args:
            labels: whether the labels in the data set that is there are compared as well.
        """
        target = self.target
        if self.options.overwrite:
            return
        if os.path.lexists(target.folder) and (differing := differing_files(self._output(), labels)):
            yield in_use(target.folder, target.dataset_id, target.raw, differing)
        yield from other_splits(target.splits_file, splits_text(self.splits))

    def _output(self) -> Output:
        table = cases_csv(self.cases, self.findings, self.legend.ignore_label)
        options = self.options
        return Output(
            self.target.folder, self.cases, self.findings, self.survey.image_mode, self.legend, self.splits, table,
            options.about, options.link, options.workers,
        )  # fmt: skip

    def _result(
        self, more_notes: tuple[str, ...], reused: tuple[int, int], unchanged: bool = False
    ) -> ConversionResult:
        test = [case for case in self.cases if case.is_test]
        survey, has_shares = self.survey, not self.legend.is_binary or self.legend.ignore_label is not None
        return ConversionResult(
            self.target.folder,
            len(self.cases) - len(test),
            len(test),
            sum(case.mask is not None for case in test),
            survey.image_mode,
            survey.foreground / survey.pixels if survey.pixels else 0.0,
            (*self.notes, *more_notes),
            label_shares(self.legend, survey) if has_shares else (),
            self.warnings,
            reused,
            unchanged,
        )


def label_shares(legend: Legend, survey: Survey) -> tuple[LabelShare, ...]:
    """Return every label with its share of the training pixels."""
    total = max(1, sum(survey.label_pixels.values()))
    text = {name: entry.text for name, entry in legend.entries.items()}
    return tuple(
        LabelShare(label, name, text.get(name), survey.label_pixels[label] / total)
        for name, label in legend.names.items()
    )


def diagnose(source: Source, target: Target, options: Options, progress: Progress | None = None) -> Diagnosis:
    """Find all cases and decode every file once; problems are collected, nothing is written.

    Args:
        source: where cases come from, see :mod:`nnunet_ext.dataset_conversion.sources`.
        target: where the data set is to go.
        options: see :class:`Options`.
        progress: called with ("checked", files done, files in all).

    Raises:
        ConversionError: an option has a value that it cannot have, or a process was killed. All other problems are
            collected.
    """
    raise_if_any(list(choice_problems(options.choices())))
    problems: list[Problem] = []
    notes: Counter[str] = Counter()
    legend = legend_from_flags(
        options.labels, options.ignore, options.threshold, problems,
        other=options.other, regions=options.regions, rules=options.reading,
    )  # fmt: skip
    problems += target_problems(target.dataset_id, target.name, target.raw)
    problems += threshold_problems(options.threshold)
    n_before = len(problems)
    problems += options.splits.problems()
    cases = grouped(source.cases(problems, notes), options.group_regex, problems)
    problems += name_problems(cases)
    problems += _unlabelled(cases)
    problems += sources_in_target(cases, target.folder)
    if not any(problem.code in NOT_THERE for problem in problems):
        problems += count_problems(cases, dict(options.expected), options.partial)
    is_settled = not any(not problem.is_warning for problem in problems[n_before:])  # which cases, how divided
    findings = list(in_order(Inspection(legend), cases, options.workers, "checked", progress))
    problems += [problem for finding in findings for problem in finding.problems]
    same = twins(findings)
    cases, findings, same = _without_copies(cases, findings, same, options.duplicates, notes)
    cases = with_test_part(cases, options.splits, same, problems) if is_settled else cases
    survey = Survey(legend.ignore_label, notes=notes)
    for case, finding in zip(cases, findings, strict=True):
        survey.add(case, finding)
    problems += mode_problems(survey)
    problems += palette_problems(cases, findings)
    problems += duplicate_problems(cases, same, options.duplicates == "keep")
    train = [case for case in cases if not case.is_test]
    splits = make_splits(cases, options.splits, same, problems) if is_settled else []
    if not any(not problem.is_warning for problem in problems):
        problems += content_problems(survey, train, legend)
    folds_told = fold_sentence(splits, target.dataset_id, cases, options.splits, same)
    told = (*sentences(survey, legend, options.reading.color), *folds_told)
    diagnosis = Diagnosis(
        target, tuple(cases), tuple(findings), survey, legend, tuple(splits), tuple(problems), told, options
    )
    return diagnosis if diagnosis.errors else replace(diagnosis, problems=(*problems, *diagnosis.in_the_way()))


def _unlabelled(cases: Sequence[Case]) -> Iterator[Problem]:
    for case in cases:
        if case.mask is None and not case.is_test:
            where = f"{case.image.files[0]} ({case.split})"
            remedy = "add its mask, or leave the image out; test images only need none"
            yield Problem("mask-missing", "training images without a mask", where, remedy)


def _without_copies(
    cases: list[Case], findings: list[Finding], same: dict[str, str], rule: str, notes: Counter[str]
) -> tuple[list[Case], list[Finding], dict[str, str]]:
    """Leave out training pictures that are in validation or test as well, if ``rule`` is "drop"."""
    if rule != "drop":
        return cases, findings, same
    rank = {"train": 0, "val": 1, "test": 2}
    part_of = {case.name: case.split for case in cases}
    families: dict[str, list[str]] = {}
    for name, twin in same.items():
        families.setdefault(twin, [twin]).append(name)
    dropped = set()
    for members in families.values():
        highest = max(rank[part_of[name]] for name in members)
        dropped |= {name for name in members if rank[part_of[name]] < highest}
    for name in dropped:
        notes[f"left out {{images}} of {part_of[name]} that are in a later part as well (--duplicates drop)"] += 1
    kept = [(case, finding) for case, finding in zip(cases, findings, strict=True) if case.name not in dropped]
    remaining = [finding for _, finding in kept]
    return [case for case, _ in kept], remaining, twins(remaining)


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
    options: Options | None = None,
    preprocessed_folder: Path | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Convert folders of pairs to ``raw_folder/Dataset<id>_<name>``; the short form of :func:`diagnose` and ``write``.

    Every file is checked before anything is written, and the data set appears under its name only when it is
    complete. The source files are only read. Images become PNG with the same pixel values; masks become PNG with
    shape (H, W), uint8: 0 background, 1 foreground or the classes.

    Args:
        images: folder of the training images.
        masks: folder of the training masks; may be the same folder if the suffixes differ.
        dataset_id: see :class:`Target`.
        name: see :class:`Target`.
        raw_folder: see :class:`Target`.
        image_suffix: end of every image stem that is not part of the case name.
        mask_suffix: end of every mask stem, such as "_mask".
        test_images: folder of the test images, same naming; with or without ``test_masks``.
        test_masks: folder of the test masks.
        options: see :class:`Options`.
        preprocessed_folder: see :class:`Target`.
        progress: called with a verb, the number of cases done, and the number of cases.

    Raises:
        ConversionError: with all problems found; nothing was written.
        OSError: the output could not be written (disk full, no permission); what was written is removed.
    """
    parts: dict[str, tuple[Path | None, Path | None]] = {"train": (Path(images), Path(masks))}
    if test_images is not None or test_masks is not None:
        parts["test"] = (test_images, test_masks)
    source = FolderSource(parts, image_suffix, mask_suffix)
    target = Target(dataset_id, name, Path(raw_folder), preprocessed_folder)
    return diagnose(source, target, options or Options(), progress).write(progress)
