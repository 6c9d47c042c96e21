"""What keeps cases from being evaluated: collected, named in one list, counted beside every result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHOWN_PER_KIND = 8


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        code: a short name that stays the same, such as "prediction-missing".
        what: the rule that is broken; problems with the same text are listed together.
        case: which case, and what was found there.
        remedy: what to do next.
    """

    code: str
    what: str
    case: str
    remedy: str


class EvaluationError(ValueError):
    """Nothing can be evaluated; the message says why and what to type."""


class RefusedCase(Exception):  # noqa: N818 - never reaches the user: it carries one Problem to the collector
    """A case cannot be evaluated; carries the reason."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def grouped(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield lines: problems grouped by rule and remedy, at most `SHOWN_PER_KIND` cases a group."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem.code, problem.what, problem.remedy), []).append(problem.case)
    for (code, what, remedy), cases in groups.items():
        yield f"[{code}] {what} ({len(cases)}):"
        yield from (f"    {_printable(case)}" for case in cases[:SHOWN_PER_KIND])
        if len(cases) > SHOWN_PER_KIND:
            yield f"    ... and {len(cases) - SHOWN_PER_KIND} more"
        yield f"  -> {remedy}"


def counted(n: int, noun: str) -> str:
    """Return "1 case", "12 cases"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _printable(text: str) -> str:
    """Escape what file names may hold but is no valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
