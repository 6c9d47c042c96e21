"""The label ids of Cityscapes, which ACDC and KITTI share, and the train ids, which BDD100K uses."""

from __future__ import annotations

from typing import NamedTuple

IGNORED_TRAIN_ID = 255


class SceneLabel(NamedTuple):
    """One label id of Cityscapes.

    Attributes:
        name: official name.
        label_id: value in ``*_labelIds.png``.
        category: one of the 7 categories that are scored, or "void".
        scored: whether it is one of the 19 classes; all others are ignored.
    """

    name: str
    label_id: int
    category: str
    scored: bool


_NAMES_BY_CATEGORY = (  # in the order of the ids, from 0; "*" marks the 19 classes
    ("void", "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground"),
    ("flat", "*road, *sidewalk, parking, rail track"),
    ("construction", "*building, *wall, *fence, guard rail, bridge, tunnel"),
    ("object", "*pole, polegroup, *traffic light, *traffic sign"),
    ("nature", "*vegetation, *terrain"),
    ("sky", "*sky"),
    ("human", "*person, *rider"),
    ("vehicle", "*car, *truck, *bus, caravan, trailer, *train, *motorcycle, *bicycle"),
)
_NAMED = [(name, category) for category, names in _NAMES_BY_CATEGORY for name in names.split(", ")]
SCENE_LABELS = tuple(
    SceneLabel(name.removeprefix("*"), label_id, category, name.startswith("*"))
    for label_id, (name, category) in enumerate(_NAMED)
)
CLASSES = tuple(label for label in SCENE_LABELS if label.scored)  # the position is the train id

BY_LABEL_ID = tuple(f"{label.name}={label.label_id}" for label in CLASSES)
BY_TRAIN_ID = tuple(f"{label.name}={train_id}" for train_id, label in enumerate(CLASSES))
VEHICLE_LABEL_IDS = "26-31"  # car, truck, bus, caravan, trailer, train
VEHICLE_TRAIN_IDS = "13-16"  # car, truck, bus, train


def without_road_class(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Call the first class, road, background: nnU-Net then has a head for each class and none that is unused."""
    return ("background=" + labels[0].partition("=")[2], *labels[1:])
