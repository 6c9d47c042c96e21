"""BUSI: breast ultrasound images with outlines of benign and malignant tumours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.several_files import InstanceFiles
from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

COUNTS = {"benign": 437, "malignant": 210, "normal": 133}
TUMOURS = ("benign", "malignant")


def find(root: Path, problems: list[Problem], kinds: Sequence[str] = TUMOURS) -> list[Case]:
    """Find all cases; all mask files of an image are united."""
    cases = []
    for kind in kinds:
        images = files_by_key(root, f"{kind}/*.png", rf"{kind}/({kind}) \((\d+)\)\.png", problems)
        first = files_by_key(root, f"{kind}/*_mask.png", rf"{kind}/({kind}) \((\d+)\)_mask\.png", problems)
        more = _further_masks(root, kind, problems)
        for key, image, mask in paired(images, first, problems):
            masks = None if mask is None else InstanceFiles((mask, *more.pop(key, ())))
            cases.append(Case(key, ImageFile(image), masks, "train", "", f"Breast tumour ({kind})", "Ultrasound"))
        for key, paths in sorted(more.items()):
            where, remedy = f"{paths[0]}: no image and first mask for {key!r}", "add the missing files"
            problems.append(Problem("image-missing", "masks without an image", where, remedy))
    return cases


def _further_masks(root: Path, kind: str, problems: list[Problem]) -> dict[str, tuple[Path, ...]]:
    """``{key: files}`` of "benign (100)_mask_1.png" and so on."""
    pattern = rf"{kind}/({kind}) \((\d+)\)_mask_(\d+)\.png"
    found = files_by_key(root, f"{kind}/*_mask_*.png", pattern, problems, needed=False)
    further: dict[str, tuple[Path, ...]] = {}
    for key, path in found.items():
        image_key = key.rpartition("_")[0]
        further[image_key] = (*further.get(image_key, ()), path)
    return further


def _layout(name: str, title: str, kinds: tuple[str, ...], note: str) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=title,
        papers=("m2snet",) if kinds == TUMOURS else (),
        reference="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28, 2020",
        url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        licence="not stated by the authors, https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        tree=(
            "benign/benign (1).png\nbenign/benign (1)_mask.png\nbenign/benign (100)_mask_1.png (a second tumour)\n"
            "malignant/malignant (1).png\n...\nnormal/normal (1).png (with an empty mask)"
        ),
        version="Dataset_BUSI.zip, folder Dataset_BUSI_with_GT",
        confirmed=(
            "public loader: constantinpape/torch-em torch_em/data/datasets/medical/busi.py; counts: public "
            "documentation: https://github.com/dataset-ninja/breast-ultrasound-images"
        ),
        cases=partial(find, kinds=kinds),
        counts={"train": sum(COUNTS[kind] for kind in kinds)},
        folds=4,
        notes=(
            note,
            "some masks are said to have an alpha channel; if one is refused, pass --alpha drop",
            "several images may be of one patient; the names do not tell",
        ),
    )


LAYOUTS = (
    _layout("busi", "BUSI", TUMOURS, "normal images are left out, as segmentation papers do (see busi_with_normal)"),
    _layout("busi_with_normal", "BUSI with normal images", tuple(COUNTS), "the masks of normal images are empty"),
)
