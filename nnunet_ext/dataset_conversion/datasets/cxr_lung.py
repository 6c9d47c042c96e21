"""Lungs in chest radiographs of Montgomery County and Shenzhen."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts, without_unlabelled
from nnunet_ext.dataset_conversion.problems import Problem

PART = Part(
    "CXR_png/*.png",
    r"CXR_png/((?:CHN|MCU)CXR_\d{4}_[01])\.png",
    "masks/*.png",
    r"masks/((?:CHN|MCU)CXR_\d{4}_[01])(?:_mask)?\.png",
    may_lack_masks=True,
)


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; images without a mask are left out."""
    n_before = len(problems)
    cases = find_parts(root, problems, (PART,), always(structure="Lung", modality="X-ray"))
    if cases and len(problems) == n_before and all(case.mask is None for case in cases):
        where = f"{root / 'masks'}: no mask for any image"
        remedy = "name the folder that holds CXR_png and masks after -i"
        problems.append(Problem("layout-not-found", "files of the data set not found", where, remedy))
        return []
    return without_unlabelled(cases, problems)


LAYOUTS = (
    DatasetLayout(
        name="cxr_lung",
        title="Chest Xray Masks and Labels (Montgomery County and Shenzhen)",
        papers=(),
        reference="Jaeger et al., IEEE TMI 33, 2014; Candemir et al., IEEE TMI 33, 2014",
        url="https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
        licence="CC0 according to https://github.com/dataset-ninja/chest-xray; Shenzhen masks CC BY-NC-SA 4.0 "
        "according to https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask",
        tree=(
            "CXR_png/CHNCXR_0001_0.png\nCXR_png/MCUCXR_0001_0.png\nmasks/CHNCXR_0001_0_mask.png\n"
            "masks/MCUCXR_0001_0.png\nClinicalReadings/, test/ (left out)"
        ),
        version="the Kaggle set, folder Lung Segmentation",
        confirmed="public loader: constantinpape/torch-em torch_em/data/datasets/medical/chest_xray_masks.py",
        cases=find,
        counts={"train": 704},
        threshold=127,
        notes=("96 of the 662 images of Shenzhen have no mask; the last digit of a name is 1 for tuberculosis",),
    ),
)
