"""Which classes are scored: labels, regions of labels, and the label that is left out, as dataset.json names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_ext.evaluation.problems import EvaluationError

MOST_FOUND = 256  # more labels than these in references are no label maps, such as masks with soft edges
LARGEST_LABEL = 65535


@dataclass(frozen=True)
class Classes:
    """The classes that are scored.

    Attributes:
        members: name of a class or region -> its labels.
        keys: name -> how nnU-Net's summary.json calls it: "1" for a label, "(1, 2)" for a region.
        known: all labels that a map may hold, ascending, 0 among them; `ignore` only if dataset.json has it as a class.
        ignore: pixels with this label in the reference are left out of everything; None if there is none.
        names: label -> name, for the confusion of labels.
        region_based: the network has an output for each region, not for each label.
    """

    members: Mapping[str, tuple[int, ...]]
    keys: Mapping[str, str]
    known: tuple[int, ...]
    ignore: int | None
    names: Mapping[int, str]
    region_based: bool = False

    def member_table(self) -> np.ndarray:
        """Return which of the `known` labels each class has, `(classes, labels)` of 0 and 1."""
        rows = [[label in labels for label in self.known] for labels in self.members.values()]
        return np.array(rows, np.int64)


def classes_of(labels: Mapping[str, Any]) -> Classes:
    """Return the classes of dataset.json's `labels`; background is known, but not scored, as in nnU-Net.

    Raises `EvaluationError` if it is no such table.
    """
    lists = {name: _labels(name, value) for name, value in labels.items()}
    ignore = lists.pop("ignore", None)
    if ignore is not None and len(ignore) > 1:
        raise EvaluationError(f"the ignore label is one label, not {list(ignore)}: mend dataset.json or --ignore")
    keys = class_labels(labels)
    if not keys:
        raise EvaluationError("there is no class beside background: add one to dataset.json's labels, or use --labels")
    members = {name: lists[name] for name in keys}
    regions = any(len(values) > 1 for values in lists.values())
    return _checked(members, keys, lists, ignore[0] if ignore else None, regions)


def classes_from_flags(entries: Sequence[str], ignore: int | None, labels: Mapping[str, Any] | None = None) -> Classes:
    """Return the classes of `--labels polyp=1 whole=1,2` or `--labels 1 2`; a named background is scored, too.

    Args:
        entries: what was typed.
        ignore: label to leave out; None for that of `labels`.
        labels: of dataset.json, which are known, but not scored.

    Raises `EvaluationError` for what is not of this form.
    """
    members: dict[str, tuple[int, ...]] = {}
    for entry in entries:
        name, equals, values = entry.rpartition("=")
        try:
            chosen = list(dict.fromkeys(int(value) for value in values.split(",")))
        except ValueError:
            raise EvaluationError(f"--labels {entry}: type NAME=LABEL or NAME=LABEL,LABEL, e.g. polyp=1") from None
        name = name if equals else values
        if name in members or not name:
            raise EvaluationError(f"--labels {entry}: each class needs a name of its own")
        members[name] = _labels(name, chosen)
    others = {name: _labels(name, value) for name, value in (labels or {}).items()}
    ignored = others.pop("ignore", ())
    if ignore is None and ignored:
        ignore = ignored[0]
    return _checked(members, _keys(members), {**others, **members}, ignore)


def classes_found(labels: Iterable[int], ignore: int | None) -> Classes:
    """Return a class for each label that references hold, but 0.

    Raises `EvaluationError` for none, or too many.
    """
    found = sorted(set(labels) - {0, ignore})
    if not found:
        raise EvaluationError("the references hold no label beside 0: give -djfile dataset.json or --labels")
    if len(found) > MOST_FOUND:
        raise EvaluationError(
            f"the references hold {len(found)} labels, as pictures do and label maps do not. If they are label maps, "
            "give -djfile dataset.json or --labels"
        )
    members = {str(label): _labels(str(label), label) for label in found}
    return _checked(members, _keys(members), members, ignore)


def class_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """Return how nnU-Net's `summary.json` calls each foreground class.

    Args:
        labels: dataset.json's `labels`.

    Returns:
        From names to `label` as in `summary.read_summary`: "1" for a label, "(1, 2)" for a region.
    """
    lists = {name: list(v) if isinstance(v, (list, tuple)) else [v] for name, v in labels.items() if name != "ignore"}
    foreground = {name: values for name, values in lists.items() if set(values) != {0}}
    if not any(len(values) > 1 for values in lists.values()):
        return {name: str(int(value)) for name, (value,) in foreground.items()}
    return {n: str(tuple(v) if isinstance(labels[n], (list, tuple)) else v[0]) for n, v in foreground.items()}


def _keys(members: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    return {name: str(labels[0]) if len(labels) == 1 else str(labels) for name, labels in members.items()}


def _checked(
    members: Mapping[str, tuple[int, ...]],
    keys: Mapping[str, str],
    lists: Mapping[str, tuple[int, ...]],
    ignore: int | None,
    region_based: bool = False,
) -> Classes:
    """Return the classes; `lists` has the labels of every name, scored or not."""
    known = sorted({0}.union(*lists.values()))
    if any(ignore in labels for labels in members.values()):
        raise EvaluationError(f"label {ignore} is ignored and a class, too: choose another --ignore or --labels")
    return Classes(members, keys, tuple(known), ignore, _names(lists, known), region_based)


def _labels(name: str, value: Any) -> tuple[int, ...]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    try:
        labels = tuple(int(v) for v in values)
    except (TypeError, ValueError):
        labels = ()
    if not labels or any(
        not 0 <= label <= LARGEST_LABEL or label != v for label, v in zip(labels, values, strict=True)
    ):
        raise EvaluationError(f"class {name!r}: labels are whole numbers from 0 to {LARGEST_LABEL}, not {value!r}")
    return labels


def _names(lists: Mapping[str, tuple[int, ...]], known: Iterable[int]) -> dict[int, str]:
    single = {labels[0]: name for name, labels in lists.items() if len(labels) == 1}
    return {label: single.get(label, "background" if label == 0 else str(label)) for label in known}
