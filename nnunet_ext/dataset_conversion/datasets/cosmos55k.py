"""Cosmos55k: one structure an image, 26 structures of 7 modalities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import SPLITS, Case
from nnunet_ext.dataset_conversion.datasets.cosmos55k_names import MODALITIES, STRUCTURES, structure_of
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.path_lists import Lists, pairs_of_list
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

LIST_ENDINGS = (".lst", ".txt")


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases by lists (``train.lst`` or ``train.txt``, and so on), or by the folders train, val and test."""
    lists = _lists(root, problems)
    cases: dict[str, Case] = {}
    for split in SPLITS:
        for key, image, mask in _pairs(root, split, lists, problems):
            case = _case(key, image, mask, split, problems)
            if key in cases:
                where = f"{cases[key].image.files[0]} and {image}"
                remedy = "keep one of the two, or rename one with its mask"
                problems.append(Problem("case-twice", "two files for one case", where, remedy))
            cases[key] = case
    return list(cases.values())


def _lists(root: Path, problems: list[Problem]) -> Lists:
    found = {split: [p for e in LIST_ENDINGS if (p := root / f"{split}{e}").is_file()] for split in SPLITS}
    for paths in found.values():
        if len(paths) > 1:
            where, remedy = " and ".join(map(str, paths)), "keep the list that is meant"
            problems.append(Problem("list-twice", "two lists for one part", where, remedy))
    return {split: paths[0] for split, paths in found.items() if paths}


def _pairs(
    root: Path, split: str, lists: Lists, problems: list[Problem]
) -> Iterator[tuple[str, Path, Path | None]]:  # fmt: skip
    if split in lists:
        return pairs_of_list(lists[split], problems)
    needed = split == "train" and not lists
    images = files_by_key(root, f"{split}/*.png", rf"{split}/(.+(?<!_mask))\.png", problems, needed=needed)
    masks = files_by_key(root, f"{split}/*_mask.png", rf"{split}/(.+)_mask\.png", problems, needed=bool(images))
    return paired(images, masks, problems)


def _case(key: str, image: Path, mask: Path | None, split: str, problems: list[Problem]) -> Case:
    structure = structure_of(key)
    if structure is None:
        problems.append(_unknown_structure(image))
        structure = "".join(key.split("_")[1:2])
    annotation = None if mask is None else MaskFile(mask)
    return Case(key, ImageFile(image), annotation, split, "", structure, MODALITIES.get(structure, ""))


def _unknown_structure(image: Path) -> Problem:
    what = "structures that Cosmos55k does not have"
    where = f"{image}; names begin with data set and structure, as in AMOS22_Liver_0001"
    remedy = f"rename the files if they show one of {', '.join(sorted(STRUCTURES))}; now the second word is taken"
    return Problem("unknown-structure", what, where, remedy, is_warning=True)


LAYOUTS = (
    DatasetLayout(
        name="cosmos55k",
        title="Cosmos55k",
        papers=("ife",),
        reference="Liu et al., Instructive feature enhancement for dichotomous medical image ..., MICCAI 2023",
        url="not public: no data, lists or link were given out",
        licence="not stated; the sets that it was made from have terms of their own",
        tree=(
            "train/DATASET_STRUCTURE_NAME.png\ntrain/DATASET_STRUCTURE_NAME_mask.png\nval/, test/ (the same)\n"
            "or train.lst, val.lst, test.lst (or .txt) with the path of an image a line"
        ),
        version="as the paper's loaders read it",
        confirmed="not confirmed: the data are not public; folders, lists and names are those of the paper's loaders",
        cases=find,
        counts={"train": 31548, "val": 5884, "test": 17591},
        threshold=127,
        notes=(
            "masks of list entries are NAME_mask beside the image, or in its path with every Image replaced by Mask",
            "modalities of optic disc, polyp, melanoma, adenocarcinoma and LungX are inferred, others left open",
            "values above 127 are foreground; the paper's evaluation takes every value above 0",
            "whether its split keeps patients together is not known: there are no groups",
        ),
    ),
)
