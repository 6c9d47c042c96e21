"""Images and masks anywhere below a folder, found and paired by regular expressions."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.several_files import ClassFiles, InstanceFiles
from nnunet_ext.dataset_conversion.cases import SPLITS, Annotation, Case
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem
from nnunet_ext.dataset_conversion.sources.endings import annotation_of, composed

COLUMNS = ("group", "structure", "modality", "split")
EXAMPLE = r"type for example --image-regex 'images/(?P<case>.+)\.png' --mask-regex 'masks/(?P<case>.+)_mask\d*\.png'"


@dataclass(frozen=True)
class PatternSource:
    """Trees of files; the path below the folder, with "/", must match as a whole.

    Attributes:
        images: folder of the images, searched with all its sub-folders.
        masks: folder of the masks; may be the same.
        image_regex: has the named group ``case``, and perhaps ``group``, ``structure``, ``modality``, ``split``. If
            the case is several parts of the path, name them ``case``, ``case2``, ``case3``; they are joined by "_".
        mask_regex: has the same named groups ``case``; several masks of a case are united, or, if there is a group
            ``label``, are one class each, named by it in ``--labels``.
    """

    images: Path
    masks: Path
    image_regex: str
    mask_regex: str

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Find and pair the files."""
        image_pattern = _compiled("--image-regex", self.image_regex, (*COLUMNS,), problems)
        mask_pattern = _compiled("--mask-regex", self.mask_regex, (*COLUMNS, "label"), problems)
        if image_pattern is None or mask_pattern is None:
            return []
        images = _found(self.images, "-i", image_pattern, "--image-regex", problems)
        masks: dict[str, list[tuple[str, Path]]] = {}
        for name, path, groups in _found(self.masks, "-m", mask_pattern, "--mask-regex", problems):
            masks.setdefault(name, []).append((groups.get("label") or "", path))
        cases = [self._case(name, path, groups, masks, problems) for name, path, groups in images]
        names = {case.name for case in cases}
        for name in sorted(masks.keys() - names):
            where, remedy = f"{masks[name][0][1]}: no image for case {name!r}", "correct --image-regex or --mask-regex"
            problems.append(Problem("image-missing", "masks without an image", where, remedy))
        return cases

    def _case(
        self,
        name: str,
        path: Path,
        groups: dict[str, str],
        masks: dict[str, list[tuple[str, Path]]],
        problems: list[Problem],
    ) -> Case:
        split = groups.get("split") or "train"
        if split not in SPLITS:
            where = f"{path}: the group 'split' is {split!r}; allowed are {', '.join(SPLITS)}"
            problems.append(Problem("split-unknown", "unknown part", where, "correct --image-regex"))
            split = "train"
        mask = _annotation(masks[name]) if name in masks else None
        columns = {key: groups[key] for key in COLUMNS[:3] if groups.get(key)}
        return Case(name, ImageFile(path), mask, split, **columns)


def _annotation(files: list[tuple[str, Path]]) -> Annotation:
    if any(label for label, _ in files):
        return ClassFiles(tuple(files))
    paths = tuple(path for _, path in files)
    return annotation_of(paths[0]) if len(paths) == 1 else InstanceFiles(paths)


def _compiled(flag: str, regex: str, more: tuple[str, ...], problems: list[Problem]) -> re.Pattern[str] | None:
    try:
        pattern = re.compile(regex)
    except re.error as error:
        where = f"{flag} {regex!r}: {error}"
        problems.append(Problem("regex-syntax", "regular expression that cannot be understood", where, EXAMPLE))
        return None
    unknown = [g for g in pattern.groupindex if not re.fullmatch(r"case\d*", g) and g not in more]
    if "case" not in pattern.groupindex or unknown:
        where = f"{flag} {regex!r} names {', '.join(pattern.groupindex) or 'nothing'}; it needs case, and may have " + (
            ", ".join(more)
        )
        problems.append(Problem("regex-groups", "regular expression without a name to fill", where, EXAMPLE))
        return None
    return pattern


def _found(
    root: Path, folder_flag: str, pattern: re.Pattern[str], flag: str, problems: list[Problem]
) -> list[tuple[str, Path, dict[str, str]]]:
    """(case, file, named groups) of all files that match, sorted by path."""
    if not root.is_dir():
        where, remedy = f"{root} ({folder_flag}) is not a folder", f"correct the path after {folder_flag}"
        problems.append(Problem("folder-missing", "folder not found", where, remedy))
        return []
    found, example = [], ""
    for relative in sorted(_tree(root)):
        match = pattern.fullmatch(relative)
        example = example or relative
        if match:
            groups = {key: value for key, value in match.groupdict().items() if value is not None}
            parts = sorted((int(key[4:] or 1), value) for key, value in groups.items() if key.startswith("case"))
            found.append((composed("_".join(value for _, value in parts)), root / relative, groups))
    if not found:
        where = f"{flag} {pattern.pattern!r} matches no file below {root}, such as {example!r}"
        remedy = f"it must match the whole path below {folder_flag}; {EXAMPLE}"
        problems.append(Problem("regex-no-match", "regular expression that finds no file", where, remedy))
    return found


def _tree(root: Path) -> Iterator[str]:
    """Every file below ``root``, hidden ones left out, as a path with "/"; folders that are links are entered once."""
    entered = {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        for name in [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            target = os.path.realpath(os.path.join(folder, name))
            if target in entered or f"{os.path.realpath(folder)}{os.sep}".startswith(f"{target}{os.sep}"):
                folders.remove(name)
            entered.add(target)
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()
