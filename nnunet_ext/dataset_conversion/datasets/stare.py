"""STARE: colour photographs of the retina, vessels drawn by two observers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

LAST_FOR_TRAINING = 139  # im0139 is the tenth of the 20 images


def find(root: Path, problems: list[Problem], observer: str = "ah") -> list[Case]:
    """Find all cases; the first ten train."""
    images = files_by_key(root, "stare-images/im*", r"stare-images/(im\d{4})\.ppm(?:\.gz)?", problems)
    masks = files_by_key(
        root, f"labels-{observer}/im*", rf"labels-{observer}/(im\d{{4}})\.{observer}\.ppm(?:\.gz)?", problems
    )
    return [_case(key, image, mask) for key, image, mask in paired(images, masks, problems)]


def _case(key: str, image: Path, mask: Path | None) -> Case:
    split = "train" if int(key[2:]) <= LAST_FOR_TRAINING else "test"
    annotation = None if mask is None else MaskFile(mask)
    return Case(key, ImageFile(image), annotation, split, "", "Retinal vessels", "Fundus")


def _layout(name: str, observer: str, number: str) -> DatasetLayout:
    cases: Callable[[Path, list[Problem]], list[Case]] = partial(find, observer=observer)
    return DatasetLayout(
        name=name,
        title=f"STARE ({number} observer, {observer.upper()})",
        papers=("two_stage",),
        reference="Hoover et al., Locating blood vessels in retinal images ..., IEEE TMI 19, 2000",
        url="https://cecas.clemson.edu/~ahoover/stare/",
        licence="not stated, https://cecas.clemson.edu/~ahoover/stare/",
        tree=f"stare-images/im0001.ppm.gz (or .ppm)\nlabels-{observer}/im0001.{observer}.ppm.gz (or .ppm)",
        version="stare-images.tar and labels-ah.tar, labels-vk.tar, each unpacked into a folder of its name",
        confirmed=(
            "public loader: open-mmlab/mmsegmentation tools/convert_datasets/stare.py (archives, endings); "
            "names inside labels-ah and labels-vk from memory"
        ),
        cases=cases,
        counts={"train": 10, "test": 10},
        threshold=127,
        notes=("no official split: a customary one is used, the first 10 images train and the last 10 test",),
    )


LAYOUTS = (_layout("stare", "ah", "first"), _layout("stare_vk", "vk", "second"))
