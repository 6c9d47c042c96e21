"""Images and masks in folders: they belong together by name and never by position in a list."""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import SHOWN_PER_KIND, Problem, counted
from nnunet_ext.dataset_conversion.sources.endings import (
    ANNOTATION_ENDINGS,
    IMAGE_ENDINGS,
    OTHER_IMAGE_ENDINGS,
    annotation_of,
    composed,
    ending_of,
    stem_of,
)

FLAGS = {
    "train": ("-i", "-m"),
    "val": ("--val-images", "--val-masks"),
    "test": ("--test-images", "--test-masks"),
}


@dataclass(frozen=True)
class FolderSource:
    """Folders of images and masks for each part; mask stem = image stem - image suffix + mask suffix.

    Attributes:
        parts: "train", "val", "test" -> folder of images and folder of masks. The masks may lie in the folder of the
            images if the suffixes differ; of test images they may be missing (None).
        image_suffix: end of every image stem that is not part of the case name.
        mask_suffix: end of every mask stem, such as "_mask".
    """

    parts: Mapping[str, tuple[Path | None, Path | None]]
    image_suffix: str = ""
    mask_suffix: str = ""

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Find the pairs of every part."""
        problems += suffix_problems({"--image-suffix": self.image_suffix, "--mask-suffix": self.mask_suffix})
        cases: list[Case] = []
        for part, (images, masks) in self.parts.items():
            image_flag, mask_flag = FLAGS[part]
            if images is None:
                remedy = f"name the folder of the {part} images with {image_flag}, or leave {mask_flag} away"
                problems.append(
                    Problem("folder-missing", f"{part} masks without {part} images", f"{mask_flag} {masks}", remedy)
                )
                continue
            image_side = Side("image", Path(images), self.image_suffix, image_flag, "--image-suffix")
            mask_side = None
            if masks is not None:
                mask_side = Side("mask", Path(masks), self.mask_suffix, mask_flag, "--mask-suffix")
            cases += find_pairs(image_side, mask_side, part, problems, notes)
        return cases


def suffix_problems(suffixes: Mapping[str, str]) -> Iterator[Problem]:
    """Check ``{flag: suffix}`` for file endings, which are no part of a stem."""
    for flag, suffix in suffixes.items():
        ending = Path("x" + suffix).suffix
        if ending.lower() in (*IMAGE_ENDINGS, *OTHER_IMAGE_ENDINGS):
            bare = suffix[: -len(ending)]
            remedy = f"leave the file ending away: {flag} {bare}" if bare else f"leave {flag} away"
            where = f"{flag} {suffix}; allowed is the end of the stem, without {ending}"
            yield Problem("suffix-with-ending", "suffix with a file ending", where, remedy)


@dataclass(frozen=True)
class Side:
    """One folder of a set of pairs, with the flags that named it (for messages)."""

    kind: str  # "image" or "mask"
    folder: Path
    suffix: str
    folder_flag: str
    suffix_flag: str


def find_pairs(images: Side, masks: Side | None, part: str, problems: list[Problem], notes: Counter[str]) -> list[Case]:
    """Pair images and masks of one part. Without ``masks`` every image is a case of its own.

    Args:
        images: image folder and suffix.
        masks: mask folder and suffix, or None.
        part: "train", "val" or "test".
        problems: what is wrong is appended here; nothing is raised.
        notes: what the user should know is counted here.

    Returns:
        The complete pairs, sorted by case.
    """
    image_of = _index(images, masks, problems, notes)
    if masks is None:
        return [Case(name, ImageFile(path), None, part) for name, path in sorted(image_of.items())]
    mask_of = _index(masks, images, problems, notes)
    beside = images.folder.resolve() == masks.folder.resolve()
    if beside and part == "test" and image_of and not mask_of and not _ending_of_half(sorted(image_of)):
        notes[f"{{images}} of test in {images.folder} without masks: no name there ends in {masks.suffix!r}"] += len(
            image_of
        )
        return [Case(name, ImageFile(path), None, part) for name, path in sorted(image_of.items())]
    if beside or (image_of and mask_of):  # else the empty folder was told already
        remedy = _suffix_remedy(image_of, images, mask_of, masks)
        problems += _unmatched(image_of, images, mask_of, masks, remedy)
        problems += _unmatched(mask_of, masks, image_of, images, remedy)
    return [
        Case(name, ImageFile(image_of[name]), annotation_of(mask_of[name]), part)
        for name in sorted(image_of.keys() & mask_of.keys())
    ]


def _index(side: Side, other: Side | None, problems: list[Problem], notes: Counter[str]) -> dict[str, Path]:
    """``{case: file}`` of one folder; what has no place in it goes to ``problems``."""
    shared = other is not None and side.folder.resolve() == other.folder.resolve()
    same_stems = shared and other is not None and side.suffix == other.suffix
    if same_stems and other is not None and not _has_annotations(side.folder):
        flags = f"{side.folder_flag} and {other.folder_flag}"
        where = f"{flags} are both {side.folder}, and both suffixes are {side.suffix!r}"
        remedy = "pass --image-suffix or --mask-suffix so that the names differ, or use two folders"
        if side.kind == "image":
            problems.append(Problem("not-told-apart", "images and masks cannot be told apart", where, remedy))
        return {}
    suffix, rival = composed(side.suffix), composed(other.suffix) if shared and other is not None else ""
    cases: dict[str, list[Path]] = {}
    for path in _usable_files(side, shared, problems, notes):
        stem = composed(stem_of(path))
        if same_stems and side.kind == "mask" and ending_of(path) in IMAGE_ENDINGS:
            continue  # outlines lie beside their images, under the same stems
        if len(rival) > len(suffix) and stem.endswith(rival):
            continue
        if stem.endswith(suffix):
            cases.setdefault(stem[: len(stem) - len(suffix)], []).append(path)
        elif not shared:
            problems.append(_without_suffix(path, side))
    problems += _name_problems(cases, side)
    return {case: paths[0] for case, paths in cases.items()}


def _has_annotations(folder: Path) -> bool:
    return folder.is_dir() and any(ending_of(path) in ANNOTATION_ENDINGS for path in folder.iterdir())


def _usable_files(side: Side, shared: bool, problems: list[Problem], notes: Counter[str]) -> list[Path]:
    if not side.folder.is_dir():
        got = "is not a folder" if side.folder.exists() else "does not exist"
        remedy = f"correct the path after {side.folder_flag}"
        problems.append(
            Problem("folder-missing", "folder not found", f"{side.folder} ({side.folder_flag}) {got}", remedy)
        )
        return []
    usable = []
    for path in sorted(p for p in side.folder.iterdir() if not p.name.startswith(".") and not p.is_dir()):
        ending = ending_of(path)
        if ending in IMAGE_ENDINGS or (ending in ANNOTATION_ENDINGS and side.kind == "mask"):
            usable.append(path)
        elif shared and side.kind == "mask":
            continue  # reported once, with the images
        elif ending in OTHER_IMAGE_ENDINGS:
            problems.append(_unsupported(path, side))
        elif not (shared and ending in ANNOTATION_ENDINGS):
            notes[f"skipped {{files}} ({ending or 'no ending'}) in {side.folder}: not an image format"] += 1
    if not usable:
        where = f"{side.folder} ({side.folder_flag}) holds no file that ends in {' '.join(IMAGE_ENDINGS)}"
        remedy = (
            f"name the folder that holds the {side.kind}s directly; sub-folders are searched with --image-regex and "
            "--mask-regex only"
        )
        problems.append(Problem("folder-empty", f"no {side.kind}s in a folder", where, remedy))
    return usable


def _unsupported(path: Path, side: Side) -> Problem:
    where = f"{path}; allowed are PNG, BMP, TIFF, JPEG, GIF and PPM"
    remedy = "convert these files to PNG without loss, or move them out of the folder"
    return Problem("format", f"{side.kind} file format not supported", where, remedy)


def _without_suffix(path: Path, side: Side) -> Problem:
    where = f"{path}: the stem {stem_of(path)!r} does not end in {side.suffix!r} ({side.suffix_flag})"
    remedy = f"correct {side.suffix_flag}, or move these files out of {side.folder}"
    return Problem("suffix-missing", f"{side.kind} names without the suffix", where, remedy)


def _name_problems(cases: dict[str, list[Path]], side: Side) -> Iterable[Problem]:
    for paths in cases.values():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            same = " (the same name: one writes accents as characters of their own)"
            names += same if len({composed(path.name) for path in paths}) < len(paths) else ""
            where, remedy = f"{names} in {side.folder}", "keep one file of each name"
            yield Problem("case-twice", f"several {side.kind} files for one case", where, remedy)


def _unmatched(
    own: dict[str, Path], side: Side, others: dict[str, Path], other: Side, remedy: str
) -> Iterable[Problem]:
    """One problem for each case of ``own`` that ``others`` lacks, with the nearest names."""
    missing = sorted(own.keys() - others.keys())
    unused = [stem_of(path) for case, path in others.items() if case not in own]
    unused = unused or [stem_of(path) for path in others.values()]
    for position, case in enumerate(missing):
        where = f"{own[case]}: no {other.kind} with the stem {case + other.suffix!r} in {other.folder}"
        if position < SHOWN_PER_KIND and (near := difflib.get_close_matches(case + other.suffix, unused, 2, 0.5)):
            where += f" (nearest: {', '.join(near)})"
        partner = "an image" if other.kind == "image" else "a mask"
        yield Problem(f"{other.kind}-missing", f"{side.kind}s without {partner}", where, remedy)


def _suffix_remedy(image_of: dict[str, Path], images: Side, mask_of: dict[str, Path], masks: Side) -> str:
    """Name the flag that would match the names, if one side only has an ending more; else general advice."""
    lone_images, lone_masks = sorted(image_of.keys() - mask_of.keys()), sorted(mask_of.keys() - image_of.keys())
    if lone_images and not mask_of and (ending := _ending_of_half(lone_images)):
        return f"pass {masks.suffix_flag} {ending}: half of the names are others with this ending"
    mask_stems, image_stems = [mask_of[case].stem for case in lone_masks], [image_of[case].stem for case in lone_images]
    for flag, cases, stems in (
        (masks.suffix_flag, lone_images[:50], mask_stems[:50]),
        (images.suffix_flag, lone_masks[:50], image_stems[:50]),
    ):
        endings = Counter(stem[len(case) :] for case in cases for stem in stems if case and stem.startswith(case))
        ending, fits = endings.most_common(1)[0] if endings else ("", 0)
        if ending and 2 * fits > len(cases):
            return f"pass {flag} {ending} ({fits} of {counted(len(cases), 'name')} without a partner would match)"
    numbered = _number_regex(image_of), _number_regex(mask_of)
    if all(numbered) and _values(image_of) == _values(mask_of):
        image_regex, mask_regex = (shlex.quote(str(regex)) for regex in numbered)
        return f"the numbers in the names match: pass --image-regex {image_regex} --mask-regex {mask_regex}"
    if _numbers(image_of) == _numbers(mask_of):
        return (
            "the numbers in the names match but for zeros in front: pass "
            r"--image-regex '0*(?P<case>\d+)\..+' --mask-regex '0*(?P<case>\d+)\..+' (adapted to your names)"
        )
    return (
        "add the missing files or remove these; if the names only differ at their end, pass --mask-suffix "
        "(such as --mask-suffix _mask) or --image-suffix"
    )


def _ending_of_half(stems: list[str]) -> str:
    """Return what half of the names, probably masks, have more than another name, such as "_gt"; "" if nothing."""
    known = set(stems)
    places = [(stem, k) for stem in stems for k in range(1, len(stem)) if not stem[k].isalnum()]
    endings = Counter(stem[k:] for stem, k in places if stem[:k] in known)
    ending, n = endings.most_common(1)[0] if endings else ("", 0)
    return ending if 2 * n >= len(stems) else ""


def _number_regex(paths: Mapping[str, Path]) -> str | None:
    """Regular expression for names that differ in one number only, which is the case without zeros in front."""
    if not paths:
        return None
    around = {re.sub(r"[0-9]+", "\0", stem_of(path), count=1) for path in paths.values()}
    before, _, after = around.pop().partition("\0")
    if around or re.search("[0-9]", after):
        return None
    return rf"{re.escape(before)}0*(?P<case>\d+){re.escape(after)}\..+"


def _values(names: Iterable[str]) -> list[int]:
    return sorted(int(number) for name in names for number in re.findall("[0-9]+", name))


def _numbers(names: Iterable[str]) -> list[str]:
    """Names with the zeros in front of numbers taken away."""
    return sorted(re.sub(r"0*([0-9]+)", r"\1", name) for name in names)
