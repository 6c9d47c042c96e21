"""What the masks' values, colours and class names mean, from the flags `--labels`, `--ignore`, `--threshold`, ..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.legend_flags import (
    LARGEST_VALUE,
    RESERVED,
    Entry,
    contradictions,
    parsed_ignore,
    parsed_labels,
    parsed_regions,
)
from nnunet_ext.dataset_conversion.masks import (
    BINARY,
    DecodedMask,
    labels_of_values,
    read_class_mask,
    read_colour_mask,
    read_mask,
)
from nnunet_ext.dataset_conversion.pixels import PLAIN, Reading
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

OTHERS = ("refuse", "background", "ignore")


@dataclass(frozen=True)
class Legend:
    """How annotations become nnU-Net's labels.

    Attributes:
        names: label names with their labels: background 0, classes from 1 on, ignore last.
        entries: label name -> what the flags name it by: values, colours or class names.
        label_of: value in the masks -> label; None for binary masks and for colours.
        label_of_colour: packed RGB (red * 65536 + green * 256 + blue) -> label; None unless colours are named.
        label_of_class: class name in polygon files -> label; empty if every polygon is foreground.
        others: label of what is not named; None to refuse it.
        threshold: for binary masks, see :func:`nnunet_ext.dataset_conversion.masks.read_mask`.
        regions: region name -> its labels, for region-based training; empty for plain labels.
        rules: how files are read.
        is_stand_in: the flags could not be understood; the legend only serves to look at the files.
    """

    names: Mapping[str, int]
    entries: Mapping[str, Entry] = field(default_factory=dict)
    label_of: Mapping[int, int] | None = None
    label_of_colour: Mapping[int, int] | None = None
    label_of_class: Mapping[str, int] = field(default_factory=dict)
    others: int | None = None
    threshold: int | None = None
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rules: Reading = PLAIN
    is_stand_in: bool = False

    @property
    def ignore_label(self) -> int | None:
        """The label that is left out of training and scores."""
        return self.names.get("ignore")

    @property
    def is_binary(self) -> bool:
        """Whether there is background and foreground only, and perhaps pixels to ignore."""
        return self.label_of is None and self.label_of_colour is None and not self.label_of_class

    def read(self, path: Path) -> DecodedMask:
        """Decode one mask file.

        Raises:
            RefusedFile: see the functions that read masks.
        """
        if self.label_of_colour is not None:
            return read_colour_mask(path, self.label_of_colour, self.others, self.rules)
        if self.is_binary:
            return read_mask(path, self.threshold, self._values_to_ignore(path), self.rules)
        return read_class_mask(path, self.label_of or {}, self.others, "ignore" not in self.names, self.rules)

    def _values_to_ignore(self, path: Path) -> tuple[int, ...]:
        """Values that ``--ignore`` names for binary mask files; a class name would never be found there."""
        ignored = self.entries.get("ignore")
        if ignored and ignored.classes:
            where = f"{path} holds values, --ignore names the class {', '.join(ignored.classes)}"
            remedy = "name the value of these pixels, such as --ignore 255; class names are for polygon files"
            raise RefusedFile("label-kinds", "a class name to ignore, but no class names in masks", where, remedy)
        return ignored.values if ignored else ()

    def of_values(self, values: np.ndarray, path: Path) -> DecodedMask:
        """Turn values that an annotation computed into labels.

        Args:
            values: (H, W) integers. Binary: 0 background, anything else foreground, unless it is to be ignored.
            path: file to name in messages.

        Raises:
            RefusedFile: for values that no flag names.
        """
        if not self.is_binary:
            return labels_of_values(values, path, self.label_of or {}, self.others, "ignore" not in self.names)
        labels = (values > 0).astype(np.uint8)
        ignored = self.entries.get("ignore")
        if ignored:
            labels[np.isin(values, ignored.values)] = self.names["ignore"]
        return DecodedMask(labels, "values")

    def label_of_name(self, name: str, path: Path) -> int:
        """Return the label of a class that a polygon file names; all are foreground, or ignored, if masks are binary.

        A class that is called by a number is found by it: ``cell=1`` names the value 1 and the class "1".

        Raises:
            RefusedFile: for names that no flag names.
        """
        number = int(name) if name.isascii() and name.isdecimal() else -1
        if self.is_binary:
            ignored = self.entries.get("ignore")
            return self.names["ignore"] if ignored and (name in ignored.classes or number in ignored.values) else 1
        label = self.label_of_class.get(name, (self.label_of or {}).get(number, self.others))
        if label is None:
            known = ", ".join(map(str, self.entries.values()))
            where = f"{path} has the class {name!r}; --labels names {known or 'none'}"
            remedy = f"add it to --labels, as 'mine={name}', or take all others as background: --other background"
            raise RefusedFile("unnamed-class", "classes that --labels does not name", where, remedy)
        return label

    def dataset_labels(self) -> dict[str, int | tuple[int, ...]]:
        """``labels`` of ``dataset.json``: the classes, or the regions with their lists."""
        if not self.regions:
            return dict(self.names)
        ignored: dict[str, int | tuple[int, ...]] = {} if self.ignore_label is None else {"ignore": self.ignore_label}
        return {"background": 0, **self.regions, **ignored}

    def regions_class_order(self) -> tuple[int, ...] | None:
        """For each region, the label that its pixels get when regions are written as labels; None without regions.

        nnU-Net writes the regions one over the other in this order, so each gets a label that no later one has.
        """
        if not self.regions:
            return None
        order, later = [], set[int]()
        for labels in reversed(list(self.regions.values())):
            order.append(min(set(labels) - later))
            later |= set(labels)
        return tuple(reversed(order))

    def sentences(self, pixels: Mapping[int, int]) -> Iterator[str]:
        """Say what the user should know, given the number of training pixels of each label."""
        classes = {name: label for name, label in self.names.items() if name not in RESERVED}
        if not self.is_binary and "background" not in self.entries and self.others != 0 and not pixels[0]:
            yield (
                f"no class is called background: the classes are labels 1 to {len(classes)}, and background, label 0, "
                "has no pixels. nnU-Net fills borders with label 0 and leaves it out of its Dice loss and of all scores"
            )
        absent = [str(self.entries[n]) for n, label in classes.items() if n in self.entries and not pixels[label]]
        if absent:
            yield (
                f"classes in no training mask: {' '.join(absent)}. They cannot be learnt, and where the test masks "
                "lack them as well, nnU-Net's mean over classes is NaN"
            )
        if self.ignore_label is not None and not pixels[self.ignore_label] and "ignore" in self.entries:
            yield f"no training mask holds the value of --ignore {self.entries['ignore'].text}"


def legend_from_flags(
    labels: Sequence[str] | None,
    ignore: int | str | None,
    threshold: int | None,
    problems: list[Problem],
    *,
    other: str = "refuse",
    regions: Sequence[str] | None = None,
    rules: Reading = Reading(),  # noqa: B008 - frozen
) -> Legend:
    """Make the legend; what is wrong with the flags is appended to ``problems``.

    Args:
        labels: ``NAME=WHAT`` for each class, or None for binary masks. WHAT is one or several of: a value (``8``), a
            range (``26-31``), a colour (``#804080``), a class name of polygon files, with commas between them.
        ignore: what nnU-Net is to ignore: values, ranges or colours; or None.
        threshold: foreground of binary masks is value > threshold.
        problems: appended to; nothing is raised. The legend then takes any value for foreground.
        other: what becomes of values that no flag names: "refuse", "background" or "ignore".
        regions: ``NAME=CLASS,CLASS`` for region-based training, the large regions first.
        rules: how files are read.
    """
    n_before = len(problems)
    ignored = parsed_ignore(ignore, problems)
    if labels is None and other == "refuse":
        if ignored and ignored.colours:
            where = f"--ignore {ignored.text} without --labels; allowed are values, or classes of polygon files"
            remedy = "name all colours: --labels background=#000000 foreground=#ffffff"
            problems.append(Problem("ignore-colour", "a colour to ignore, but no colours of classes", where, remedy))
        names = _numbered(["foreground"], ignored is not None)
        entries = {"ignore": ignored} if ignored else {}
        return Legend(
            names,
            entries,
            threshold=threshold,
            regions=parsed_regions(regions, names, problems),
            rules=rules,
            is_stand_in=len(problems) > n_before,
        )
    named = parsed_labels(labels or (), problems)
    problems += contradictions(named, ignored, threshold, other, labels is not None)
    if len(problems) > n_before:
        return Legend(BINARY, {}, dict.fromkeys(range(LARGEST_VALUE + 1), 1), rules=rules, is_stand_in=True)
    entries = {entry.name: entry for entry in named} | ({"ignore": ignored} if ignored else {})
    names = _numbered([n for n in entries if n not in RESERVED], ignored is not None or other == "ignore")
    others = {"refuse": None, "background": 0, "ignore": names.get("ignore")}[other]
    colours = {colour: names[n] for n, entry in entries.items() for colour in entry.colours}
    return Legend(
        names,
        entries,
        {value: names[n] for n, entry in entries.items() for value in entry.values},
        colours or None,
        {text: names[n] for n, entry in entries.items() for text in entry.classes},
        others,
        None,
        parsed_regions(regions, names, problems),
        rules,
    )


def _numbered(classes: Sequence[str], ignores: bool) -> dict[str, int]:
    names = ["background", *classes, *(["ignore"] if ignores else [])]
    return {name: label for label, name in enumerate(names)}
