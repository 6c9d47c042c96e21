"""NuInsSeg: nuclei in H&E images of 31 organs of humans and mice, one slide an organ."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases; the group is the organ, of which there is one slide."""
    images = files_by_key(root, "*/tissue images/*.png", r"[^/]+/tissue images/([^/]+)\.png", problems)
    masks = files_by_key(root, "*/mask binary/*.*", r"[^/]+/mask binary/([^/]+)\.(?:png|tif)", problems)
    return [_case(key, image, mask) for key, image, mask in paired(images, masks, problems) if mask is not None]


def _case(key: str, image: Path, mask: Path) -> Case:
    organ = image.parts[-3]
    name = key.replace(" ", "_")
    return Case(name, ImageFile(image), MaskFile(mask), "train", organ, f"Nuclei, {organ}", "H&E histology")


LAYOUTS = (
    DatasetLayout(
        name="nuinsseg",
        title="NuInsSeg",
        papers=("spatial_lifting",),
        reference="Mahbod et al., NuInsSeg: A fully annotated dataset for nuclei instance segmentation in H&E-stained "
        "histological images, Scientific Data 11, 2024",
        url="https://www.kaggle.com/datasets/ipateam/nuinsseg",
        licence="not confirmed, see https://www.kaggle.com/datasets/ipateam/nuinsseg",
        tree="<organ>/tissue images/*.png (organs such as 'human bladder', 'mouse liver')\n"
        "<organ>/mask binary/*.png (same names)",
        version="the archive of Kaggle",
        confirmed="public documentation: https://github.com/masih4/NuInsSeg (folders of masks, 665 images, 31 slides); "
        "'tissue images/*.png' from public loaders; not confirmed: the ending of the files in 'mask binary'",
        cases=find,
        counts={"train": 665},
        test_share=155 / 665,
        notes=(
            "the paper's list of 155 test images is not published: here whole organs are drawn, since all images of an "
            "organ are of one slide",
            "the masks of ambiguous areas are not used",
        ),
    ),
)
