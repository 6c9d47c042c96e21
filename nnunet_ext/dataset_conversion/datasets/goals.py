"""GOALS: circular OCT scans around the optic disc with three layers."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts

PARTS = (
    Part("Train/Image/*.png", r"Train/Image/(\d+)\.png", "Train/Layer_Masks/*.png", r"Train/Layer_Masks/(\d+)\.png"),
    Part(
        "Validation/Image/*.png",
        r"Validation/Image/(\d+)\.png",
        "Validation/Layer_Masks/*.png",
        r"Validation/Layer_Masks/(\d+)\.png",
        "test",
        prefix="validation_",
        optional=True,
        may_lack_masks=True,
    ),
)

LAYOUTS = (
    DatasetLayout(
        name="goals",
        title="GOALS (MICCAI 2022), layer segmentation",
        papers=("m2snet",),
        reference="Fang et al., Dataset and evaluation algorithm design for GOALS challenge, arXiv:2207.14447",
        url="https://aistudio.baidu.com/competition/detail/230",
        licence="not stated; registration at https://aistudio.baidu.com/competition/detail/230",
        tree=(
            "Train/Image/0001.png\nTrain/Layer_Masks/0001.png\nTrain/Layer_show/ (coloured copies, left out)\n"
            "Validation/Image/0101.png (if you have them: no masks)"
        ),
        version="the training archive of the challenge; folder GOALS2022-Train of the first round",
        confirmed=(
            "public documentation: VincentSHI1230/DIP-class exp01_test/data/Train/Layer_Masks/README.md (folders, "
            "names, grey values, 100 images); Validation from memory"
        ),
        cases=partial(find_parts, parts=PARTS, describe=always(structure="Retinal layers", modality="OCT")),
        counts={"train": 100},
        labels=("background=255", "RNFL=0", "GCIPL=80", "choroid=160"),
        notes=(
            "RNFL is the retinal nerve fibre layer, GCIPL the ganglion cell and inner plexiform layers",
            "images of the preliminary round are test cases without masks: theirs are not given out",
        ),
    ),
)
