"""Lists of images, a path a line, with the masks beside them: ``.lst`` and ``.txt`` as training code uses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem
from nnunet_ext.dataset_conversion.sources.endings import (
    ANNOTATION_ENDINGS,
    IMAGE_ENDINGS,
    annotation_of,
    composed,
    ending_of,
    stem_of,
    typed_path,
)

FLAGS = {"train": "--train-list", "val": "--val-list", "test": "--test-list"}


@dataclass(frozen=True)
class ListSource:
    """Text files with one image path a line, and perhaps, after a tab, a comma or blanks, its mask.

    Relative paths start at ``root``, or at the folder of the list. Without a second path the mask is found by its
    name: image stem - image suffix + mask suffix, in ``masks``, or beside the image; ``replace`` changes the path of
    the folder, as the IFE authors' lists need it ("Image" -> "Mask").

    Attributes:
        lists: "train", "val", "test" -> list file.
        root: folder that relative paths start at; None for the folder of each list.
        masks: folder of the masks; None for the folder of each image.
        image_suffix: end of every image stem that is not part of the case name.
        mask_suffix: end of every mask stem.
        replace: (old, new) in the path of the image's folder, to get that of its mask.
    """

    lists: Mapping[str, Path]
    root: Path | None = None
    masks: Path | None = None
    image_suffix: str = ""
    mask_suffix: str = ""
    replace: tuple[str, str] | None = None

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Read the lists; an entry whose file does not exist is a problem, never dropped."""
        cases = []
        for part, file in self.lists.items():
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                where, remedy = f"{FLAGS[part]} {file}: {error}", f"correct the path after {FLAGS[part]}"
                problems.append(Problem("list-unreadable", "list that cannot be read", where, remedy))
                continue
            base = self.root or file.parent
            entries = [(n, line.strip()) for n, line in enumerate(lines, 1) if not _is_comment(line.strip(), base)]
            found = [c for n, line in entries if (c := self._case(f"{file}, line {n}", line, base, part, problems))]
            problems += _lacking(found, file)
            cases += found
            if not entries:
                problems.append(
                    Problem("list-empty", "list without entries", f"{FLAGS[part]} {file}", "name a list with paths")
                )
        return cases

    def _case(self, place: str, line: str, base: Path, part: str, problems: list[Problem]) -> Case | None:
        image, mask = _split(line, base)
        if not image.is_file():
            where = f"{place}: {image} does not exist"
            remedy = "correct the list, or name the folder that its paths start at: --root DIR"
            problems.append(Problem("list-entry", "entries of a list that do not exist", where, remedy))
            return None
        if ending_of(image) not in IMAGE_ENDINGS:
            where = f"{place}: {image}; allowed are {' '.join(IMAGE_ENDINGS)}"
            problems.append(Problem("format", "image file format not supported", where, "convert these files to PNG"))
            return None
        stem = stem_of(image)
        if not stem.endswith(self.image_suffix):
            where = f"{place}: the stem {stem!r} does not end in {self.image_suffix!r}"
            problems.append(
                Problem("suffix-missing", "image names without the suffix", where, "correct --image-suffix")
            )
            return None
        name = stem[: len(stem) - len(self.image_suffix)]
        found = mask or self._mask_of(image, name)
        if found is None or not found.is_file():
            if part == "test" and mask is None:
                return Case(composed(name), ImageFile(image), None, part)
            where = f"{place}: no mask {found or self._wanted(image, name)}"
            remedy = "add the masks, or correct --mask-suffix, --replace or -m"
            problems.append(Problem("mask-missing", "images without a mask", where, remedy))
            return None
        return Case(composed(name), ImageFile(image), annotation_of(found), part)

    def _folder(self, image: Path) -> Path:
        if self.masks is not None:
            return self.masks
        return Path(str(image.parent).replace(*self.replace)) if self.replace else image.parent

    def _wanted(self, image: Path, name: str) -> str:
        return f"{self._folder(image) / (name + self.mask_suffix)}.*"

    def _mask_of(self, image: Path, name: str) -> Path | None:
        stem = self._folder(image) / (name + self.mask_suffix)
        endings = (ending_of(image), *IMAGE_ENDINGS, *ANNOTATION_ENDINGS)
        candidates = [Path(f"{stem}{form}") for ending in endings for form in (ending, ending.upper())]
        return next((path for path in candidates if path != image and path.is_file()), None)


def _is_comment(line: str, base: Path) -> bool:
    return not line or (line.startswith("#") and not typed_path(line, base).is_file())


def _lacking(cases: list[Case], file: Path) -> Iterator[Problem]:
    """Test images may all be without masks; a few of them are rather an oversight."""
    if any(case.mask for case in cases):
        for case in cases:
            if case.mask is None:
                where, remedy = (
                    f"{file}: {case.image.files[0]}",
                    "add the masks, or list these images without the others",
                )
                yield Problem("mask-missing", "test images without a mask, among others that have one", where, remedy)


def _split(line: str, base: Path) -> tuple[Path, Path | None]:
    """Image and mask of one line; a path may hold blanks and commas, if the file exists."""
    if typed_path(line, base).is_file():
        return typed_path(line, base), None
    for separator in ("\t", ","):
        if separator in line:
            image, mask = (part.strip() for part in line.split(separator, 1))
            return typed_path(image, base), typed_path(mask, base) if mask else None
    words = line.split()
    if len(words) == 2:
        return typed_path(words[0], base), typed_path(words[1], base)
    return typed_path(line, base), None
