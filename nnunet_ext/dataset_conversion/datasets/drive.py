"""DRIVE: colour photographs of the retina, vessels drawn by hand."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts


def _part(folder: str, names: str, split: str) -> Part:
    return Part(
        f"{folder}/images/*.tif",
        rf"{folder}/images/(\d\d)_{names}\.tif",
        f"{folder}/1st_manual/*.gif",
        rf"{folder}/1st_manual/(\d\d)_manual1\.gif",
        split,
        prefix=f"{names}_",
        optional=split == "test",
        may_lack_masks=split == "test",
    )


PARTS = (_part("training", "training", "train"), _part("test", "test", "test"))
find = partial(find_parts, parts=PARTS, describe=always(structure="Retinal vessels", modality="Fundus"))

LAYOUTS = (
    DatasetLayout(
        name="drive",
        title="DRIVE",
        papers=("two_stage",),
        reference="Staal et al., Ridge-based vessel segmentation in color images of the retina, IEEE TMI 23, 2004",
        url="https://drive.grand-challenge.org/",
        licence="not stated; registration at https://drive.grand-challenge.org/",
        tree=(
            "training/images/21_training.tif\ntraining/1st_manual/21_manual1.gif\ntest/images/01_test.tif\n"
            "test/1st_manual/01_manual1.gif (not in all copies)\n"
            "training/mask/, test/mask/ (field of view, left out), test/2nd_manual/ (left out)"
        ),
        version="training.zip and test.zip of the challenge site, unpacked side by side",
        confirmed="public loader: constantinpape/torch-em torch_em/data/datasets/medical/drive.py (training part); "
        "test part: public documentation: https://github.com/kelleypa/ONH, DRIVE/README.md",
        cases=find,
        counts={"train": 20, "test": 20},
        threshold=127,
        notes=(
            "the folders called mask hold the field of view, not vessels; they are left out",
            "pass --partial if you have the training part only",
        ),
    ),
)
