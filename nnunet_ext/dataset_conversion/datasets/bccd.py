"""BCCD with masks: blood cells in stained smears, from Kaggle's "Blood cell segmentation dataset"."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

ENDINGS = r"\.(?:png|jpg|jpeg|bmp|tif)"


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; image and mask may differ in their endings."""
    images = files_by_key(root, "*/original/*", rf"(train|test)/original/([^/]+){ENDINGS}", problems)
    masks = files_by_key(root, "*/mask/*", rf"(train|test)/mask/([^/]+){ENDINGS}", problems)
    return [
        Case(key, ImageFile(image), MaskFile(mask), image.parts[-3], "", "Blood cells", "Microscopy")
        for key, image, mask in paired(images, masks, problems)
        if mask is not None
    ]


LAYOUTS = (
    DatasetLayout(
        name="bccd",
        title="BCCD with masks (blood cell segmentation dataset)",
        papers=("spatial_lifting",),
        reference="Depto et al., Blood cell segmentation dataset, Kaggle, 2023",
        url="https://www.kaggle.com/datasets/jeetblahiri/bccd-dataset-with-mask",
        licence="MIT by the README of a public user, not confirmed, see "
        "https://www.kaggle.com/datasets/jeetblahiri/bccd-dataset-with-mask",
        tree="train/original/*.png\ntrain/mask/*.png\ntest/original/*.png\ntest/mask/*.png",
        version="Kaggle, folder 'BCCD Dataset with mask'; not the BCCD data set of boxes",
        confirmed="public loader: several, with these folders, endings .png and .jpg, masks > 127, 1169 and 159 images",
        cases=find,
        counts={"train": 1169, "test": 159},
        threshold=127,
    ),
)
