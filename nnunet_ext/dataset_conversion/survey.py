"""All cases together: common mode, label counts, duplicates, names; what single cases cannot show."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.inspecting import Finding
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.problems import Problem, counted

LONGEST_CASE = 240  # bytes; nnU-Net appends "_0000.png" or "_seg.b2nd", and file systems allow 255
DEPTH_OF = {"L": "8-bit grey", "RGB": "8-bit RGB", "I;16": "16-bit grey", "RGB;16": "16-bit RGB", "F": "float grey"}


@dataclass
class Survey:
    """What the check of all files found, added up.

    Attributes:
        ignore_label: see :class:`Legend`.
        modes: image mode -> number of images.
        examples: image mode -> one file that has it.
        encodings: encoding of the masks -> number of files.
        label_pixels: label -> number of its pixels in the training masks.
        empty_masks: number of training masks without foreground.
        stray_pixels: number of pixels that only the threshold made binary.
        stray_masks: number of masks that hold such pixels.
        notes: template -> how many files it is about.
        unread_masks: number of training masks that could not be read.
    """

    ignore_label: int | None = None
    modes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    encodings: Counter[str] = field(default_factory=Counter)
    label_pixels: Counter[int] = field(default_factory=Counter)
    empty_masks: int = 0
    stray_pixels: int = 0
    stray_masks: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    unread_masks: int = 0

    @property
    def knows_labels(self) -> bool:
        """Whether every training mask was read, and there is one."""
        return bool(self.label_pixels) and not self.unread_masks

    @property
    def image_mode(self) -> str:
        """The common mode of the data set: with colour if any image has it."""
        if self.modes.keys() & {"RGB;16"}:
            return "RGB;16"
        return "RGB" if "RGB" in self.modes else next(iter(self.modes), "L")

    @property
    def pixels(self) -> int:
        """Number of pixels in the training masks that nnU-Net does not ignore."""
        return sum(n for label, n in self.label_pixels.items() if label != self.ignore_label)

    @property
    def foreground(self) -> int:
        """Number of these that are of a class, so not background."""
        return self.pixels - self.label_pixels[0]

    def add(self, case: Case, finding: Finding) -> None:
        """Count one case."""
        if finding.image_mode:
            self.modes[finding.image_mode] += 1
            self.examples.setdefault(finding.image_mode, str(case.image.files[0]))
        self.notes.update(finding.notes)
        if not finding.label_pixels:
            self.unread_masks += case.mask is not None and not case.is_test
            return
        self.encodings[finding.encoding] += 1
        self.stray_pixels += finding.stray_pixels
        self.stray_masks += finding.stray_pixels > 0
        if not case.is_test:
            self.label_pixels.update(finding.label_pixels)
            self.empty_masks += not finding.label_pixels.keys() - {0, self.ignore_label}


def mode_problems(survey: Survey) -> Iterator[Problem]:
    """Check that grey values of all images can be compared: one number of bits."""
    kinds = [{"L", "RGB"}, {"I;16", "RGB;16"}, {"F"}]
    present = [[mode for mode in sorted(kind) if mode in survey.modes] for kind in kinds]
    first, *others = [modes for modes in present if modes] or [[]]
    for modes in others:
        one, other = modes[0], first[0]
        where = f"{survey.examples[one]} is {DEPTH_OF[one]}, {survey.examples[other]} is {DEPTH_OF[other]}"
        remedy = "export all images with the same number of bits: their grey values cannot be compared"
        yield Problem("mixed-depth", "16-bit and 8-bit images in one data set", where, remedy)


def name_problems(cases: Sequence[Case]) -> Iterator[Problem]:
    """Check that nnU-Net can use the names, and that no two cases share one."""
    seen: dict[str, Case] = {}
    for case in cases:
        path = case.image.files[0]
        if fault := _name_fault(case.name):
            where = f"{path}: case name {case.name!r} {fault}"
            yield Problem(
                "name-unusable", "names that nnU-Net cannot use", where, "rename these images and their masks"
            )
        twin = seen.setdefault(unicodedata.normalize("NFC", case.name.casefold()), case)
        if twin is case:
            continue
        where = f"{twin.image.files[0]} and {path}"
        if twin.name != case.name:
            remedy = "rename one of them: on macOS and Windows they are the same file"
            what = "names that differ only in upper and lower case, or in how accents are written"
            yield Problem("name-clash", what, where, remedy)
        elif twin.is_test != case.is_test:
            remedy = "remove the file from one part, or rename it (with its mask) if it is another image"
            where = f"{where}: both are case {case.name!r}"
            yield Problem("case-in-two-parts", "cases both in training and test", where, remedy)
        else:
            where = f"{where}: both are case {case.name!r}"
            yield Problem("case-twice", "two files for one case", where, "rename one of the images, with its mask")


def _name_fault(case: str) -> str:
    if not case:
        return "is empty once the suffix is taken off"
    if case.endswith("_seg"):
        return "ends in '_seg', which nnU-Net keeps for its preprocessed masks"
    if not case.isprintable():
        return "holds characters that cannot be printed"
    if "/" in case or "\\" in case:
        return "holds a slash"
    if len(case.encode("utf-8", "surrogateescape")) > LONGEST_CASE:
        return f"is longer than {LONGEST_CASE} bytes"
    return ""


def twins(findings: Sequence[Finding]) -> dict[str, str]:
    """``{case: first case with the same picture}`` for the cases whose picture was there before."""
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    for finding in findings:
        if finding.pixel_hash and (twin := first.setdefault(finding.pixel_hash, finding.case)) != finding.case:
            same[finding.case] = twin
    return same


def duplicate_problems(cases: Sequence[Case], same: dict[str, str], keep: bool) -> Iterator[Problem]:
    """Check that no picture is in two parts; within one part it is a warning."""
    case_of = {case.name: case for case in cases}
    for name, twin in same.items():
        one, other = case_of[twin], case_of[name]
        where = f"{one.image.files[0]} ({one.split}) and {other.image.files[0]} ({other.split})"
        if one.split == other.split:
            remedy = "remove one of the two; folds that are made here keep them on the same side"
            yield Problem("duplicate", "the same picture twice", where, remedy, is_warning=True)
        else:
            remedy = (
                "scores would be too good: leave the training copies out with --duplicates drop, or take them as they "
                "are with --duplicates keep"
            )
            what = "the same picture in two parts"
            yield Problem("duplicate-across-parts", what, where, remedy, is_warning=keep)


def palette_problems(cases: Sequence[Case], findings: Sequence[Finding]) -> Iterator[Problem]:
    """Check that a palette index shows one colour in all masks: programs that make palettes number colours anew."""
    first: dict[int, tuple[str, Case]] = {}
    for case, finding in zip(cases, findings, strict=True):
        for index, colour in finding.palette:
            before, other = first.setdefault(index, (colour, case))
            if before != colour and case.mask is not None and other.mask is not None:
                where = f"index {index} is {before} in {other.mask.files[0]}, {colour} in {case.mask.files[0]}"
                remedy = (
                    "the index does not say the class: name the classes by their colours, --labels NAME=#rrggbb ..."
                )
                yield Problem("palettes-differ", "palettes that differ between masks", where, remedy)
                break


def content_problems(survey: Survey, train: Sequence[Case], legend: Legend) -> Iterator[Problem]:
    """Check that there is something to learn."""
    if train and survey.label_pixels and survey.foreground == 0:
        kind = "background" if legend.ignore_label is None else "background or ignored"
        example = next(case.mask.files[0] for case in train if case.mask is not None)
        where = f"all {len(train)} training masks are {kind}, such as {example}"
        remedy = "check that -m names the right folder"
        remedy += "" if legend.threshold is None else f", or lower --threshold {legend.threshold}"
        yield Problem("no-foreground", "no foreground at all", where, remedy)


def sentences(survey: Survey, legend: Legend, color: str) -> Iterator[str]:
    """Say what was changed or assumed, a sentence each."""
    for template, n in survey.notes.items():
        sentence = template
        for noun in ("image", "mask", "file"):
            sentence = sentence.replace(f"{{{noun}s}}", counted(n, noun))
        yield sentence
    grey = survey.modes["L"] + survey.modes["I;16"]
    if survey.image_mode.startswith("RGB") and grey and color == "auto":
        yield f"{counted(grey, 'grey image')} written as RGB, as the data set holds colour images"
    if survey.encodings["0/1"] and survey.encodings["0/255"]:
        numbers = f"0/1 in {survey.encodings['0/1']}, 0/255 in {survey.encodings['0/255']}"
        yield f"masks use two encodings, each file mapped by its own values: {numbers}"
    if legend.threshold is not None:
        yield (
            f"masks thresholded at > {legend.threshold}: {counted(survey.stray_pixels, 'pixel')} in "
            f"{counted(survey.stray_masks, 'mask')} were not 0, 1 or 255"
        )
    if survey.knows_labels and not legend.is_stand_in:
        yield from legend.sentences(survey.label_pixels)
    if survey.empty_masks:
        yield f"{counted(survey.empty_masks, 'training mask')} without foreground"
