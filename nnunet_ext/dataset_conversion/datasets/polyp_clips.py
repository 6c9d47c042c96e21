"""CVC-612 and CVC-300 as video clips, with the split of PNS-Net."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import PICTURES, Part, find_parts


def _training(name: str) -> Part:
    """Clips of the training set hold their frames and masks."""
    folder = f"VPS-TrainSet/{name}/Train"
    images, masks = rf"{folder}/([^/]+)/Frame/([^/]+)\.{PICTURES}", rf"{folder}/([^/]+)/GT/([^/]+)\.{PICTURES}"
    return Part(f"{folder}/*/Frame/*", images, f"{folder}/*/GT/*", masks, "train")


def _held_out(name: str, split: str) -> Part:
    """Frames and masks of the other sets hold the clips."""
    folder = f"VPS-TestSet/{name}"
    images, masks = rf"{folder}/Frame/([^/]+)/([^/]+)\.{PICTURES}", rf"{folder}/GT/([^/]+)/([^/]+)\.{PICTURES}"
    return Part(f"{folder}/Frame/*/*", images, f"{folder}/GT/*/*", masks, split)


def _describe(key: str) -> dict[str, str]:
    return {"group": f"clip{key.partition('_')[0]}", "structure": "Polyp", "modality": "Colonoscopy"}


def _layout(name: str, title: str, parts: tuple[Part, ...], tree: str, note: str) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=title,
        papers=("m2snet",),
        reference="Ji et al., Progressively normalized self-attention network for video polyps, MICCAI 2021",
        url="https://github.com/GewelsJI/PNS-Net",
        licence="not stated, https://github.com/GewelsJI/PNS-Net; see cvc_clinicdb and cvc_colondb",
        tree=tree,
        version="MICCAI-VPS-dataset.zip of PNS-Net, folder MICCAI-VPS-dataset",
        confirmed=(
            "public loader: GewelsJI/PNS-Net utils/dataloader.py (training), MyTest_Finetune.py (test); which "
            "clips are where: readme of TCCNet"
        ),
        cases=partial(find_parts, parts=parts, describe=_describe),
        threshold=127,
        notes=("clips stay together: the group is the clip", note),
    )


TREE_612 = (
    "VPS-TrainSet/CVC-ClinicDB-612/Train/1/Frame/NAME.jpg\nVPS-TrainSet/CVC-ClinicDB-612/Train/1/GT/NAME.png\n"
    "VPS-TestSet/CVC-ClinicDB-612-Valid/Frame/2/NAME.jpg\nVPS-TestSet/CVC-ClinicDB-612-Valid/GT/2/NAME.png\n"
    "VPS-TestSet/CVC-ClinicDB-612-Test/ (the same)"
)
TREE_300 = (
    "VPS-TrainSet/CVC-ColonDB-300/Train/0/Frame/NAME.jpg\nVPS-TrainSet/CVC-ColonDB-300/Train/0/GT/NAME.png\n"
    "VPS-TestSet/CVC-ColonDB-300/Frame/3/NAME.jpg\nVPS-TestSet/CVC-ColonDB-300/GT/3/NAME.png"
)

LAYOUTS = (
    _layout(
        "cvc612_clips",
        "CVC-612 video clips",
        (
            _training("CVC-ClinicDB-612"),
            _held_out("CVC-ClinicDB-612-Valid", "val"),
            _held_out("CVC-ClinicDB-612-Test", "test"),
        ),
        TREE_612,
        "18 clips train, 6 validate, 5 test: the 60, 20 and 20 % of the papers, as given out",
    ),
    _layout(
        "cvc300_clips",
        "CVC-300 video clips",
        (_training("CVC-ColonDB-300"), _held_out("CVC-ColonDB-300", "test")),
        TREE_300,
        "validation and test clips are given out together (CVC-300-TV of the papers): all of them are test here",
    ),
)
