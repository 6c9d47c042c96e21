"""What layouts of driving scenes share: the folder of the archive, and files by part of the official split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnunet_ext.dataset_conversion.cases import SPLITS
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.problems import Problem


class Found(NamedTuple):
    """One image of a part of the official split, with its mask, if there is one."""

    key: str
    image: Path
    mask: Path | None
    split: str


class Names(NamedTuple):
    """Where files of one kind lie.

    Attributes:
        pattern: glob below the root, with ``{split}``.
        key: regular expression of the path below the root, with ``{split}``; its groups are the key.
    """

    pattern: str
    key: str

    def files(self, root: Path, split: str, problems: list[Problem], needed: bool) -> dict[str, Path]:
        """``{key: file}`` of one part of the split."""
        pattern, key = (text.replace("{split}", split) for text in self)
        return files_by_key(root, pattern, key, problems, needed=needed)


def unpacked(root: Path, folder: str) -> Path:
    """Return ``root``, or the folder in it that the archive makes."""
    return root / folder if (root / folder).is_dir() else root


def by_official_split(root: Path, images: Names, masks: Names, problems: list[Problem]) -> Iterator[Found]:
    """Yield images of "train" and "val" with masks, and of "test" without: its masks are withheld.

    Images for test need not be there.
    """
    for split in SPLITS:
        is_test = split == "test"
        found = images.files(root, split, problems, not is_test)
        masked = {} if is_test else masks.files(root, split, problems, True)
        for key, image, mask in paired(found, masked, problems, masks_needed=not is_test):
            yield Found(key, image, mask, split)
