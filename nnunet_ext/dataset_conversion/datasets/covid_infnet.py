"""COVID-SemiSeg of Inf-Net: lung infection in slices of CT, as PNG."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import PICTURES, Part, always, find_parts


def _part(folder: str, split: str) -> Part:
    images, masks = rf"{folder}/Imgs/([^/]+)\.{PICTURES}", rf"{folder}/GT/([^/]+)\.{PICTURES}"
    return Part(f"{folder}/Imgs/*", images, f"{folder}/GT/*", masks, split, prefix=f"{split}_")


PARTS = (
    _part("TrainingSet/LungInfection-Train/Doctor-label", "train"),
    _part("TestingSet/LungInfection-Test", "test"),
)

LAYOUTS = (
    DatasetLayout(
        name="covid_infnet",
        title="COVID-SemiSeg of Inf-Net",
        papers=("m2snet",),
        reference="Fan et al., Inf-Net: Automatic COVID-19 lung infection segmentation, IEEE TMI 39, 2020",
        url="https://github.com/DengPingFan/Inf-Net",
        licence="not stated, https://github.com/DengPingFan/Inf-Net",
        tree=(
            "TrainingSet/LungInfection-Train/Doctor-label/Imgs/NAME.jpg\n"
            "TrainingSet/LungInfection-Train/Doctor-label/GT/NAME.png\n"
            "TrainingSet/LungInfection-Train/Doctor-label/Edge/ (left out)\n"
            "TrainingSet/LungInfection-Train/Pseudo-label/ (labels by a network, left out)\n"
            "TestingSet/LungInfection-Test/Imgs/NAME.jpg\nTestingSet/LungInfection-Test/GT/NAME.png"
        ),
        version="LungInfection-Train.zip and LungInfection-Test.zip in Inf-Net's folder Dataset",
        confirmed="public documentation: DengPingFan/Inf-Net README.md",
        cases=partial(find_parts, parts=PARTS, describe=always(structure="Lung infection", modality="CT")),
        counts={"train": 50, "test": 48},
        threshold=127,
        notes=(
            "the slices are of covid_medseg, from more than 40 patients; which belong together is not published",
            "the 1,277 slices (894 train, 383 test) of M2SNet are not given out; see covid_seg20 and covid_medseg",
        ),
    ),
)
