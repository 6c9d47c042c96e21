"""The polyp training set of PraNet and its five test sets, which later papers use as well."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.cvc_clinicdb import sequence_of
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts
from nnunet_ext.dataset_conversion.problems import Problem

TEST_SETS = {"CVC-300": 60, "CVC-ClinicDB": 62, "CVC-ColonDB": 380, "ETIS-LaribPolypDB": 196, "Kvasir": 100}


def _part(folder: str, split: str) -> Part:
    images, masks = rf"{re.escape(folder)}/images?/(\w+)\.png", rf"{re.escape(folder)}/masks?/(\w+)\.png"
    return Part(f"{folder}/image*/*.png", images, f"{folder}/mask*/*.png", masks, split)


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find training and test cases; their names begin with the data set that they are from."""
    training = find_parts(root, problems, [_part("TrainDataset", "train")], _training)
    cases = [replace(case, name=f"{_source(case.name)}_{case.name}") for case in training]
    for source in TEST_SETS:
        test = find_parts(root, problems, [_part(f"TestDataset/{source}", "test")], always(**_polyp(source)))
        cases += [replace(case, name=f"{source}_{case.name}") for case in test]
    return cases


def _source(key: str) -> str:
    """Return the training image's data set: frames of CVC-ClinicDB are called by their number there."""
    return "CVC-ClinicDB" if key.isdecimal() else "Kvasir"


def _training(key: str) -> dict[str, str]:
    group = f"CVC-ClinicDB_{sequence_of(int(key))}" if key.isdecimal() else ""
    return _polyp(_source(key)) | {"group": group}


def _polyp(source: str) -> dict[str, str]:
    return {"structure": f"Polyp ({source})", "modality": "Colonoscopy"}


LAYOUTS = (
    DatasetLayout(
        name="pranet_polyps",
        title="Polyp sets of PraNet: Kvasir and CVC-ClinicDB for training, five sets for test",
        papers=("m2snet",),
        reference="Fan et al., PraNet: Parallel reverse attention network for polyp segmentation, MICCAI 2020",
        url="https://github.com/DengPingFan/PraNet",
        licence="not stated, https://github.com/DengPingFan/PraNet; see the terms of the six sources",
        tree=(
            "TrainDataset/image/NAME.png (or images/)\nTrainDataset/mask/NAME.png (or masks/)\n"
            "TestDataset/CVC-300/images/NAME.png\nTestDataset/CVC-300/masks/NAME.png\n"
            "... (also CVC-ClinicDB, CVC-ColonDB, ETIS-LaribPolypDB, Kvasir)"
        ),
        version="TrainDataset.zip and TestDataset.zip of PraNet, unpacked side by side",
        confirmed=(
            "public loader: DengPingFan/PraNet MyTrain.py (TrainDataset), README.md (TestDataset); test folders from "
            "loaders of several later papers; counts and the names of training images from memory"
        ),
        cases=find,
        counts={"train": 1450, "test": sum(TEST_SETS.values())},
        threshold=127,
        notes=(
            "training: 900 images of Kvasir-SEG and 550 frames of CVC-ClinicDB; the structure column tells the source",
            "test frames of CVC-ClinicDB are from the same video sequences as training frames, as published",
        ),
    ),
)
