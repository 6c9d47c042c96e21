"""PH2: dermoscopic images, the lesion's outline."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts

FOLDER = "PH2 Dataset images"
PART = Part(
    f"{FOLDER}/*/*_Dermoscopic_Image/*.bmp",
    rf"{FOLDER}/IMD\d+/IMD\d+_Dermoscopic_Image/(IMD\d+)\.bmp",
    f"{FOLDER}/*/*_lesion/*.bmp",
    rf"{FOLDER}/IMD\d+/IMD\d+_lesion/(IMD\d+)_lesion\.bmp",
)

LAYOUTS = (
    DatasetLayout(
        name="ph2",
        title="PH2",
        papers=("two_stage",),
        reference="Mendonça et al., PH2 - a dermoscopic image database for research and benchmarking, EMBC 2013",
        url="https://www.fc.up.pt/addi/ph2%20database.html",
        licence="research and education only, redistribution forbidden, https://www.fc.up.pt/addi/ph2%20database.html",
        tree=(
            f"{FOLDER}/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp\n{FOLDER}/IMD002/IMD002_lesion/IMD002_lesion.bmp\n"
            f"{FOLDER}/IMD002/IMD002_roi/ (left out)\nPH2_dataset.xlsx (not read)"
        ),
        version="PH2Dataset.rar, folder PH2Dataset; the folder names hold blanks",
        confirmed=(
            "public loaders of many repositories with these paths; counts: public documentation: "
            "https://github.com/dataset-ninja/ph2"
        ),
        cases=partial(find_parts, parts=(PART,), describe=always(structure="Skin lesion", modality="Dermoscopy")),
        counts={"train": 200},
        test_share=0.3,
        notes=("no official split; the paper takes 70 % for training and does not publish which",),
    ),
)
