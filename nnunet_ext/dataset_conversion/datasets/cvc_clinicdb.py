"""CVC-ClinicDB (CVC-612): polyps in 612 colonoscopy frames of 29 video sequences."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, find_parts

FIRST_FRAMES = (  # of sequences 1 to 29, from the table in the data set's own readme
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298, 318),
    *(343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
FRAMES = 612
PART = Part(
    "Original/*", r"Original/(\d+)\.(?:tiff?|png)", "Ground Truth/*", r"Ground Truth/(\d+)\.(?:tiff?|png)"
)  # fmt: skip


def sequence_of(frame: int) -> str:
    """``"sequence07"`` for frame 127; "" for numbers that the data set does not have."""
    return f"sequence{bisect_right(FIRST_FRAMES, frame):02d}" if 1 <= frame <= FRAMES else ""


def describe(key: str) -> dict[str, str]:
    """Return group, structure and modality of a frame."""
    return {"group": sequence_of(int(key)), "structure": "Polyp", "modality": "Colonoscopy"}


LAYOUTS = (
    DatasetLayout(
        name="cvc_clinicdb",
        title="CVC-ClinicDB (CVC-612)",
        papers=("m2snet",),
        reference="Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, CMIG 43, 2015",
        url="https://polyp.grand-challenge.org/CVCClinicDB/",
        licence="research and education only (readme of the data set), https://polyp.grand-challenge.org/CVCClinicDB/",
        tree="Original/1.tif (or .png)\nGround Truth/1.tif (or .png)",
        version="CVC-ClinicDB.rar, or one of the folders PNG and TIF of the public copies",
        confirmed=(
            "public documentation: the data set's readme in public copies (folders, sequences); "
            "https://github.com/openmedlab/Awesome-Medical-Dataset resources/CVC-ClinicDB.md (names, counts)"
        ),
        cases=partial(find_parts, parts=(PART,), describe=describe),
        counts={"train": 612},
        threshold=127,
        notes=(
            "frames of one sequence show one polyp: they stay together in folds",
            "29 sequences are from 25 examinations; which sequences belong together is not published",
        ),
    ),
)
