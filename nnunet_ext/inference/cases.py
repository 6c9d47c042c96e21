"""Cases in a folder in nnU-Net's naming: CASE_0000.png, CASE_0001.png, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


class CasesError(ValueError):
    """Images are not where, or not as, they should be; the message says what is there."""


def find_cases(folder: Path, ending: str, wanted: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return each case's files in the order of their numbers; cases in the order of their names, or as wanted.

    A file may hold several channels (RGB), so that their number is known only once it is read.

    Args:
        folder: where the images are.
        ending: of the files, e.g. ".png" (dataset.json's file_ending).
        wanted: names of cases; None: all.

    Raises:
        CasesError: if the folder or a wanted case is not there, it has no such file, or a case's numbers have a gap.
    """
    if not folder.is_dir():
        raise CasesError(f"-i {folder}: no such folder")
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    cases: dict[str, list[str]] = {}
    for file in sorted(folder.iterdir()):
        if match := pattern.fullmatch(file.name):
            cases.setdefault(match[1], []).append(str(file))
    if not cases:
        raise CasesError(f"-i {folder}: no images named as nnU-Net's, which are CASE_0000{ending} for this model")
    for name in wanted or ():
        if name not in cases:
            known = ", ".join(list(cases)[:20]) + (", ..." if len(cases) > 20 else "")
            raise CasesError(f"--cases {name}: not in {folder}, which has: {known}")
    chosen = {name: cases[name] for name in wanted or cases}
    for name, files in chosen.items():
        expected = [f"{name}_{number:04d}{ending}" for number in range(len(files))]
        missing = [file for file in expected if not (folder / file).is_file()]
        if missing:
            raise CasesError(f"-i {folder}: case {name} lacks {missing[0]}")
    return chosen
