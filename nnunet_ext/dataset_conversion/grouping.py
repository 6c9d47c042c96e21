"""Group, structure and modality of each case from its name, by `--group-regex`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.problems import Problem

EXAMPLE = r"type for example --group-regex '(?P<group>p\d+)_'"
COLUMNS = ("group", "structure", "modality")


def grouped(cases: Sequence[Case], regex: str | None, problems: list[Problem]) -> list[Case]:
    """Fill group, structure and modality from the names."""
    if regex is None:
        return list(cases)
    try:
        pattern = re.compile(regex)
    except re.error as error:
        where = f"--group-regex {regex!r}: {error}"
        problems.append(Problem("regex-syntax", "regular expression that cannot be understood", where, EXAMPLE))
        return list(cases)
    if not pattern.groupindex or pattern.groupindex.keys() - set(COLUMNS):
        names = ", ".join(pattern.groupindex) or "nothing"
        where = f"--group-regex {regex!r} names {names}; allowed are {', '.join(COLUMNS)}"
        problems.append(Problem("regex-groups", "regular expression without a name to fill", where, EXAMPLE))
        return list(cases)
    filled = []
    for case in cases:
        match = pattern.search(case.name)
        if match is None:
            where, remedy = f"{case.image.files[0]}: case name {case.name!r}", "correct --group-regex"
            problems.append(Problem("regex-no-match", "names in which --group-regex finds nothing", where, remedy))
        found = match.groupdict(default="") if match else {}
        filled.append(
            replace(
                case,
                group=found.get("group") or case.group,
                structure=found.get("structure") or case.structure,
                modality=found.get("modality") or case.modality,
            )
        )
    return filled
