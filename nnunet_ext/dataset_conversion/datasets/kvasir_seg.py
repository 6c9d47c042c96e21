"""Kvasir-SEG: polyps in colonoscopy frames, with masks that are JPEG files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout, Finder
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts
from nnunet_ext.dataset_conversion.problems import Problem

PART = Part("images/*.jpg", r"images/(\w+)\.jpg", "masks/*.jpg", r"masks/(\w+)\.jpg")
LISTS = {"train": "train.txt", "val": "val.txt"}
find = partial(find_parts, parts=(PART,), describe=always(structure="Polyp", modality="Colonoscopy"))


def find_listed(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases, split by ``train.txt`` and ``val.txt``: a name a line, with ".jpg" or without."""
    cases = find(root, problems)
    split_of = _listed(root, {case.name for case in cases}, problems) if cases else {}
    for case in cases if split_of else ():
        if case.name not in split_of:
            where = f"{case.image.files[0]}: neither in train.txt nor in val.txt"
            remedy = "take the lists of this data set, or convert with --dataset kvasir_seg"
            problems.append(Problem("not-listed", "images that no list names", where, remedy))
    return [replace(case, split=split_of.get(case.name, "train")) for case in cases]


def _listed(root: Path, known: set[str], problems: list[Problem]) -> dict[str, str]:
    """``{case: split}``."""
    split_of: dict[str, str] = {}
    for split, path in ((split, root / name) for split, name in LISTS.items()):
        if not path.is_file():
            where, remedy = (
                f"{path}: no such file",
                "put the list there, or convert with --dataset kvasir_seg",
            )
            problems.append(Problem("layout-not-found", "files of the data set not found", where, remedy))
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            case = line.strip().removesuffix(".jpg")
            if case and case not in known:
                where, remedy = f"{path}: {case!r}", "add the image and its mask, or remove the line"
                problems.append(Problem("entry-not-found", "list entries without files", where, remedy))
            elif case in split_of:
                where, remedy = f"{path}: {case!r} is listed before", "keep the name in one list"
                problems.append(Problem("entry-twice", "list entries given twice", where, remedy))
            elif case:
                split_of[case] = split
    return split_of


def _layout(
    name: str, title: str, cases: Finder, counts: Mapping[str, int], val_share: float | None, lists: str, note: str
) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=title,
        papers=("spatial_lifting", "m2snet"),
        reference="Jha et al., Kvasir-SEG: A segmented polyp dataset, MMM 2020",
        url="https://datasets.simula.no/kvasir-seg/",
        licence="research and education only (from memory), https://datasets.simula.no/kvasir-seg/",
        tree=f"images/NAME.jpg\nmasks/NAME.jpg\nkavsir_bboxes.json (not read){lists}",
        version="kvasir-seg.zip, folder Kvasir-SEG",
        confirmed=(
            "public documentation: trees in public repositories that use it, with kavsir_bboxes.json; lists: "
            "DebeshJha/2020-MediaEval-Medico-polyp-segmentation kvasir-seg-train-val/README.md (lines from memory)"
        ),
        cases=cases,
        counts=counts,
        threshold=127,
        val_share=val_share,
        notes=(note, "masks are JPEG: values above 127 are polyp"),
    )


LAYOUTS = (
    _layout(
        "kvasir_seg",
        "Kvasir-SEG",
        find,
        {"train": 1000},
        0.12,
        "",
        "the paper's 880 images for training and 120 for validation are those of kvasir_seg_lists; here 12 % are drawn",
    ),
    _layout(
        "kvasir_seg_lists",
        "Kvasir-SEG, 880 and 120 images by lists",
        find_listed,
        {"train": 880, "val": 120},
        None,
        "\ntrain.txt, val.txt (one NAME a line)",
        "the lists are in DebeshJha/2020-MediaEval-Medico-polyp-segmentation, folder kvasir-seg-train-val",
    ),
)
