"""``splits_final.json`` in the folder where nnU-Net reads it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from nnunet_ext.dataset_conversion.problems import Problem


def other_splits(path: Path | None, text: str) -> Iterator[Problem]:
    """Check that no other splits file is in the way; ``path`` is None if it is not to be written."""
    if path is None or not path.is_file() or _has_same_folds(path, text):
        return
    where = f"{path} holds other folds than those of this conversion"
    remedy = f"move it away, or pass --overwrite, which keeps it as {path.name}.old1"
    yield Problem("splits-exist", "another splits_final.json", where, remedy)


def check_writable(path: Path | None) -> None:
    """Make sure that the file can be written later: a data set without its folds would be trained on others.

    Raises:
        OSError: it cannot.
    """
    if path is not None:
        there = next(folder for folder in path.absolute().parents if folder.exists())
        probe = there / f".{path.name}.{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()


def write_splits(path: Path | None, text: str) -> None:
    """Write the file whole; one that is there and differs is kept beside it."""
    if path is None or (path.is_file() and _has_same_folds(path, text)):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        if path.exists():
            number = next(n for n in range(1, 10_000) if not (path.parent / f"{path.name}.old{n}").exists())
            shutil.copy2(path, path.parent / f"{path.name}.old{number}")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _has_same_folds(path: Path, text: str) -> bool:
    """Whether a file holds these folds, however it is laid out: nnU-Net writes them in another form."""
    try:
        return bool(json.loads(path.read_bytes()) == json.loads(text))
    except ValueError:
        return False
