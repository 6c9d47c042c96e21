"""What the file names of Cosmos55k tell: data set, structure, and from it the modality."""

from __future__ import annotations

import re

STRUCTURES = {  # images of each, from the figure in the paper's repository; they sum to 55,023
    **{"Melanoma": 1213, "Stomach": 3100, "Optic disc": 709, "Heart": 3000, "Gall bladder": 1874},
    **{"Brain tumor": 3100, "Adenocarcinoma": 1019, "Prostate": 2747, "Postcava": 2956, "Liver": 4000},
    **{"Lung tumor": 434, "Aorta": 3000, "LungX": 465, "Head of femur": 3000, "Rectum": 1195},
    **{"Inferior vena cava": 884, "Lung": 3000, "Schwannomas": 550, "Pancreas": 3100, "Esophagus": 286},
    **{"Kidney": 3100, "Bladder": 3000, "Polyp": 2174, "Vertebra": 4000, "Callosum": 117, "Spleen": 3000},
}
MODALITIES = {  # inferred from the structure; the paper does not list them. Others may be of CT or MRI
    "Optic disc": "Fundus",
    "Polyp": "Colonoscopy",
    "Melanoma": "Dermoscopy",
    "Adenocarcinoma": "Histopathology",
    "LungX": "X-ray",
}
MOST_WORDS = 3


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


_PLAIN = {_plain(name): name for name in STRUCTURES}


def structure_of(stem: str) -> str | None:
    """Return the structure in a stem like ``AMOS22_Liver_0001``, or None; ``BraTS20_Brain_tumor_7`` counts as well.

    Capitals, blanks and hyphens do not matter. The longest name wins: "Lung tumor" before "Lung".
    """
    words = stem.split("_")[1:]
    for n_words in range(min(MOST_WORDS, len(words)), 0, -1):
        name = _PLAIN.get(_plain("".join(words[:n_words])))
        if name is not None:
            return name
    return None
