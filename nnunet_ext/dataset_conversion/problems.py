"""What is wrong with the user's files or flags, collected first and reported in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PER_KIND = 8


@dataclass(frozen=True)
class Problem:
    """One thing that stops a conversion.

    Attributes:
        what: the rule that is broken; problems with the same text are listed together.
        where: the file or flag, and the value found there.
        remedy: what to type or to do next.
    """

    what: str
    where: str
    remedy: str


class RefusedFile(Exception):  # noqa: N818 - never reaches the user: it carries one Problem to the collector
    """A single file cannot be used; carries the reason as a :class:`Problem`."""

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(f"{what}: {where}; {remedy}")
        self.problem = Problem(what, where, remedy)


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
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem.what, problem.remedy), []).append(problem.where)
    lines = [f"{counted(len(problems), 'problem')} found, nothing was written."]
    for (what, remedy), places in groups.items():
        lines.append(f"{what} ({len(places)}):")
        lines += [f"    {place}" for place in places[:SHOWN_PER_KIND]]
        if len(places) > SHOWN_PER_KIND:
            lines.append(f"    ... and {len(places) - SHOWN_PER_KIND} more")
        lines.append(f"  -> {remedy}")
    # File names may hold bytes that are no valid UTF-8; the message must be printable all the same.
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8")


def counted(n: int, noun: str) -> str:
    """``"1 image"``, ``"12 images"``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
