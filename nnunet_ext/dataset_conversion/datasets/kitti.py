"""KITTI semantics: 200 street scenes with the label ids of Cityscapes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.cityscapes_ids import BY_LABEL_ID, VEHICLE_LABEL_IDS
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.road_scenes import unpacked
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem


def find(root: Path, problems: list[Problem], structure: str, with_test: bool) -> list[Case]:
    """Find all cases; each image is a scene of its own.

    Args:
        root: folder that holds ``data_semantics`` or ``training``.
        problems: what is wrong is appended here.
        structure: what is segmented.
        with_test: whether the images of ``testing``, which have no masks, are cases, if they are there.
    """
    root = unpacked(root, "data_semantics")
    images = files_by_key(root, "training/image_2/*.png", r"training/image_2/([^/]+)\.png", problems)
    masks = files_by_key(root, "training/semantic/*.png", r"training/semantic/([^/]+)\.png", problems)
    cases = [
        Case(key, ImageFile(image), None if mask is None else MaskFile(mask), "train", "", structure, "Car camera")
        for key, image, mask in paired(images, masks, problems)
    ]
    if with_test:  # testing/ numbers its images from 000000 as well
        tests = files_by_key(root, "testing/image_2/*.png", r"testing/image_2/([^/]+)\.png", problems, needed=False)
        cases += [Case(f"test_{k}", ImageFile(i), None, "test", "", structure, "Car camera") for k, i in tests.items()]
    return cases


KITTI = DatasetLayout(
    name="kitti",
    title="KITTI semantics, 19 classes",
    papers=(),
    reference="Alhaija et al., Augmented Reality Meets Computer Vision ..., IJCV 126, 2018",
    url="https://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015",
    licence="CC BY-NC-SA 3.0, https://www.cvlibs.net/datasets/kitti/",
    tree=(
        "data_semantics/training/image_2/000000_10.png\n"
        "data_semantics/training/semantic/000000_10.png\n"
        "data_semantics/testing/image_2/000000_10.png"
    ),
    version="data_semantics.zip; its folders semantic_rgb and instance are not read",
    confirmed="public documentation: README of the devkit (stevenwudi/6DVNET devkit_semantics/README.md)",
    cases=partial(find, structure="Street scene", with_test=True),
    counts={"train": 200, "test": 200},
    labels=BY_LABEL_ID,
    other="ignore",
    notes=("the masks of the test images are withheld; their cases are called test_...",),
)
VEHICLES = DatasetLayout(
    name="kitti_vehicles",
    title="KITTI semantics, vehicles",
    papers=("two_stage",),
    reference=KITTI.reference,
    url=KITTI.url,
    licence=KITTI.licence,
    tree="data_semantics/training/image_2/000000_10.png\ndata_semantics/training/semantic/000000_10.png",
    version=KITTI.version,
    confirmed=KITTI.confirmed,
    cases=partial(find, structure="Vehicles", with_test=False),
    counts={"train": 200},
    labels=(f"vehicle={VEHICLE_LABEL_IDS}",),
    other="background",
    test_share=0.3,
    notes=(
        "vehicles are the label ids 26 to 31, as the authors of the paper took them: cars, trucks, buses, caravans, "
        "trailers, trains; motorcycles, bicycles and unlabelled pixels are background",
        "the paper's own random 70/30 split is not published",
    ),
)
LAYOUTS = (KITTI, VEHICLES)
