"""FIVES: large colour photographs of the retina with three diseases and without, vessels drawn by hand."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, find_parts

DISEASES = {"A": "macular degeneration", "D": "diabetic retinopathy", "G": "glaucoma", "N": "normal"}


def _part(split: str) -> Part:
    key = r"(\d+_[ADGN])\.png"
    images, masks = f"{split}/Original", f"{split}/Ground truth"
    return Part(f"{images}/*.png", f"{images}/{key}", f"{masks}/*.png", f"{masks}/{key}", split, prefix=f"{split}_")


def _describe(key: str) -> dict[str, str]:
    return {"structure": f"Retinal vessels ({DISEASES[key[-1]]})", "modality": "Fundus"}


LAYOUTS = (
    DatasetLayout(
        name="fives",
        title="FIVES",
        papers=("spatial_lifting",),
        reference="Jin et al., FIVES: A fundus image dataset for AI-based vessel segmentation, Scientific Data 9, 2022",
        url="https://doi.org/10.6084/m9.figshare.19688169.v1",
        licence="CC BY 4.0, https://doi.org/10.6084/m9.figshare.19688169.v1",
        tree=(
            "train/Original/1_A.png\ntrain/Ground truth/1_A.png\ntest/Original/1_A.png\ntest/Ground truth/1_A.png\n"
            "(A macular degeneration, D diabetic retinopathy, G glaucoma, N normal)"
        ),
        version="figshare, version 1, folder FIVES A Fundus Image Dataset for AI-based Vessel Segmentation",
        confirmed="public loader: constantinpape/torch-em torch_em/data/datasets/medical/fives.py",
        cases=partial(find_parts, parts=(_part("train"), _part("test")), describe=_describe),
        counts={"train": 600, "test": 200},
        threshold=127,
        notes=("the structure column names the disease, so that folds keep its shares",),
    ),
)
