"""Files of a known layout: found by pattern, paired by name, with problems for what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nnunet_ext.dataset_conversion.problems import Problem


def files_by_key(root: Path, pattern: str, key: str, problems: list[Problem], *, needed: bool = True) -> dict[str, Path]:
    """``{key: file}`` for the files below ``root`` that match.

    Args:
        root: folder of the data set.
        pattern: glob relative to ``root``, such as ``"leftImg8bit/train/*/*.png"``. Hidden files are left out.
        key: regular expression that the path relative to ``root`` (with "/") must match as a whole; its groups,
            joined by "_", are the key. Files that do not match are left out.
        problems: what is wrong is appended here.
        needed: whether it is a problem if there is no such file.
    """
    found: dict[str, Path] = {}
    for path in sorted(root.glob(pattern)):
        match = re.fullmatch(key, path.relative_to(root).as_posix())
        if match is None or not path.is_file() or path.name.startswith("."):
            continue
        name = "_".join(match.groups())
        if name in found:
            where = f"{found[name]} and {path}"
            problems.append(Problem("case-twice", "two files for one case", where, "keep one of the two files"))
        found[name] = path
    if needed and not found:
        where = f"{root / pattern}: no such file"
        remedy = "name the folder that holds this layout after -i; nnunet_ext convert --list NAME shows it"
        problems.append(Problem("layout-not-found", "files of the data set not found", where, remedy))
    return found


def paired(
    images: Mapping[str, Path], masks: Mapping[str, Path], problems: list[Problem], *, masks_needed: bool = True
) -> Iterator[tuple[str, Path, Path | None]]:
    """Yield ``(key, image, mask)``, sorted by key; a file without its partner is a problem.

    Args:
        images: by key.
        masks: by key.
        problems: what is wrong is appended here.
        masks_needed: whether an image must have a mask; otherwise its mask is None.
    """
    if not images or not masks:  # one problem already says so, if it is one
        if not masks_needed:
            yield from ((key, image, None) for key, image in sorted(images.items()))
        return
    remedy = "add the missing files, or remove these if the data set lacks them"
    for key in sorted(images.keys() - masks.keys()) if masks_needed else ():
        problems.append(Problem("mask-missing", "images without a mask", f"{images[key]}: no mask for {key!r}", remedy))
    for key in sorted(masks.keys() - images.keys()):
        where = f"{masks[key]}: no image for {key!r}"
        problems.append(Problem("image-missing", "masks without an image", where, remedy))
    for key in sorted(images):
        if key in masks or not masks_needed:
            yield key, images[key], masks.get(key)
