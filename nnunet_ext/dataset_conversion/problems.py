"""What is wrong with the user's files or flags, collected first and reported in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PER_KIND = 8
VALUES_AS_FLAGS = 24


@dataclass(frozen=True)
class Problem:
    """One thing that stops a conversion.

    Attributes:
        what: the rule that is broken; problems with the same text are listed together.
        where: the file or flag, and the value found there.
        remedy: what to type or to do next; see ``values``.
        values: values in a mask. In the message, ``{classes}`` in the remedy becomes ``NAME=VALUE`` for the values of
            all problems that are listed together, and ``{last}`` the highest of them.
    """

    what: str
    where: str
    remedy: str
    values: tuple[int, ...] = ()


class RefusedFile(Exception):  # noqa: N818 - never reaches the user: it carries one Problem to the collector
    """A single file cannot be used; carries the reason as a :class:`Problem`."""

    def __init__(self, what: str, where: str, remedy: str, values: tuple[int, ...] = ()) -> None:
        super().__init__(f"{what}: {where}; {remedy}")
        self.problem = Problem(what, where, remedy, values)


class ConversionError(ValueError):
    """A conversion was refused. The message lists every problem; nothing was written.

    Attributes:
        problems: the problems found, in the order of the checks.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def raise_if_any(problems: Sequence[Problem]) -> None:
    """Raise one :class:`ConversionError` that describes all ``problems``; do nothing if there are none."""
    if problems:
        raise ConversionError(describe(problems), problems)


def describe(problems: Sequence[Problem]) -> str:
    """Render problems as text, grouped by rule and remedy, at most ``SHOWN_PER_KIND`` places a group."""
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.what, problem.remedy), []).append(problem)
    lines = [f"{counted(len(problems), 'problem')} found, nothing was written."]
    for (what, remedy), members in groups.items():
        places = [problem.where for problem in members]
        lines.append(f"{what} ({len(places)}):")
        lines += [f"    {place}" for place in places[:SHOWN_PER_KIND]]
        if len(places) > SHOWN_PER_KIND:
            lines.append(f"    ... and {len(places) - SHOWN_PER_KIND} more")
        values = sorted({value for problem in members for value in problem.values})
        lines.append(f"  -> {_with_values(remedy, values) if values else remedy}")
    # File names may hold bytes that are no valid UTF-8; the message must be printable all the same.
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8")


def _with_values(remedy: str, values: Sequence[int]) -> str:
    entries = ["background=0" if value == 0 else f"class{value}={value}" for value in values[:VALUES_AS_FLAGS]]
    more = f" ... ({len(values)} values)" if len(values) > VALUES_AS_FLAGS else ""
    return remedy.replace("{classes}", " ".join(entries) + more).replace("{last}", str(values[-1]))


def counted(n: int, noun: str) -> str:
    """``"1 image"``, ``"12 images"``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
