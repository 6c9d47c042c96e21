"""What `--labels`, `--other`, `--ignore` and `--regions` mean: colours, ranges, several values, regions."""

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_conversion.conversion_flags import with_options
from PIL import Image

from nnunet_ext.dataset_conversion.annotations.polygons import Polygons
from nnunet_ext.dataset_conversion.convert import convert
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import Reading
from nnunet_ext.dataset_conversion.problems import RefusedFile

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (1, 2, 253)
COLOURS = np.array([[BLACK, RED, GREEN], [BLUE, RED, BLACK]], np.uint8)
NAMED = ["background=#000000", "red=#FF0000", "cold=#00ff00,#0102fd"]
AS_LABELS = [[0, 1, 2], [2, 1, 0]]


def legend(labels, ignore=None, **options):
    problems = []
    made = legend_from_flags(labels, ignore, options.pop("threshold", None), problems, **options)
    assert problems == []
    return made


def codes(labels, ignore=None, **options) -> list[str]:
    problems = []
    legend_from_flags(labels, ignore, options.pop("threshold", None), problems, **options)
    return [problem.code for problem in problems]


def decoded(tmp_path: Path, image, made) -> list[list[int]]:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(tmp_path / "mask.png")
    labels = MaskFile(tmp_path / "mask.png").read(made, (2, 3)).labels
    assert labels.dtype == np.uint8
    return labels.tolist()


def refusal(tmp_path: Path, image, made):
    with pytest.raises(RefusedFile) as caught:
        decoded(tmp_path, image, made)
    return caught.value.problem


# ---------------------------------------------------------------------------------------------- colours


def palette_of(colours: np.ndarray) -> Image.Image:
    """Indices in an order of their own, and an index that no pixel has."""
    table = [(9, 9, 9), GREEN, BLACK, BLUE, RED]
    indices = np.array([[table.index(tuple(pixel)) for pixel in row] for row in colours.tolist()], np.uint8)
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette([value for colour in table for value in colour])
    return image


def test_colours(tmp_path):
    assert decoded(tmp_path, COLOURS, legend(NAMED)) == AS_LABELS


def test_colours_of_palettes_whatever_their_indices(tmp_path):
    assert decoded(tmp_path, palette_of(COLOURS), legend(NAMED)) == AS_LABELS


def test_colours_with_alpha(tmp_path):
    opaque = np.dstack([COLOURS, np.full((2, 3), 255, np.uint8)])
    assert decoded(tmp_path, opaque, legend(NAMED)) == AS_LABELS
    glassy = opaque - np.array([0, 0, 0, 1], np.uint8)
    assert refusal(tmp_path, glassy, legend(NAMED)).code == "transparency"
    assert decoded(tmp_path, glassy, legend(NAMED, rules=Reading(alpha="drop"))) == AS_LABELS


def test_grey_files_by_the_colours_they_show(tmp_path):
    grey = np.array([[0, 128, 255], [255, 128, 0]], np.uint8)
    named = legend(["background=#000000", "grey=#808080", "white=#ffffff"])
    assert decoded(tmp_path, grey, named) == AS_LABELS
    assert decoded(tmp_path, grey > 0, legend(["background=#000000", "white=#ffffff"])) == [[0, 1, 1], [1, 1, 0]]


def test_colours_that_nothing_names(tmp_path):
    problem = refusal(tmp_path, COLOURS, legend(NAMED[:2]))
    assert problem.code == "unnamed-colours"
    assert "#00ff00 (1 pixels)" in problem.where
    assert "#0102fd (1 pixels)" in problem.where
    assert "--other background" in problem.remedy
    assert decoded(tmp_path, COLOURS, legend(NAMED[:2], other="background")) == [[0, 1, 0], [0, 1, 0]]
    named = legend(NAMED[:2], other="ignore")
    assert named.names == {"background": 0, "red": 1, "ignore": 2}
    assert decoded(tmp_path, COLOURS, named) == [[0, 1, 2], [2, 1, 0]]
    assert decoded(tmp_path, COLOURS, legend(NAMED[:2], "#00ff00,#0102fd")) == [[0, 1, 2], [2, 1, 0]]


# ---------------------------------------------------------------------------------------------- values

VALUES = np.array([[0, 3, 26], [31, 200, 255]], np.uint8)


def test_ranges_and_several_values(tmp_path):
    named = legend(["background=0,200", "road=3", "car=26-30,31"], "255")
    assert decoded(tmp_path, VALUES, named) == [[0, 1, 2], [2, 0, 3]]


def test_other_values(tmp_path):
    problem = refusal(tmp_path, VALUES, legend(["background=0", "road=3"]))
    assert (problem.code, problem.values) == ("unnamed-values", (26, 31, 200, 255))
    assert decoded(tmp_path, VALUES, legend(["road=3"], other="background")) == [[0, 1, 0], [0, 0, 0]]
    assert decoded(tmp_path, VALUES, legend(["background=0", "road=3"], other="ignore")) == [[0, 1, 2], [2, 2, 2]]
    both = legend(["background=0", "road=3"], 255, other="background")
    assert decoded(tmp_path, VALUES, both) == [[0, 1, 0], [0, 0, 2]]


def test_several_values_to_ignore(tmp_path):
    named = legend(["background=0", "road=3"], "26-31, 200,255")
    assert named.names == {"background": 0, "road": 1, "ignore": 2}
    assert decoded(tmp_path, VALUES, named) == [[0, 1, 2], [2, 2, 2]]
    binary = np.array([[0, 255, 10], [20, 255, 0]], np.uint8)
    assert decoded(tmp_path, binary, legend(None, "10,20")) == [[0, 1, 2], [2, 1, 0]]


def test_class_names_of_outlines(tmp_path):
    path = tmp_path / "a.json"
    shapes = [
        {"label": label, "points": [[x, 0], [x + 1, 0], [x + 1, 3], [x, 3]], "shape_type": "polygon"}
        for x, label in ((0, "left lane"), (2, "Car"), (4, "26"), (6, "sky"))
    ]
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 4, "imageWidth": 8}))

    def row(made) -> list[int]:
        return Polygons(path).read(made, (4, 8)).labels[1].tolist()

    named = legend(["background=0", "lane=left lane,right lane", "car=Car"], "sky", other="background")
    assert row(named) == [1, 1, 2, 2, 0, 0, 3, 3]
    with pytest.raises(RefusedFile, match="has the class '26'"):
        row(legend(["background=0", "lane=left lane", "car=Car", "sky=sky"]))
    assert row(legend(None)) == [1] * 8
    assert row(legend(None, "sky,Car")) == [1, 1, 2, 2, 1, 1, 2, 2]
    assert row(legend(None, "26,Car")) == [1, 1, 2, 2, 2, 2, 1, 1]
    numbered = legend(["background=0,left lane", "car=Car", "bus=20-26"], "sky")  # a class that is called by a number
    assert row(numbered) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_class_name_to_ignore_is_refused_for_masks_with_values(tmp_path):
    problem = refusal(tmp_path, np.array([[0, 1, 0]], np.uint8), legend(None, "void"))
    assert (problem.code, "--ignore names the class void" in problem.where) == ("label-kinds", True)
    assert "such as --ignore 255" in problem.remedy


def test_colours_in_remedies_are_quoted_where_a_shell_would_see_a_comment():
    problems = []
    legend_from_flags(["ignore=#000000", "a=#ffffff"], None, None, problems)
    assert "pass --ignore '#000000' instead" in problems[0].remedy


def voc_palette(indices: list[list[int]]) -> Image.Image:
    """Colours of PASCAL VOC: index 1 is dark red, 255 is cream."""
    image = Image.fromarray(np.array(indices, np.uint8)).convert("P")
    image.putpalette([*(0, 0, 0), *(128, 0, 0), *(0, 128, 0), *(252 * (9, 9, 9)), *(224, 224, 192)])
    return image


def test_palettes_with_a_void_index_are_read_by_index(tmp_path):
    assert decoded(tmp_path, voc_palette([[0, 1, 255], [1, 0, 255]]), legend(None, "255")) == [[0, 1, 2], [1, 0, 2]]
    assert decoded(tmp_path, voc_palette([[255, 255, 255]]), legend(None, "255")) == [[2, 2, 2]]
    problem = refusal(tmp_path, voc_palette([[0, 2, 255]]), legend(None, "255"))
    assert (problem.code, problem.values) == ("mask-palette", (0, 2))


@pytest.mark.parametrize(
    ("labels", "options", "code"),
    [
        (["car=31-26"], {}, "label-syntax"),
        (["car=#80408"], {}, "label-syntax"),
        (["car=3,"], {}, "label-syntax"),
        (["car=26-70000"], {}, "label-value"),
        (["car=26-31", "bus=28"], {}, "label-repeated"),
        (["car=#ff0000", "bus=#FF0000"], {}, "label-repeated"),
        (["car=Car", "bus=Car"], {}, "label-repeated"),
        (["car=3", "bus=#ff0000"], {}, "label-kinds"),
        (["car=#ff0000"], {"ignore": "255"}, "label-kinds"),
        (["car=Car"], {"ignore": "Car"}, "label-ignored"),
        (["car=#ff0000"], {"ignore": "#ff0000"}, "label-ignored"),
        (None, {"ignore": "#ff0000"}, "ignore-colour"),
        (None, {"other": "ignore"}, "flags-exclude"),
    ],
)
def test_flags_that_cannot_be_meant(labels, options, code):
    assert codes(labels, **options) == [code]


# ---------------------------------------------------------------------------------------------- regions

CLASSES = ["background=0", "edema=1", "core=2", "enhancing=4"]


def manager_of(made):
    """nnU-Net's own, from what is written to dataset.json."""
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    written = json.loads(json.dumps({"labels": made.dataset_labels(), "order": made.regions_class_order()}))
    return LabelManager(written["labels"], written["order"])


def back_and_forth(made, labels) -> list[int]:
    """Labels to one map for each region, as the network learns them, and back as nnU-Net writes predictions."""
    manager = manager_of(made)
    assert manager.has_regions
    maps = np.stack([np.isin(labels, region) for region in manager.foreground_regions]).astype(np.float32)
    return manager.convert_logits_to_segmentation(20 * maps - 10).tolist()


def memberships(made, labels) -> list[set[str]]:
    return [{name for name, members in made.regions.items() if label in members} for label in labels]


@pytest.mark.parametrize(
    ("regions", "exact"),
    [
        (["whole=edema,core,enhancing", "tumour=core,enhancing", "enhancing=enhancing"], True),
        (["whole=edema,core,enhancing", "tumour=enhancing,core", "inner=core"], True),
        (["whole=enhancing,edema", "edema=edema", "core=core"], True),
        (["whole=edema,core,enhancing", "tumour=core,enhancing"], False),
    ],
)
def test_regions_survive_nnunets_way_to_write_them(regions, exact):
    made = legend(CLASSES, regions=regions)
    assert made.dataset_labels().keys() == {"background", *made.regions}
    labels = [0, 1, 2, 3]
    written = back_and_forth(made, np.array(labels).reshape(1, 2, 2))
    written = np.array(written).ravel().tolist()
    assert memberships(made, written) == memberships(made, labels)
    assert (written == labels) == exact


def test_regions_with_pixels_to_ignore():
    made = legend(CLASSES, 255, regions=["whole=edema,core,enhancing", "core=core", "enhancing=enhancing"])
    manager = manager_of(made)
    assert (manager.ignore_label, manager.num_segmentation_heads) == (4, 3)
    assert manager.foreground_regions == [(1, 2, 3), (2,), (3,)]


def test_regions_of_one_class_each_are_plain_labels():
    manager = manager_of(legend(CLASSES, regions=["a=edema", "b=core", "c=enhancing"]))
    assert not manager.has_regions
    assert manager.num_segmentation_heads == 4


@pytest.mark.parametrize(
    ("regions", "code"),
    [
        (["core=core", "whole=edema,core,enhancing"], "region-order"),
        (["whole=edema,core,enhancing", "a=edema", "b=core,enhancing"], "region-order"),
        (["a=edema,core", "b=core,enhancing"], "region-overlap"),
        (["whole=edema,tail", "core=core", "e=enhancing"], "region-syntax"),
        (["whole=edema,core"], "region-syntax"),
        (["edema,core,enhancing"], "region-syntax"),
        (["background=edema,core,enhancing"], "region-syntax"),
        (["a=edema,core", "a=enhancing"], "region-syntax"),
    ],
)
def test_regions_that_nnunet_cannot_write(regions, code):
    assert codes(CLASSES, regions=regions) == [code]


def test_nnunet_accepts_the_data_set_with_regions(tmp_path):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    mask = np.zeros((16, 20), np.uint8)
    mask[2:9, 2:9], mask[3:6, 3:6], mask[4, 4] = 1, 2, 4
    for index in range(5):
        for kind, pixels in (("i", np.random.default_rng(index).integers(0, 255, (16, 20, 3))), ("m", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / f"c{index}.png")
    options = {"labels": CLASSES, "regions": ["whole=edema,core,enhancing", "core=core,enhancing", "e=enhancing"]}
    result = convert(tmp_path / "i", tmp_path / "m", 3, "Regions", tmp_path / "raw", **with_options(options))
    meta = json.loads((result.dataset_folder / "dataset.json").read_text())
    assert meta["labels"] == {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "e": [3]}
    assert meta["regions_class_order"] == [1, 2, 3]
    manager = LabelManager(meta["labels"], meta["regions_class_order"])
    written = np.asarray(Image.open(result.dataset_folder / "labelsTr" / "c0.png"))
    assert np.unique(written).tolist() == manager.all_labels
    assert [label.name for label in result.labels] == ["background", "edema", "core", "enhancing"]
