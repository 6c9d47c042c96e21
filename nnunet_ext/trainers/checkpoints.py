"""Files that are never half-written, and checkpoints that are checked before they are used."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nnunet_ext import __version__

FORMAT = 1  # of what this package adds to a checkpoint; raised when an older reader would misread it
KEY = "nnunet_ext"  # under checkpoint["init_args"], which survives --c, --val and the exported zip


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used by this trainer; the message says why and what to type."""


def write_atomically(path: str | os.PathLike[str], write: Callable[[str], None]) -> None:
    """Write a file so that at every moment either the old or the whole new content stands under its name.

    Args:
        path: where the file is to stand.
        write: writes the whole content to the file name that it is given (a temporary one beside `path`).
    """
    temporary = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"  # processes of other machines may write the same file
    try:
        write(temporary)
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that a killed process left in a training's folder."""
    for leftover in Path(folder).glob("*.*.tmp"):
        leftover.unlink(missing_ok=True)


def set_aside(folder: str | os.PathLike[str], now: str) -> Path | None:
    """Move the checkpoints of an earlier training of the same fold into a sub-folder, so that `--c` cannot take them.

    Args:
        folder: the fold's folder.
        now: names the sub-folder, `earlier_<now>`.

    Returns:
        The sub-folder, or None if there was nothing to move.
    """
    # in this order: whenever it is broken off, what nnU-Net would continue from is still the earlier training's newest
    names = ("checkpoint_best.pth", "checkpoint_latest.pth", "checkpoint_final.pth")
    found = [Path(folder, name) for name in names if Path(folder, name).is_file()]
    if not found:
        return None
    aside = Path(folder, f"earlier_{now.replace(':', '-')}")
    aside.mkdir(exist_ok=True)
    for checkpoint in found:
        checkpoint.rename(aside / checkpoint.name)
    return aside


def write_json_atomically(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON as `write_atomically` does."""
    text = json.dumps(content, indent=2, default=str) + "\n"

    def write(temporary: str) -> None:
        Path(temporary).write_text(text, encoding="utf-8")

    write_atomically(path, write)


def header(network: dict[str, str]) -> dict[str, Any]:
    """Return what this package adds to a checkpoint: format, version, and the network's parts."""
    return {"format": FORMAT, "version": __version__, "network": network}


def check_checkpoint(filename: str, trainer: str, network: dict[str, str]) -> None:
    """Read a checkpoint's header (its tensors stay on disk) and refuse it if this trainer cannot continue from it.

    Args:
        filename: a `checkpoint_*.pth`.
        trainer: name of the trainer that wants it.
        network: the parts of that trainer's network.

    Raises:
        CheckpointError: if the file is unreadable, of a newer format, or of a network with other parts.
    """
    try:
        checkpoint = torch.load(filename, map_location="cpu", weights_only=False, mmap=True)
        written_by, init_args = checkpoint["trainer_name"], checkpoint["init_args"]
    except Exception as error:
        raise CheckpointError(
            f"{filename} cannot be read as a checkpoint ({type(error).__name__}: {error}). "
            "Move it away and run the training's command with --c: nnU-Net continues from the next one beside it."
        ) from error
    found = init_args.get(KEY)
    if found is None:
        return  # written by stock nnU-Net: the strict loading of weights decides
    if found["format"] > FORMAT:
        raise CheckpointError(
            f"{filename} was written by nnunet_ext {found['version']} (checkpoint format {found['format']}); this is "
            f"{__version__}, which reads formats up to {FORMAT}. Type: pip install --upgrade nnunet-ext"
        )
    if found["network"] != network:
        keys = sorted(set(found["network"]) | set(network))
        differs = ", ".join(
            f"{k}: {found['network'].get(k)} there, {network.get(k)} here"
            for k in keys
            if found["network"].get(k) != network.get(k)
        )
        raise CheckpointError(
            f"{filename} holds another network than {trainer} builds ({differs}). It was written by {written_by} "
            f"with nnunet_ext {found['version']}. Continue it with -tr {written_by} and that version, or move the "
            "folder away to train anew."
        )
