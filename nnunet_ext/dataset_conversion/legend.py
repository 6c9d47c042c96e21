"""What the masks' values mean, from the flags `--labels`, `--ignore` and `--threshold`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.dataset_conversion.masks import BINARY, DecodedMask, read_class_mask, read_mask
from nnunet_ext.dataset_conversion.problems import Problem

MOST_CLASSES = 254  # with background and ignore they fill the 256 values of an 8-bit label file
LARGEST_VALUE = 65535
RESERVED = ("background", "ignore")
EXAMPLE = "type for example --labels background=0 road=3 car=8"


@dataclass(frozen=True)
class Legend:
    """How masks become nnU-Net's labels.

    Attributes:
        names: label names with their labels, as in ``dataset.json``: background 0, classes from 1 on, ignore last.
        value_of: label name -> value in the masks, for what the flags name.
        label_of: value in the masks -> label; None for binary masks.
        threshold: for binary masks, see :func:`nnunet_ext.dataset_conversion.masks.read_mask`.
    """

    names: Mapping[str, int]
    value_of: Mapping[str, int] = field(default_factory=dict)
    label_of: Mapping[int, int] | None = None
    threshold: int | None = None

    @property
    def ignore_label(self) -> int | None:
        """The label that is left out of training and scores."""
        return self.names.get("ignore")

    def read(self, path: Path) -> DecodedMask:
        """Decode one mask.

        Raises:
            RefusedFile: see the two functions that read masks.
        """
        if self.label_of is None:
            return read_mask(path, self.threshold, self.value_of.get("ignore"))
        return read_class_mask(path, self.label_of, may_ignore="ignore" not in self.names)

    def sentences(self, pixels: Mapping[int, int]) -> Iterator[str]:
        """Say what the user should know, given the number of training pixels of each label."""
        classes = {name: label for name, label in self.names.items() if name not in RESERVED}
        if self.label_of is not None and "background" not in self.value_of:
            yield (
                f"no class is called background: the classes are labels 1 to {len(classes)}, and background, label 0, "
                "has no pixels. nnU-Net fills borders with label 0 and leaves it out of its Dice loss and of all scores"
            )
        absent = [f"{n}={self.value_of[n]}" for n, label in classes.items() if n in self.value_of and not pixels[label]]
        if absent:
            yield (
                f"classes in no training mask: {' '.join(absent)}. They cannot be learnt, and where the test masks "
                "lack them as well, nnU-Net's mean over classes is NaN"
            )
        if self.ignore_label is not None and not pixels[self.ignore_label]:
            yield f"no training mask holds the value of --ignore {self.value_of['ignore']}"


def legend_from_flags(
    labels: Sequence[str] | None, ignore: int | None, threshold: int | None, problems: list[Problem]
) -> Legend:
    """Make the legend; what is wrong with the flags is appended to ``problems``.

    Args:
        labels: ``NAME=VALUE`` for each class, or None for binary masks.
        ignore: value of the pixels that nnU-Net is to ignore, or None.
        threshold: foreground of binary masks is value > threshold.
        problems: appended to; nothing is raised. The legend then takes any value for foreground.
    """
    n_before = len(problems)
    problems += _ignore_problems(ignore)
    ignored = {} if ignore is None else {"ignore": ignore}
    if labels is None:
        return Legend(_numbered(["foreground"], ignored), ignored, None, threshold)
    values = _parsed(labels, problems)
    problems += _contradictions(values, ignore, threshold)
    if len(problems) > n_before:
        return Legend(BINARY, {}, dict.fromkeys(range(LARGEST_VALUE + 1), 1))
    value_of = dict(values) | ignored
    names = _numbered([name for name in value_of if name not in RESERVED], ignored)
    return Legend(names, value_of, {value: names[name] for name, value in value_of.items()})


def _numbered(classes: Sequence[str], ignored: Mapping[str, int]) -> dict[str, int]:
    names = ["background", *classes, *ignored]
    return {name: label for label, name in enumerate(names)}


def _ignore_problems(ignore: int | None) -> Iterator[Problem]:
    if ignore is not None and not 0 <= ignore <= LARGEST_VALUE:
        where = f"--ignore {ignore}; allowed are 0 to {LARGEST_VALUE}"
        yield Problem("value out of range", where, "name the value that the unlabelled pixels have in the masks")


def _parsed(labels: Sequence[str], problems: list[Problem]) -> list[tuple[str, int]]:
    """Name and value of each well-formed entry."""
    parsed = []
    for text in labels:
        name, _, number = text.partition("=")
        if not re.fullmatch(r"[+-]?[0-9]+", number) or not name or name != name.strip() or not name.isprintable():
            where = f"--labels {text!r}; allowed is NAME=VALUE, without spaces around the name, VALUE a whole number"
            problems.append(Problem("class without name and value", where, EXAMPLE + ", entries apart by spaces"))
        elif not 0 <= int(number) <= LARGEST_VALUE:
            where = f"--labels {text}; allowed are values from 0 to {LARGEST_VALUE}"
            problems.append(Problem("value out of range", where, "name the value that the class has in the masks"))
        else:
            parsed.append((name, int(number)))
    return parsed


def _contradictions(values: Sequence[tuple[str, int]], ignore: int | None, threshold: int | None) -> Iterator[Problem]:
    yield from _reserved_names(values)
    yield from _repeated(values)
    if threshold is not None:
        where = f"--threshold {threshold} makes binary masks, --labels names classes"
        yield Problem("two flags that exclude each other", where, "leave --threshold away, or --labels")
    for name, value in values:
        if value == ignore:
            where = f"--labels {name}={value} and --ignore {ignore}"
            yield Problem("value both a class and ignored", where, f"leave {name}={value} or --ignore away")
    n_classes = sum(name != "background" for name, _ in values)
    if not n_classes and values:
        where = "--labels names background only; nnU-Net needs a class to segment"
        yield Problem("no class besides background", where, EXAMPLE)
    if n_classes > MOST_CLASSES:
        where = f"--labels names {n_classes} classes besides background; allowed are {MOST_CLASSES}"
        yield Problem("more classes than label files can hold", where, "join classes in the masks, or convert twice")


def _reserved_names(values: Sequence[tuple[str, int]]) -> Iterator[Problem]:
    for name, value in values:
        if name.lower() == "ignore":
            where = f"--labels {name}={value}; nnU-Net keeps this name for pixels that are not learnt"
            remedy = f"pass --ignore {value} instead, or give the class another name"
            yield Problem("reserved class name", where, remedy)
        elif name.lower() == "background" != name:
            where = f"--labels {name}={value}; nnU-Net's name is background, in small letters"
            yield Problem("reserved class name", where, f"type background={value}, or give the class another name")


def _repeated(values: Sequence[tuple[str, int]]) -> Iterator[Problem]:
    names, numbers = Counter(name for name, _ in values), Counter(value for _, value in values)
    for name in (n for n, times in names.items() if times > 1):
        entries = " ".join(f"{name}={value}" for other, value in values if other == name)
        remedy = "give each value a name of its own; to join classes, write one value for them into the masks"
        yield Problem("class name given twice", f"--labels {entries}", remedy)
    for value in (v for v, times in numbers.items() if times > 1):
        entries = " ".join(f"{name}={value}" for name, other in values if other == value)
        yield Problem("value named twice", f"--labels {entries}", "keep one name for this value")
