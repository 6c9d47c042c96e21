"""Image and mask files that belong together, found by name and never by position in a list."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.problems import SHOWN_PER_KIND, Problem, counted

JPEG_ENDINGS = (".jpg", ".jpeg")
LOSSLESS_ENDINGS = (".png", ".bmp", ".tif", ".tiff")
IMAGE_ENDINGS = LOSSLESS_ENDINGS + JPEG_ENDINGS
OTHER_IMAGE_ENDINGS = (
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".webp", ".jp2", ".jpe", ".jfif", ".tga", ".heic", ".avif"),
    *(".npy", ".npz", ".nii", ".gz", ".nrrd", ".mha", ".mhd", ".dcm", ".svs", ".exr", ".svg"),
)
LONGEST_CASE = 240  # bytes; nnU-Net appends "_0000.png" or "_seg.b2nd", and file systems allow 255


@dataclass(frozen=True)
class Pair:
    """One case.

    Attributes:
        case: nnU-Net's case identifier: the image's stem without the image suffix.
        image: image file.
        mask: mask file; None for a test image without reference.
    """

    case: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class Side:
    """One folder of a set of pairs, with the flags that named it (for messages)."""

    kind: str  # "image" or "mask"
    folder: Path
    suffix: str
    folder_flag: str
    suffix_flag: str


def find_pairs(images: Side, masks: Side | None, problems: list[Problem], notes: Counter[str]) -> list[Pair]:
    """Pair images and masks: mask stem = image stem - image suffix + mask suffix.

    Both may lie in one folder if their suffixes differ. Without ``masks`` every image is a case of its own.

    Args:
        images: image folder and suffix.
        masks: mask folder and suffix, or None.
        problems: what is wrong is appended here; nothing is raised.
        notes: what the user should know is counted here.

    Returns:
        The complete pairs, sorted by case.
    """
    image_of = _index(images, masks, problems, notes)
    if masks is None:
        return [Pair(case, path, None) for case, path in sorted(image_of.items())]
    mask_of = _index(masks, images, problems, notes)
    if image_of and mask_of:
        remedy = _suffix_remedy(image_of, images, mask_of, masks)
        problems += _unmatched(image_of, images, mask_of, masks, remedy)
        problems += _unmatched(mask_of, masks, image_of, images, remedy)
    return [Pair(case, image_of[case], mask_of[case]) for case in sorted(image_of.keys() & mask_of.keys())]


def _index(side: Side, other: Side | None, problems: list[Problem], notes: Counter[str]) -> dict[str, Path]:
    """``{case: file}`` of one folder; what has no place in it goes to ``problems``."""
    shared = other is not None and side.folder.resolve() == other.folder.resolve()
    if shared and other is not None and side.suffix == other.suffix:
        flags = f"{side.folder_flag} and {other.folder_flag}"
        where = f"{flags} are both {side.folder}, and both suffixes are {side.suffix!r}"
        remedy = "pass --image-suffix or --mask-suffix so that the names differ, or use two folders"
        if side.kind == "image":
            problems.append(Problem("images and masks cannot be told apart", where, remedy))
        return {}
    rival = other.suffix if shared and other is not None else ""
    cases: dict[str, list[Path]] = {}
    for path in _usable_files(side, shared, problems, notes):
        if len(rival) > len(side.suffix) and path.stem.endswith(rival):
            continue
        if path.stem.endswith(side.suffix):
            cases.setdefault(path.stem[: len(path.stem) - len(side.suffix)], []).append(path)
        elif not shared:
            problems.append(_without_suffix(path, side))
    problems += _name_problems(cases, side)
    return {case: paths[0] for case, paths in cases.items()}


def _usable_files(side: Side, shared: bool, problems: list[Problem], notes: Counter[str]) -> list[Path]:
    if not side.folder.is_dir():
        got = "is not a folder" if side.folder.exists() else "does not exist"
        remedy = f"correct the path after {side.folder_flag}"
        problems.append(Problem("folder not found", f"{side.folder} ({side.folder_flag}) {got}", remedy))
        return []
    usable = []
    for path in sorted(p for p in side.folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        ending = path.suffix.lower()
        if ending in LOSSLESS_ENDINGS or (ending in JPEG_ENDINGS and (side.kind == "image" or shared)):
            usable.append(path)
        elif shared and side.kind == "mask":
            continue  # reported once, with the images
        elif ending in JPEG_ENDINGS:
            problems.append(jpeg_mask(path))
        elif ending in OTHER_IMAGE_ENDINGS:
            problems.append(_unsupported(path, side))
        else:
            notes[f"skipped {{files}} ({ending or 'no ending'}) in {side.folder}: not an image format"] += 1
    if not usable:
        endings = " ".join(IMAGE_ENDINGS if side.kind == "image" else LOSSLESS_ENDINGS)
        where = f"{side.folder} ({side.folder_flag}) holds no file that ends in {endings}"
        remedy = f"name the folder that holds the {side.kind}s directly; sub-folders are not searched"
        problems.append(Problem(f"no {side.kind}s in a folder", where, remedy))
    return usable


def jpeg_mask(path: Path) -> Problem:
    """Describe a mask with lossy compression."""
    remedy = "export the masks again as PNG; a JPEG converted to PNG needs --threshold 127"
    return Problem("masks in a lossy format", f"{path} is a JPEG; allowed are PNG, BMP and TIFF", remedy)


def _unsupported(path: Path, side: Side) -> Problem:
    allowed = "PNG, BMP, TIFF and JPEG" if side.kind == "image" else "PNG, BMP and TIFF"
    remedy = "convert these files to PNG without loss, or move them out of the folder"
    return Problem(f"{side.kind} file format not supported", f"{path}; allowed are {allowed}", remedy)


def _without_suffix(path: Path, side: Side) -> Problem:
    where = f"{path}: the stem {path.stem!r} does not end in {side.suffix!r} ({side.suffix_flag})"
    remedy = f"correct {side.suffix_flag}, or move these files out of {side.folder}"
    return Problem(f"{side.kind} names without the suffix", where, remedy)


def _name_problems(cases: dict[str, list[Path]], side: Side) -> Iterable[Problem]:
    by_folded: dict[str, str] = {}
    for case, paths in cases.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            remedy = "keep one file of each name"
            yield Problem(f"several {side.kind} files for one case", f"{names} in {side.folder}", remedy)
        twin = by_folded.setdefault(case.casefold(), case)
        if twin != case:
            where = f"{cases[twin][0]} and {paths[0].name}"
            remedy = "rename one of them: on macOS and Windows they are the same file"
            yield Problem("names that differ only in upper and lower case", where, remedy)
        if side.kind == "image" and (fault := _case_fault(case)):
            where = f"{paths[0]}: case name {case!r} {fault}"
            yield Problem("names that nnU-Net cannot use", where, "rename these images and their masks")


def _case_fault(case: str) -> str:
    if not case:
        return "is empty once the suffix is taken off"
    if case.endswith("_seg"):
        return "ends in '_seg', which nnU-Net keeps for its preprocessed masks"
    if not case.isprintable():
        return "holds characters that cannot be printed"
    if len(case.encode("utf-8", "surrogateescape")) > LONGEST_CASE:
        return f"is longer than {LONGEST_CASE} bytes"
    return ""


def _unmatched(
    own: dict[str, Path], side: Side, others: dict[str, Path], other: Side, remedy: str
) -> Iterable[Problem]:
    """One problem for each case of ``own`` that ``others`` lacks, with the nearest names."""
    missing = sorted(own.keys() - others.keys())
    unused = [path.stem for case, path in others.items() if case not in own]
    unused = unused or [path.stem for path in others.values()]
    for position, case in enumerate(missing):
        where = f"{own[case]}: no {other.kind} with the stem {case + other.suffix!r} in {other.folder}"
        if position < SHOWN_PER_KIND and (near := difflib.get_close_matches(case + other.suffix, unused, 2, 0.5)):
            where += f" (nearest: {', '.join(near)})"
        yield Problem(f"{side.kind}s without {'an image' if other.kind == 'image' else 'a mask'}", where, remedy)


def _suffix_remedy(image_of: dict[str, Path], images: Side, mask_of: dict[str, Path], masks: Side) -> str:
    """Name the flag that would match the names, if one side only has an ending more; else general advice."""
    lone_images, lone_masks = sorted(image_of.keys() - mask_of.keys()), sorted(mask_of.keys() - image_of.keys())
    mask_stems, image_stems = [mask_of[case].stem for case in lone_masks], [image_of[case].stem for case in lone_images]
    for flag, cases, stems in (
        (masks.suffix_flag, lone_images[:50], mask_stems[:50]),
        (images.suffix_flag, lone_masks[:50], image_stems[:50]),
    ):
        endings = Counter(stem[len(case) :] for case in cases for stem in stems if case and stem.startswith(case))
        ending, fits = endings.most_common(1)[0] if endings else ("", 0)
        if ending and 2 * fits > len(cases):
            return f"pass {flag} {ending} ({fits} of {counted(len(cases), 'name')} without a partner would match)"
    return (
        "add the missing files or remove these; if the names only differ at their end, pass --mask-suffix "
        "(such as --mask-suffix _mask) or --image-suffix"
    )
