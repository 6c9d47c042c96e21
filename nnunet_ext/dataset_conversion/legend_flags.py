"""The grammar of `--labels`, `--ignore` and `--regions`, and what can be wrong with them."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnunet_ext.dataset_conversion.problems import Problem

MOST_CLASSES = 254  # with background and ignore they fill the 256 values of an 8-bit label file
LARGEST_VALUE = 65535
RESERVED = ("background", "ignore")
EXAMPLE = "type for example --labels background=0 road=3 car=8"
ALLOWED = (
    "allowed is NAME=WHAT without spaces around the =, WHAT a value (8), a range (26-31), a colour (#804080) or a "
    "class name of polygon files, or several with commas between them"
)


@dataclass(frozen=True)
class Entry:
    """One entry of ``--labels``, or the one of ``--ignore``.

    Attributes:
        name: label name in ``dataset.json``.
        text: what was typed after ``=``.
        values: values in mask files.
        colours: packed RGB, red * 65536 + green * 256 + blue.
        classes: class names in polygon files.
    """

    name: str
    text: str
    values: tuple[int, ...] = ()
    colours: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}={self.text}"


def parsed_labels(labels: Sequence[str], problems: list[Problem]) -> list[Entry]:
    """Well-formed entries; what is not goes to ``problems``."""
    entries = []
    for text in labels:
        name, _, what = text.partition("=")
        if not what or not name or name != name.strip() or what != what.strip() or not name.isprintable():
            where, remedy = f"--labels {text!r}; {ALLOWED}", EXAMPLE + ", entries apart by spaces"
            problems.append(Problem("label-syntax", "class without name and value", where, remedy))
        elif (entry := _entry(name, what, f"--labels {text}", problems)) is not None:
            entries.append(entry)
    return entries


def parsed_ignore(ignore: int | str | None, problems: list[Problem]) -> Entry | None:
    """Return what ``--ignore`` names, or None."""
    if ignore is None:
        return None
    return _entry("ignore", str(ignore), f"--ignore {ignore}", problems)


def _entry(name: str, text: str, flag: str, problems: list[Problem]) -> Entry | None:
    values: list[int] = []
    colours: list[int] = []
    classes: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", part):
            colours.append(int(part[1:], 16))
        elif (span := re.fullmatch(r"([0-9]+)-([0-9]+)", part)) and int(span[1]) <= int(span[2]):
            values += range(int(span[1]), min(int(span[2]), LARGEST_VALUE + 1) + 1)
        elif re.fullmatch(r"[+-]?[0-9]+", part):
            values.append(int(part))
        elif part and not span and not part.startswith("#") and "=" not in part:
            classes.append(part)
        else:
            where, remedy = f"{flag}: {part!r}; {ALLOWED}", EXAMPLE + ", entries apart by spaces"
            problems.append(Problem("label-syntax", "class without name and value", where, remedy))
            return None
    if any(not 0 <= value <= LARGEST_VALUE for value in values):
        what = "the unlabelled pixels have" if name == "ignore" else "the class has"
        where = f"{flag}; allowed are values from 0 to {LARGEST_VALUE}"
        remedy = f"name the value that {what} in the masks"
        problems.append(Problem("label-value", "value out of range", where, remedy))
        return None
    return Entry(name, text, tuple(values), tuple(colours), tuple(classes))


def contradictions(
    entries: Sequence[Entry], ignored: Entry | None, threshold: int | None, other: str, has_labels: bool
) -> Iterator[Problem]:
    """Check what only shows when the flags are seen together."""
    yield from _reserved_names(entries)
    yield from _repeated(entries)
    yield from _mixed_kinds([*entries, *([ignored] if ignored else [])])
    if not has_labels:
        where, remedy = f"--other {other} without --labels", EXAMPLE
        yield Problem("flags-exclude", "two flags that need each other", where, remedy)
    if threshold is not None:
        where = f"--threshold {threshold} makes binary masks, --labels names classes"
        yield Problem(
            "flags-exclude", "two flags that exclude each other", where, "leave --threshold away, or --labels"
        )
    for entry in entries:
        if ignored and set(_keys(entry)) & set(_keys(ignored)):
            where = f"--labels {entry} and --ignore {ignored.text}"
            remedy = f"leave {entry} or --ignore away"
            yield Problem("label-ignored", "value both a class and ignored", where, remedy)
    n_classes = sum(entry.name != "background" for entry in entries)
    if not n_classes and entries:
        where = "--labels names background only; nnU-Net needs a class to segment"
        yield Problem("label-none", "no class besides background", where, EXAMPLE)
    if n_classes > MOST_CLASSES:
        where = f"--labels names {n_classes} classes besides background; allowed are {MOST_CLASSES}"
        remedy = "join classes in the masks, or convert twice"
        yield Problem("label-many", "more classes than label files can hold", where, remedy)


def _reserved_names(entries: Sequence[Entry]) -> Iterator[Problem]:
    for entry in entries:
        if entry.name.lower() == "ignore":
            where = f"--labels {entry}; nnU-Net keeps this name for pixels that are not learnt"
            remedy = f"pass --ignore {shlex.quote(entry.text)} instead, or give the class another name"
            yield Problem("label-reserved", "reserved class name", where, remedy)
        elif entry.name.lower() == "background" != entry.name:
            where = f"--labels {entry}; nnU-Net's name is background, in small letters"
            remedy = f"type background={entry.text}, or give the class another name"
            yield Problem("label-reserved", "reserved class name", where, remedy)


def _repeated(entries: Sequence[Entry]) -> Iterator[Problem]:
    names = Counter(entry.name for entry in entries)
    for name in (n for n, times in names.items() if times > 1):
        typed = " ".join(str(entry) for entry in entries if entry.name == name)
        joined = ",".join(entry.text for entry in entries if entry.name == name)
        remedy = f"give each value a name of its own; to join classes, type {name}={joined}"
        yield Problem("label-repeated", "class name given twice", f"--labels {typed}", remedy)
    keys = Counter(key for entry in entries for key in _keys(entry))
    for key in (k for k, times in keys.items() if times > 1):
        typed = " ".join(str(entry) for entry in entries if key in _keys(entry))
        yield Problem("label-repeated", "value named twice", f"--labels {typed}", "keep one name for this value")


def _keys(entry: Entry) -> list[int | str]:
    return [*entry.values, *(f"#{colour}" for colour in entry.colours), *entry.classes]


def _mixed_kinds(entries: Sequence[Entry]) -> Iterator[Problem]:
    with_values = [entry for entry in entries if entry.values]
    with_colours = [entry for entry in entries if entry.colours]
    if with_values and with_colours:
        where = f"{with_values[0]} and {with_colours[0]}; allowed are values or colours"
        remedy = "name all classes by colours (#rrggbb), or all by values"
        yield Problem("label-kinds", "values and colours mixed", where, remedy)


def parsed_regions(
    regions: Sequence[str] | None, names: Mapping[str, int], problems: list[Problem]
) -> dict[str, tuple[int, ...]]:
    """``{region: labels}`` of ``--regions``; what is wrong goes to ``problems``."""
    parsed: dict[str, tuple[int, ...]] = {}
    known = [name for name in names if name not in RESERVED]
    for text in regions or ():
        name, _, classes = text.partition("=")
        unknown = [c for c in classes.split(",") if c not in known]
        if not name or name in RESERVED or name in parsed or unknown:
            where = f"--regions {text}; allowed is NAME=CLASS,CLASS with classes among {', '.join(known)}"
            remedy = "type for example --regions whole=edema,core core=core, each name once, the large regions first"
            problems.append(Problem("region-syntax", "region that cannot be understood", where, remedy))
            return {}
        parsed[name] = tuple(sorted({names[c] for c in classes.split(",")}))
    for fault in _entangled(parsed):
        problems.append(fault)
        return {}
    if parsed and {label for labels in parsed.values() for label in labels} != {names[n] for n in known}:
        left_out = [n for n in known if not any(names[n] in labels for labels in parsed.values())]
        where = f"--regions has no region with {', '.join(left_out)}"
        remedy = "put each class into a region, or name it background in --labels"
        problems.append(Problem("region-syntax", "class in no region", where, remedy))
        return {}
    return parsed


def _entangled(regions: Mapping[str, tuple[int, ...]]) -> Iterator[Problem]:
    """Check that regions lie inside one another, or apart, and each before those that it holds.

    nnU-Net writes one label a pixel; it stands for a set of regions only if no two of them overlap by halves.
    """
    items = [(name, set(labels)) for name, labels in regions.items()]
    for position, (name, labels) in enumerate(items):
        later = items[position + 1 :]
        if labels <= set[int]().union(*(others for _, others in later)):
            where = f"--regions {name} has no class that the regions after it lack"
            remedy = "put large regions first; each needs a class of its own"
            yield Problem("region-order", "region hidden by later ones", where, remedy)
        for other, others in later:
            if labels & others and labels - others and others - labels:
                where = f"--regions {name} and {other} share classes, and each has others as well"
                remedy = "make one of them part of the other, or train their classes without --regions"
                yield Problem("region-overlap", "regions that one label a pixel cannot tell", where, remedy)
