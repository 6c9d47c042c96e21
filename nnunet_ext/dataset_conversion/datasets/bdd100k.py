"""BDD100K semantic segmentation: 10,000 driving scenes of the USA with the train ids of Cityscapes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.cityscapes_ids import BY_TRAIN_ID, IGNORED_TRAIN_ID, VEHICLE_TRAIN_IDS
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.road_scenes import Names, by_official_split, unpacked
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

NEWER = (
    Names("images/10k/{split}/*.jpg", "images/10k/{split}/([^/]+)[.]jpg"),
    Names("labels/sem_seg/masks/{split}/*.png", "labels/sem_seg/masks/{split}/([^/]+)[.]png"),
)
OLDER = (
    Names("seg/images/{split}/*.jpg", "seg/images/{split}/([^/]+)[.]jpg"),
    Names("seg/labels/{split}/*_train_id.png", "seg/labels/{split}/([^/]+)_train_id[.]png"),
)


def find(root: Path, problems: list[Problem], structure: str, pooled: bool) -> list[Case]:
    """Find all cases, in the newer tree or in the older one.

    Args:
        root: folder that holds ``bdd100k``, or the folder ``bdd100k``.
        problems: what is wrong is appended here.
        structure: what is segmented.
        pooled: whether the official parts train and val are one, and the test images, which have no masks, left out.
    """
    root = unpacked(root, "bdd100k")
    images, masks = OLDER if (root / "seg").is_dir() else NEWER
    return [
        Case(
            name=key,
            image=ImageFile(image),
            mask=None if mask is None else MaskFile(mask),
            split="train" if pooled else split,
            structure=structure,
            modality="Car camera",
        )
        for key, image, mask, split in by_official_split(root, images, masks, problems)
        if split != "test" or not pooled
    ]


BDD100K = DatasetLayout(
    name="bdd100k",
    title="BDD100K semantic segmentation, 19 classes",
    papers=(),
    reference="Yu et al., BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning, CVPR 2020",
    url="https://doc.bdd100k.com/download.html",
    licence="own terms, free for education, research and non-profit purposes: https://doc.bdd100k.com/license.html",
    tree=(
        "bdd100k/images/10k/{train,val,test}/<name>.jpg\n"
        "bdd100k/labels/sem_seg/masks/{train,val}/<name>.png\n"
        "or, older: bdd100k/seg/images/{train,val,test}/<name>.jpg\n"
        "           bdd100k/seg/labels/{train,val}/<name>_train_id.png"
    ),
    version="10K Images with Semantic Segmentation labels; or the older bdd100k_seg.zip",
    confirmed=(
        "public loaders: mmsegmentation BDD100KDataset (newer tree; classes), several with *_train_id.png (older tree)"
    ),
    cases=partial(find, structure="Street scene", pooled=False),
    counts={"train": 7000, "val": 1000, "test": 2000},
    labels=BY_TRAIN_ID,
    ignore=str(IGNORED_TRAIN_ID),
    notes=("no masks are given out for the test images",),
)
VEHICLES = DatasetLayout(
    name="bdd100k_vehicles",
    title="BDD100K semantic segmentation, vehicles",
    papers=("two_stage",),
    reference=BDD100K.reference,
    url=BDD100K.url,
    licence=BDD100K.licence,
    tree=BDD100K.tree,
    version=BDD100K.version,
    confirmed=BDD100K.confirmed,
    cases=partial(find, structure="Vehicles", pooled=True),
    counts={"train": 8000},
    labels=("background=0-12,17-18", f"vehicle={VEHICLE_TRAIN_IDS}"),
    ignore=str(IGNORED_TRAIN_ID),
    test_share=0.3,
    notes=(
        "vehicles are the train ids 13 to 16: cars, trucks, buses, trains",
        "unlabelled pixels (255) are ignored; the authors of the paper took them for background",
        "train and val are pooled and 30% held out, as the paper's text says; the authors' code trains on 70% of the "
        "official train part and tests on 30% of the official val part",
    ),
)
LAYOUTS = (BDD100K, VEHICLES)
