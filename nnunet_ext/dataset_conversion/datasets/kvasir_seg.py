"""Kvasir-SEG: polyps in colonoscopy frames, with masks that are JPEG files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts
from nnunet_ext.dataset_conversion.problems import Problem

PART = Part("images/*.jpg", r"images/(\w+)\.jpg", "masks/*.jpg", r"masks/(\w+)\.jpg")
LISTS = {"train": "train.txt", "val": "val.txt"}


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the lists ``train.txt`` and ``val.txt`` split them if both are there."""
    cases = find_parts(root, problems, (PART,), always(structure="Polyp", modality="Colonoscopy"))
    if not all((root / name).is_file() for name in LISTS.values()):
        return cases
    split_of = _listed(root, {case.name for case in cases}, problems)
    for case in cases:
        if case.name not in split_of:
            where = f"{case.image.files[0]}: neither in train.txt nor in val.txt"
            remedy = "take the lists of this data set, or remove both for a random validation part"
            problems.append(Problem("not-listed", "images that no list names", where, remedy))
    return [replace(case, split=split_of.get(case.name, "train")) for case in cases]


def _listed(root: Path, known: set[str], problems: list[Problem]) -> dict[str, str]:
    """``{case: split}``; a line is a name, with ".jpg" or without."""
    split_of: dict[str, str] = {}
    for split, name in LISTS.items():
        for line in (root / name).read_text(encoding="utf-8").splitlines():
            case = line.strip().removesuffix(".jpg")
            if case and case not in known:
                where, remedy = f"{root / name}: {case!r}", "add the image and its mask, or remove the line"
                problems.append(Problem("entry-not-found", "list entries without files", where, remedy))
            elif case in split_of:
                where, remedy = f"{root / name}: {case!r} is listed before", "keep the name in one list"
                problems.append(Problem("entry-twice", "list entries given twice", where, remedy))
            elif case:
                split_of[case] = split
    return split_of


LAYOUTS = (
    DatasetLayout(
        name="kvasir_seg",
        title="Kvasir-SEG",
        papers=("spatial_lifting", "m2snet"),
        reference="Jha et al., Kvasir-SEG: A segmented polyp dataset, MMM 2020",
        url="https://datasets.simula.no/kvasir-seg/",
        licence="research and education only, https://datasets.simula.no/kvasir-seg/",
        tree=(
            "images/NAME.jpg\nmasks/NAME.jpg\nkavsir_bboxes.json (not read)\n"
            "train.txt, val.txt (if you have them: one NAME a line)"
        ),
        version="kvasir-seg.zip, folder Kvasir-SEG",
        confirmed=(
            "public documentation: trees in public repositories that use it, with kavsir_bboxes.json; lists: "
            "DebeshJha/2020-MediaEval-Medico-polyp-segmentation kvasir-seg-train-val/README.md"
        ),
        cases=find,
        counts={"train": 1000},
        threshold=127,
        val_share=0.12,
        notes=(
            "the paper takes 880 images for training and 120 for validation, as the lists train.txt and val.txt of "
            "DebeshJha/2020-MediaEval-Medico-polyp-segmentation: put them into the folder, otherwise 12 % are drawn",
            "masks are JPEG: values above 127 are polyp",
        ),
    ),
)
