"""ADE20K scene parsing: indoor and outdoor scenes with 150 classes."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.datasets.finding import files_by_key, paired
from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.road_scenes import unpacked
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem

FOLDERS = {"train": "training", "val": "validation"}
UNLABELLED = 0
NAMES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat,
fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter,
sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop,
stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land, bannister, escalator,
ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool,
stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave,
pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan,
fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""  # the first word of each class in objectInfo150.txt, from value 1 on
LABELS = tuple(f"{' '.join(name.split())}={value}" for value, name in enumerate(NAMES.split(","), 1))


def find(root: Path, problems: list[Problem]) -> list[Case]:
    """Find all cases of the official parts training and validation; each image is a scene of its own."""
    root, cases = unpacked(root, "ADEChallengeData2016"), []
    for split, folder in FOLDERS.items():
        images = files_by_key(root, f"images/{folder}/*.jpg", rf"images/{folder}/([^/]+)\.jpg", problems)
        masks = files_by_key(root, f"annotations/{folder}/*.png", rf"annotations/{folder}/([^/]+)\.png", problems)
        for key, image, mask in paired(images, masks, problems):
            annotation = None if mask is None else MaskFile(mask)
            cases.append(Case(key, ImageFile(image), annotation, split, "", "Scene", "Photograph"))
    return cases


LAYOUTS = (
    DatasetLayout(
        name="ade20k",
        title="ADE20K scene parsing (SceneParse150), 150 classes",
        papers=("ovenet",),
        reference="Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017",
        url="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
        licence=(
            "non-commercial research and education; annotations BSD 3-Clause: "
            "https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/"
        ),
        tree=(
            "ADEChallengeData2016/images/{training,validation}/ADE_{train,val}_00000001.jpg\n"
            "ADEChallengeData2016/annotations/{training,validation}/ADE_{train,val}_00000001.png"
        ),
        version="ADEChallengeData2016.zip of the 2016 challenge, not the full ADE20K with 3,000 classes",
        confirmed=(
            "public documentation: CSAILVision/sceneparsing objectInfo150.txt (classes), "
            "xyfJASON/datasetx docs/ADE20K-SceneParse150.md (folders, counts)"
        ),
        cases=find,
        counts={"train": 20210, "val": 2000},
        labels=LABELS,
        ignore=str(UNLABELLED),
        notes=(
            "pixels of other things (value 0) are ignored",
            "the challenge's test images have no masks and are in another archive; they are left out",
        ),
    ),
)
