"""Lists with the path of an image a line, and the masks that belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from nnunet_ext.dataset_conversion.problems import Problem

Lists = Mapping[str, Path]  # split -> list


class Folders:
    """Whether files exist, with one look at each folder instead of one at each file."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
        """Whether the folder of ``path`` lists its name."""
        folder = path.parent
        if folder not in self._names:
            self._names[folder] = frozenset(p.name for p in folder.iterdir()) if folder.is_dir() else frozenset()
        return path.name in self._names[folder]


def pairs_of_list(listing: Path, problems: list[Problem]) -> Iterator[tuple[str, Path, Path]]:
    """Yield ``(stem, image, mask)``, in the list's order; a line whose image or mask is not found is a problem.

    Paths are absolute, or relative to the list's folder. The mask is ``STEM_mask`` with the image's ending or .png, in
    the image's folder or in the path in which every "Image" is replaced by "Mask".
    """
    folders = Folders()
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        image = listing.parent / line.strip()  # stays absolute if it is
        mask = next((path for path in _masks_of(image) if folders.has(path)), None)
        if not folders.has(image):
            where, remedy = f"{listing}, line {number}: {image}", "correct the paths in the list, or remove the lines"
            problems.append(Problem("entry-not-found", "list entries without files", where, remedy))
        elif mask is None:
            where = f"{listing}, line {number}: {image}: none of {', '.join(map(str, _masks_of(image)))}"
            remedy = "add the missing files, or remove the lines"
            problems.append(Problem("mask-missing", "images without a mask", where, remedy))
        else:
            yield image.stem, image, mask


def _masks_of(image: Path) -> list[Path]:
    """Where the mask may be, the likeliest first."""
    beside = [image.with_name(f"{image.stem}_mask{ending}") for ending in (image.suffix, ".png")]
    replaced = [Path(str(path).replace("Image", "Mask")) for path in beside]
    return list(dict.fromkeys([*beside, *replaced]))
