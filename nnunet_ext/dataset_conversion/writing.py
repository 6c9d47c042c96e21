"""Writing of a checked data set: complete under its name, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.dataset_conversion.checks import announced
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.pairs import Pair
from nnunet_ext.dataset_conversion.pixels import as_mode, read_image
from nnunet_ext.dataset_conversion.problems import ConversionError, RefusedFile, describe

CHANNEL_NAMES = {"RGB": ("R", "G", "B"), "L": ("grey",), "I;16": ("grey",)}


def write_dataset(
    target: Path,
    name: str,
    train: Sequence[Pair],
    test: Sequence[Pair],
    mode: str,
    legend: Legend,
    progress: Callable[[str], None] | None,
) -> None:
    """Write the data set to a hidden folder beside ``target``, then rename it; nothing half-written remains.

    Args:
        target: the ``Dataset<id>_<name>`` folder; an old one is replaced, and kept if anything fails.
        name: data set name for ``dataset.json``.
        train: complete pairs.
        test: pairs, with or without mask.
        mode: "L", "I;16" or "RGB", the common mode of all images.
        legend: what the masks' values mean.
        progress: called now and then with a short text.

    Raises:
        ConversionError: a source file changed since it was checked.
        OSError: the output could not be written.
    """
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(3)}")
    part_of = {pair.image: "Tr" for pair in train} | {pair.image: "Ts" for pair in test}
    try:
        for pair in announced([*train, *test], "wrote", progress):
            _write_pair(pair, temporary, part_of[pair.image], mode, legend)
        _write_dataset_json(temporary, name, len(train), mode, legend)
        _put_in_place(temporary, target)
    except RefusedFile as refused:
        raise ConversionError(describe([refused.problem]), [refused.problem]) from refused
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_pair(pair: Pair, folder: Path, part: str, mode: str, legend: Legend) -> None:
    pixels = as_mode(read_image(pair.image), mode)
    _save(pixels, folder / f"images{part}" / f"{pair.case}_0000.png")
    if pair.mask is not None:
        _save(legend.read(pair.mask).labels, folder / f"labels{part}" / f"{pair.case}.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_dataset_json(folder: Path, name: str, n_train: int, mode: str, legend: Legend) -> None:
    from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

    generate_dataset_json(
        str(folder),
        channel_names={str(index): channel for index, channel in enumerate(CHANNEL_NAMES[mode])},
        labels=dict(legend.names),
        num_training_cases=n_train,
        file_ending=".png",
        dataset_name=name,
        license="not stated",
        converted_by="nnunet_ext convert",
        overwrite_image_reader_writer="NaturalImage2DIO",
    )


def _put_in_place(new: Path, target: Path) -> None:
    """Rename ``new`` to ``target``; an old ``target`` is removed after that, or comes back if it fails."""
    if not os.path.lexists(target):
        os.rename(new, target)
        return
    old = new.with_name(new.name.replace(".tmp-", ".old-"))
    try:
        os.rename(target, old)
        os.rename(new, target)
    finally:
        if not os.path.lexists(target):
            os.rename(old, target)
        elif old.is_symlink():
            old.unlink()
        else:
            shutil.rmtree(old, ignore_errors=True)
