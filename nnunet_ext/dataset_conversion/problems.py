"""What is wrong with the user's files or flags, collected first and reported in one message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHOWN_PER_KIND = 8
VALUES_AS_FLAGS = 24


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or with ``is_warning`` one that the user should look at.

    Attributes:
        code: a short name that stays the same, such as "mask-missing"; docs/reference/conversion_problems.md has all.
        what: the rule that is broken; problems with the same text are listed together.
        where: the file or flag, and the value found there.
        remedy: what to type or to do next; see ``values``.
        values: values in a mask. In the message, ``{classes}`` in the remedy becomes ``NAME=VALUE`` for the values of
            all problems that are listed together, and ``{last}`` the highest of them.
        is_warning: the conversion goes on.
    """

    code: str
    what: str
    where: str
    remedy: str
    values: tuple[int, ...] = ()
    is_warning: bool = False


class RefusedFile(Exception):  # noqa: N818 - never reaches the user: it carries one Problem to the collector
    """A single file cannot be used; carries the reason as a :class:`Problem`."""

    def __init__(self, code: str, what: str, where: str, remedy: str, values: tuple[int, ...] = ()) -> None:
        super().__init__(f"{what}: {where}; {remedy}")
        self.problem = Problem(code, what, where, remedy, values)

    def __reduce__(self) -> tuple[type[RefusedFile], tuple[object, ...]]:
        """Pickle by the arguments: it comes back from worker processes."""
        problem = self.problem
        return type(self), (problem.code, problem.what, problem.where, problem.remedy, problem.values)


class ConversionError(ValueError):
    """A conversion was refused. The message lists every problem; nothing was written.

    Attributes:
        problems: the problems found, in the order of the checks.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def raise_if_any(problems: Sequence[Problem]) -> None:
    """Raise one :class:`ConversionError` that describes all errors in ``problems``; do nothing if there are none."""
    errors = [problem for problem in problems if not problem.is_warning]
    if errors:
        raise ConversionError(describe(errors), errors)


def describe(problems: Sequence[Problem]) -> str:
    """Render problems that stop a conversion as text, see :func:`grouped`."""
    lines = [f"{counted(len(problems), 'problem')} found, nothing was written.", *grouped(problems)]
    return "\n".join(lines)


def grouped(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield lines: problems grouped by rule and remedy, at most ``SHOWN_PER_KIND`` places a group."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.code, problem.what, problem.remedy), []).append(problem)
    for (code, what, remedy), members in groups.items():
        places = [problem.where for problem in members]
        yield f"[{code}] {what} ({len(places)}):"
        yield from (f"    {printable(place)}" for place in places[:SHOWN_PER_KIND])
        if len(places) > SHOWN_PER_KIND:
            yield f"    ... and {len(places) - SHOWN_PER_KIND} more"
        values = sorted({value for problem in members for value in problem.values})
        yield f"  -> {printable(with_values(remedy, values))}"


def printable(text: str) -> str:
    r"""Escape what file names may hold but no line should: newlines and others as ``\n``, bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def with_values(remedy: str, values: Sequence[int]) -> str:
    """Put the values found into a remedy, see :class:`Problem`."""
    if not values:
        return remedy
    entries = ["background=0" if value == 0 else f"class{value}={value}" for value in values[:VALUES_AS_FLAGS]]
    more = f" ... ({len(values)} values)" if len(values) > VALUES_AS_FLAGS else ""
    return remedy.replace("{classes}", " ".join(entries) + more).replace("{last}", str(values[-1]))


def counted(n: int, noun: str) -> str:
    """``"1 image"``, ``"12 images"``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
