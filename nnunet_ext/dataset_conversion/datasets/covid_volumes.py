"""COVID-19 lung infection in CT volumes (NIfTI), each axial slice a case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.nifti_slices import LUNG_WINDOW, slices
from nnunet_ext.dataset_conversion.problems import Problem

STORED_IN_8_BITS = (0.0, 255.0)


@dataclass(frozen=True)
class Volumes:
    """Where images and masks are: globs and regular expressions for :func:`files_by_key`."""

    images: tuple[str, str]
    masks: tuple[str, str]
    unlabelled: tuple[str, str] | None = None
    volume_is_patient: bool = True


def find(root: Path, problems: list[Problem], where: Volumes) -> list[Case]:
    """Find all slices; the group is the patient where a volume is one."""
    images = files_by_key(root, *where.images, problems)
    masks = files_by_key(root, *where.masks, problems)
    cases = []
    for key, image, mask in paired(images, masks, problems):
        cases += _slices(key, image, mask, problems, key if where.volume_is_patient else "", "train")
    if where.unlabelled is not None:
        for key, image in files_by_key(root, *where.unlabelled, problems, needed=False).items():
            cases += _slices(key, image, None, problems, "", "test")
    return cases


def _slices(
    key: str, image: Path, mask: Path | None, problems: list[Problem], group: str, split: str
) -> list[Case]:  # fmt: skip
    window = STORED_IN_8_BITS if key.startswith("radiopaedia") else LUNG_WINDOW
    return [
        Case(f"{key}_{index:03d}", picture, labels, split, group, "Lung infection", "CT")
        for index, picture, labels in slices(image, mask, window, problems)
    ]


NAME_20 = r"((?:coronacases|radiopaedia)_\w+)\.nii(?:\.gz)?"
SEG20 = Volumes(
    ("COVID-19-CT-Seg_20cases/*.nii*", "COVID-19-CT-Seg_20cases/" + NAME_20),
    ("Infection_Mask/*.nii*", "Infection_Mask/" + NAME_20),
)
MEDSEG = Volumes(
    ("tr_im.nii*", r"(tr)_im\.nii(?:\.gz)?"),
    ("tr_mask.nii*", r"(tr)_mask\.nii(?:\.gz)?"),
    ("val_im.nii*", r"(val)_im\.nii(?:\.gz)?"),
    volume_is_patient=False,
)
MEDSEG9 = Volumes(
    ("rp_im/*.nii*", r"rp_im/(\d+)\.nii(?:\.gz)?"),
    ("rp_msk/*.nii*", r"rp_msk/(\d+)\.nii(?:\.gz)?"),
)
WINDOW_NOTE = "intensities from -1250 to 250 Hounsfield units become 0 to 255"
M2SNET = (
    "the M2SNet paper trains on 894 and tests on 383 slices of two such sets; which slices is not published, "
    "all slices are cases here and 30 % of the patients are held out"
)
MEDSEG_URL = "https://medicalsegmentation.com/covid19/"
FINDINGS = ("background=0", "ground_glass=1", "consolidation=2", "pleural_effusion=3")

LAYOUTS = (
    DatasetLayout(
        name="covid_seg20",
        title="COVID-19 CT lung and infection segmentation (20 volumes), infection",
        papers=("m2snet",),
        reference="Ma et al., Toward data-efficient learning: A benchmark for COVID-19 ..., Medical Physics 48, 2021",
        url="https://doi.org/10.5281/zenodo.3757476",
        licence="see https://doi.org/10.5281/zenodo.3757476 (not checked)",
        tree=(
            "COVID-19-CT-Seg_20cases/coronacases_001.nii.gz\nCOVID-19-CT-Seg_20cases/radiopaedia_10_85902_1.nii.gz\n"
            "Infection_Mask/coronacases_001.nii.gz\nLung_Mask/, Lung_and_Infection_Mask/ (left out)"
        ),
        version="zenodo 3757476, archives unpacked into folders of their names",
        confirmed=(
            "public loader: constantinpape/torch-em torch_em/data/datasets/medical/covid19_seg.py (folders); "
            "intensities: the readme of the authors' benchmark; file names from loaders of other repositories"
        ),
        cases=partial(find, where=SEG20),
        test_share=0.3,
        notes=(WINDOW_NOTE + "; volumes called radiopaedia are stored so already", M2SNET),
    ),
    DatasetLayout(
        name="covid_medseg",
        title="COVID-19 CT segmentation of MedSeg (100 slices)",
        papers=("m2snet",),
        reference="COVID-19 CT segmentation dataset, MedSeg, 2020",
        url=MEDSEG_URL,
        licence=f"not stated, {MEDSEG_URL}",
        tree="tr_im.nii.gz (100 slices)\ntr_mask.nii.gz\nval_im.nii.gz (10 slices without labels, if you have them)",
        version="the first set of the site, also on figshare",
        confirmed=f"public loaders of several repositories; values quoted there from {MEDSEG_URL}",
        cases=partial(find, where=MEDSEG),
        counts={"train": 100},
        labels=FINDINGS,
        notes=(WINDOW_NOTE, "slices are from more than 40 patients; which belong together is not published"),
    ),
    DatasetLayout(
        name="covid_medseg9",
        title="COVID-19 CT segmentation of MedSeg (9 volumes)",
        papers=("m2snet",),
        reference="COVID-19 CT segmentation dataset nr. 2, MedSeg, 2020",
        url=MEDSEG_URL,
        licence=f"not stated, {MEDSEG_URL}",
        tree="rp_im/1.nii.gz\nrp_msk/1.nii.gz\nrp_lung_msk/ (left out)",
        version="the second set of the site, also on figshare",
        confirmed="public loaders of several repositories (folders); values and names of files from memory",
        cases=partial(find, where=MEDSEG9),
        labels=FINDINGS,
        test_share=0.3,
        notes=(WINDOW_NOTE, M2SNET),
    ),
)
