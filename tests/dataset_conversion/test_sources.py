"""Where cases come from: folders of pairs, patterns, and published layouts."""

import json
import shlex
import unicodedata
from collections import Counter

import numpy as np
import pytest
from dataset_conversion.source_checks import SIZE, complaint, complaints, found, labels, mask, picture, text

from nnunet_ext.dataset_conversion.convert import Options, Target, diagnose
from nnunet_ext.dataset_conversion.datasets import find_layout
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.sources import FolderSource, PatternSource, PublishedSource

# ---------------------------------------------------------------------------------------------- folders


def test_folders_of_all_parts(tmp_path):
    for part in ("train", "val", "test"):
        picture(tmp_path / part / "i" / f"{part}1.jpg")
        mask(tmp_path / part / "m" / f"{part}1.png")
    picture(tmp_path / "test" / "i" / ".hidden.png")
    (tmp_path / "val" / "i" / "._val1.jpg").write_bytes(b"AppleDouble")
    (tmp_path / "val" / "i" / "Thumbs.db").write_bytes(b"")
    parts = {part: (tmp_path / part / "i", tmp_path / part / "m") for part in ("train", "val", "test")}
    notes = Counter()
    cases = found(FolderSource(parts), notes)
    assert {name: case.split for name, case in cases.items()} == {"train1": "train", "val1": "val", "test1": "test"}
    assert list(notes) == [f"skipped {{files}} (.db) in {tmp_path / 'val' / 'i'}: not an image format"]


def test_test_folder_without_masks_and_masks_without_images(tmp_path):
    picture(tmp_path / "i" / "a.png")
    mask(tmp_path / "m" / "a.png")
    source = FolderSource({"train": (tmp_path / "i", tmp_path / "m"), "test": (tmp_path / "i", None)})
    assert found(source)["a"].mask is None
    assert complaint(FolderSource({"val": (None, tmp_path / "m")})) == f"folder-missing: --val-masks {tmp_path / 'm'}"


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_no_mask_beside_any_image(tmp_path, part):
    """Test images need none; a wrong suffix never makes pairs vanish."""
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    source, notes = FolderSource({part: (tmp_path, tmp_path)}, mask_suffix="_mask"), Counter()
    if part == "test":
        assert {name: case.mask for name, case in found(source, notes).items()} == {"a": None, "b": None}
        assert notes == {f"{{images}} of test in {tmp_path} without masks: no name there ends in '_mask'": 2}
    else:
        assert [code for code, _ in complaints(source)] == ["mask-missing"] * 2


def test_a_wrong_suffix_of_masks_beside_images(tmp_path):
    for name in ("a", "b", "b2"):
        picture(tmp_path / f"{name}.png")
        mask(tmp_path / f"{name}_mask.png")
    problems = []
    assert FolderSource({"train": (tmp_path, tmp_path)}, mask_suffix="_msk").cases(problems, Counter()) == []
    assert {(problem.code, problem.remedy.split(":")[0]) for problem in problems} == {
        ("mask-missing", "pass --mask-suffix _mask")
    }


def test_masks_of_test_images_with_another_suffix_are_not_taken_for_images(tmp_path):
    for name in ("1", "11"):
        picture(tmp_path / f"{name}.png")
    source = FolderSource({"test": (tmp_path, tmp_path)}, mask_suffix="_mask")
    assert list(found(source)) == ["1", "11"]
    for name in ("1", "11"):
        mask(tmp_path / f"{name}_gt.png")
    assert [code for code, _ in complaints(source)] == ["mask-missing"] * 4


def test_masks_without_any_image_beside_them(tmp_path):
    mask(tmp_path / "a_mask.png")
    assert complaint(FolderSource({"train": (tmp_path, tmp_path)}, mask_suffix="_mask")).startswith("image-missing")


@pytest.mark.parametrize("folders", [("i", "m"), ("i", "i")], ids=["two folders", "one folder"])
def test_outlines_beside_images(tmp_path, folders):
    images, masks = (tmp_path / folder for folder in folders)
    picture(images / "a.jpg")
    square = {"label": "x", "points": [[2, 1], [5, 1], [5, 3], [2, 3]], "shape_type": "polygon"}
    text(masks / "a.json", json.dumps({"shapes": [square], "imageHeight": SIZE[0], "imageWidth": SIZE[1]}))
    cases = found(FolderSource({"train": (images, masks)}))
    assert list(cases) == ["a"]
    expected = np.zeros(SIZE, np.uint8)
    expected[1:4, 2:6] = 1
    np.testing.assert_array_equal(labels(cases["a"]), expected)
    text(masks / "b.json", "{}")
    assert "no image with the stem 'b'" in complaint(FolderSource({"train": (images, masks)}))


def test_xml_outlines(tmp_path):
    picture(tmp_path / "i" / "a.png")
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((2, 1), (5, 1), (5, 3), (2, 3)))
    region = f"<Region><Vertices>{corners}</Vertices></Region>"
    text(tmp_path / "m" / "a.xml", f"<Annotations><Annotation><Regions>{region}</Regions></Annotation></Annotations>")
    marked = labels(found(FolderSource({"train": (tmp_path / "i", tmp_path / "m")}))["a"])
    assert marked[2, 3] == 1
    assert 3 <= marked.sum() <= 12


def test_stems_that_contain_the_suffix(tmp_path):
    """`x_mask.png` with its own mask `x_mask_mask.png` cannot be told from the mask of `x`."""
    for name in ("x", "x_mask", "x_mask_mask"):
        picture(tmp_path / f"{name}.png")
    source = FolderSource({"train": (tmp_path, tmp_path)}, mask_suffix="_mask")
    assert complaint(source).startswith(
        f"image-missing: {tmp_path / 'x_mask_mask.png'}: no image with the stem 'x_mask'"
    )


def test_accents_in_both_unicode_forms_are_one_name(tmp_path):
    one, other = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    picture(tmp_path / "i" / f"{other}.png")
    mask(tmp_path / "m" / f"{one}.png")
    assert list(found(FolderSource({"train": (tmp_path / "i", tmp_path / "m")}))) == [one]
    picture(tmp_path / "i" / f"{one}.png")
    if len(list((tmp_path / "i").iterdir())) == 2:
        message = complaint(FolderSource({"train": (tmp_path / "i", tmp_path / "m")}))
        assert message.startswith("case-twice")
        assert "one writes accents as characters of their own" in message


@pytest.mark.parametrize(
    ("images", "masks"),
    [(["img1", "img2", "img10"], ["001", "002", "010"]), (["a(1)_x", "a(02)_x"], ["a(01)_x-m", "a(2)_x-m"])],
)
def test_numbers_without_zeros_in_front(tmp_path, images, masks):
    for name in images:
        picture(tmp_path / "i" / f"{name}.jpg")
    for name in masks:
        mask(tmp_path / "m" / f"{name}.png")
    problems = []
    FolderSource({"train": (tmp_path / "i", tmp_path / "m")}).cases(problems, Counter())
    assert {problem.code for problem in problems} == {"mask-missing", "image-missing"}
    words = shlex.split(problems[0].remedy)
    regexes = [words[words.index(flag) + 1] for flag in ("--image-regex", "--mask-regex")]
    cases = found(PatternSource(tmp_path / "i", tmp_path / "m", *regexes))  # what the message says
    assert sorted(int(name) for name in cases) == list(range(1, 3)) + [10] * (len(images) == 3)
    for name, case in cases.items():
        assert int("".join(filter(str.isdigit, case.mask.files[0].stem))) == int(name)


# ---------------------------------------------------------------------------------------------- patterns


def test_patterns_name_cases_and_columns(tmp_path):
    picture(tmp_path / "train" / "p01" / "images" / "s1.png")
    picture(tmp_path / "test" / "p02" / "images" / "s1.png")
    mask(tmp_path / "train" / "p01" / "masks" / "s1_a.png", slice(0, 2))
    mask(tmp_path / "train" / "p01" / "masks" / "s1_b.png", slice(5, 6))
    picture(tmp_path / "train" / ".cache" / "images" / "s9.png")
    (tmp_path / "train" / "p01" / "images" / "._s1.png").write_bytes(b"AppleDouble")
    source = PatternSource(
        tmp_path,
        tmp_path,
        r"(?P<split>\w+)/(?P<case>(?P<group>p\d+))/images/(?P<case2>.+)\.png",
        r"\w+/(?P<case>p\d+)/masks/(?P<case2>[^_]+)_.\.png",
    )
    cases = found(source)
    assert {name: (case.split, case.group) for name, case in cases.items()} == {
        "p01_s1": ("train", "p01"),
        "p02_s1": ("test", "p02"),
    }
    assert cases["p02_s1"].mask is None
    assert labels(cases["p01_s1"])[:, 0].tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_patterns_enter_linked_folders_once(tmp_path):
    picture(tmp_path / "elsewhere" / "images" / "a.png")
    mask(tmp_path / "elsewhere" / "masks" / "a.png")
    (tmp_path / "data").mkdir()
    for link, target in (("p1", "elsewhere"), ("p2", "elsewhere"), ("loop", "data")):
        (tmp_path / "data" / link).symlink_to(tmp_path / target, target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data", target_is_directory=True)
    regexes = (r"(?P<case>.+)/images/(?P<case2>.)\.png", r"(?P<case>.+)/masks/(?P<case2>.)\.png")
    assert list(found(PatternSource(tmp_path / "data", tmp_path / "data", *regexes))) == ["p1_a"]


def test_accents_in_patterns(tmp_path):
    one, other = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    picture(tmp_path / "i" / f"{other}.png")
    mask(tmp_path / "m" / f"{one}.png")
    source = PatternSource(tmp_path / "i", tmp_path / "m", r"(?P<case>.+)\.png", r"(?P<case>.+)\.png")
    assert list(found(source)) == [one]


def test_patterns_with_a_file_for_each_class(tmp_path):
    picture(tmp_path / "a.png")
    mask(tmp_path / "a_road.png", slice(0, 2))
    mask(tmp_path / "a_car.png", slice(1, 3))
    source = PatternSource(tmp_path, tmp_path, r"(?P<case>[a-z])\.png", r"(?P<case>[a-z])_(?P<label>\w+)\.png")
    legend = legend_from_flags(["background=0", "street=road", "vehicle=car"], None, None, [])
    decoded = found(source)["a"].mask.read(legend, SIZE)
    assert decoded.labels[:4, 0].tolist() == [1, 2, 2, 0]  # in the order of the labels: street, then vehicle
    assert decoded.overlap == SIZE[1]


@pytest.mark.parametrize(
    ("image_regex", "expected"),
    [
        (r"(?P<case>.+", "regex-syntax: --image-regex '(?P<case>.+': missing ), unterminated subpattern"),
        (r".+\.png", "regex-groups: --image-regex '.+\\\\.png' names nothing; it needs case"),
        (r"(?P<case>.+)(?P<patient>\d)\.png", "names case, patient; it needs case, and may have group"),
        (r"(?P<case>.+)\.tif", "regex-no-match: --image-regex '(?P<case>.+)\\\\.tif' matches no file below"),
        (r"(?P<case>(?P<split>.).*)\.png", "split-unknown"),
    ],
)
def test_patterns_that_cannot_be_used(tmp_path, image_regex, expected):
    picture(tmp_path / "i" / "a1.png")
    mask(tmp_path / "m" / "a1.png")
    source = PatternSource(tmp_path / "i", tmp_path / "m", image_regex, r"(?P<case>.+)\.png")
    first = complaints(source)[0]
    assert expected in f"{first[0]}: {first[1]}"


def test_patterns_whose_masks_have_no_image(tmp_path):
    picture(tmp_path / "i" / "a.png")
    mask(tmp_path / "m" / "b.png")
    source = PatternSource(tmp_path / "i", tmp_path / "m", r"(?P<case>.+)\.png", r"(?P<case>.+)\.png")
    assert complaint(source) == f"image-missing: {tmp_path / 'm' / 'b.png'}: no image for case 'b'"
    source = PatternSource(tmp_path / "none", tmp_path / "m", r"(?P<case>.+)\.png", r"(?P<case>.+)\.png")
    assert ("folder-missing", f"{tmp_path / 'none'} (-i) is not a folder") in complaints(source)


# ---------------------------------------------------------------------------------------------- published


def test_a_published_layout_at_a_wrong_root(tmp_path):
    layout = find_layout("CHASE_DB1")
    assert complaint(PublishedSource(layout, tmp_path / "none")) == (
        f"folder-missing: {tmp_path / 'none'} (-i) is not a folder"
    )
    (tmp_path / "empty").mkdir()
    source = PublishedSource(layout, tmp_path / "empty")
    assert str(tmp_path / "empty") in complaints(source)[0][1]
    diagnosis = diagnose(source, Target(7, "Chase", tmp_path / "raw"), Options(expected=layout.counts))
    assert {problem.code for problem in diagnosis.errors} == {"layout-not-found"}  # and nothing of the counts
    assert not diagnosis.cases
