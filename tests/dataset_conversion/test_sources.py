"""Where cases come from: folders, patterns, lists, manifests, COCO, run lengths, published layouts."""

import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.dataset_conversion.convert import Options, Target, diagnose
from nnunet_ext.dataset_conversion.datasets import find_layout
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.sources import (
    CocoSource,
    FolderSource,
    ListSource,
    ManifestSource,
    PatternSource,
    PublishedSource,
    RunLengthSource,
)

SIZE = (12, 16)  # H, W
BINARY = legend_from_flags(None, None, None, [])


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(SIZE, value, np.uint8)).save(path)
    return path


def mask(path: Path, rows: slice = slice(0, 3)) -> Path:
    marked = np.zeros(SIZE, np.uint8)
    marked[rows] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(marked).save(path)
    return path


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


def found(source, notes=None) -> dict:
    problems = []
    cases = source.cases(problems, Counter() if notes is None else notes)
    assert problems == []
    return {case.name: case for case in cases}


def pairs(source, root: Path) -> dict[str, tuple[str, str | None]]:
    """``{case: (image, mask)}`` as paths below ``root``."""

    def below(path: Path) -> str:
        return path.resolve().relative_to(root.resolve()).as_posix()

    return {
        name: (below(case.image.files[0]), case.mask and below(case.mask.files[0]))
        for name, case in found(source).items()
    }


def complaints(source) -> list[tuple[str, str]]:
    problems = []
    source.cases(problems, Counter())
    assert all(problem.remedy and not problem.is_warning for problem in problems)
    return [(problem.code, problem.where) for problem in problems]


def complaint(source) -> str:
    ((code, where),) = complaints(source)
    return f"{code}: {where}"


def labels(case) -> np.ndarray:
    return case.mask.read(BINARY, SIZE).labels


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
    import shlex

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


def test_patterns_with_a_file_for_each_class(tmp_path):
    picture(tmp_path / "a.png")
    mask(tmp_path / "a_road.png", slice(0, 2))
    mask(tmp_path / "a_car.png", slice(1, 3))
    source = PatternSource(tmp_path, tmp_path, r"(?P<case>[a-z])\.png", r"(?P<case>[a-z])_(?P<label>\w+)\.png")
    legend = legend_from_flags(["background=0", "street=road", "vehicle=car"], None, None, [])
    decoded = found(source)["a"].mask.read(legend, SIZE)
    assert decoded.labels[:4, 0].tolist() == [1, 1, 2, 0]  # files in the order of their names: car, then road
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


# ---------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lists_with_a_second_column(tmp_path, encoding, newline):
    lines = ["# image mask", "", "i/a b.png\tm/a b.png", "i/c.png, m/c.png", "i/d.png m/d.png", "i\\e.png m\\e.png"]
    for name in ("a b", "c", "d", "e"):
        picture(tmp_path / "i" / f"{name}.png")
        mask(tmp_path / "m" / f"{name}.png")
    file = tmp_path / "train.txt"
    file.write_bytes(newline.join(lines).encode(encoding))
    assert pairs(ListSource({"train": file}), tmp_path) == {
        name: (f"i/{name}.png", f"m/{name}.png") for name in ("a b", "c", "d", "e")
    }


def test_lists_with_names_that_look_like_separators(tmp_path):
    for name in ("a b", "c, d", "#e"):
        picture(tmp_path / f"{name}.png")
        mask(tmp_path / f"{name}_mask.png")
    file = text(tmp_path / "l.txt", "a b.png\nc, d.png\n#e.png\n# a comment\n")
    assert sorted(found(ListSource({"train": file}, mask_suffix="_mask"))) == ["#e", "a b", "c, d"]


def test_lists_as_the_ife_authors_have_them(tmp_path):
    """Absolute paths; "Image" becomes "Mask" in the folder, and the mask's stem has a suffix."""
    for part in ("train", "val", "test"):
        picture(tmp_path / "Image" / part / "x_Image_1.png")
        mask(tmp_path / "Mask" / part / "x_Image_1_mask.png")
        text(tmp_path / "lists" / f"{part}.lst", str(tmp_path / "Image" / part / "x_Image_1.png") + "\n")
    lists = {part: tmp_path / "lists" / f"{part}.lst" for part in ("train", "val", "test")}
    problems = []
    cases = ListSource(lists, mask_suffix="_mask", replace=("Image", "Mask")).cases(problems, Counter())
    assert problems == []
    assert [(case.split, case.mask.files[0].parent.name) for case in cases] == [(part, part) for part in lists]
    assert {case.mask.files[0].parent.parent.name for case in cases} == {"Mask"}


def test_lists_find_masks_by_name(tmp_path):
    picture(tmp_path / "i" / "a_im.jpg")
    mask(tmp_path / "i" / "a_gt.PNG")
    mask(tmp_path / "m" / "a_gt.bmp")
    file = text(tmp_path / "l" / "train.txt", "i/a_im.jpg")
    source = ListSource({"train": file}, tmp_path, None, "_im", "_gt")
    assert pairs(source, tmp_path) == {"a": ("i/a_im.jpg", "i/a_gt.PNG")}
    source = ListSource({"train": file}, tmp_path, tmp_path / "m", "_im", "_gt")
    assert pairs(source, tmp_path) == {"a": ("i/a_im.jpg", "m/a_gt.bmp")}
    text(tmp_path / "j" / "b.json", "{}")
    picture(tmp_path / "j" / "b.png")
    file = text(tmp_path / "l" / "outlines.txt", "j/b.png")
    assert pairs(ListSource({"train": file}, tmp_path), tmp_path) == {"b": ("j/b.png", "j/b.json")}


def test_lists_never_drop_an_entry(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "c.webp.png")
    text(tmp_path / "d.webp", "x")
    file = text(tmp_path / "l.txt", "a.png\nb.png\nd.webp\na.png,m.png\n")
    assert complaints(ListSource({"train": file}, mask_suffix="_m")) == [
        ("mask-missing", f"{file}, line 1: no mask {tmp_path / 'a_m'}.*"),
        ("list-entry", f"{file}, line 2: {tmp_path / 'b.png'} does not exist"),
        ("format", complaints(ListSource({"train": file}, mask_suffix="_m"))[2][1]),
        ("mask-missing", f"{file}, line 4: no mask {tmp_path / 'm.png'}"),
    ]
    (wrong,) = complaints(ListSource({"train": text(tmp_path / "k.txt", "a.png")}, image_suffix="_x"))
    assert wrong == ("suffix-missing", f"{tmp_path / 'k.txt'}, line 1: the stem 'a' does not end in '_x'")


def test_lists_that_cannot_be_read(tmp_path):
    empty, binary = text(tmp_path / "e.txt", "\n# nothing\n"), tmp_path / "b.txt"
    binary.write_bytes(b"\xff\xfe\x00i")
    problems = complaints(ListSource({"train": tmp_path / "none.txt", "val": binary, "test": empty}))
    assert [code for code, _ in problems] == ["list-unreadable", "list-unreadable", "list-empty"]
    assert problems[0][1].startswith(f"--train-list {tmp_path / 'none.txt'}")
    assert problems[1][1].startswith(f"--val-list {binary}")
    assert problems[2][1] == f"--test-list {empty}"


def test_a_few_test_images_without_mask_are_an_oversight(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    file = text(tmp_path / "test.txt", "a.png\nb.png")
    source = ListSource({"test": file}, mask_suffix="_m")
    assert [case.mask for case in found(source).values()] == [None, None]
    mask(tmp_path / "a_m.png")
    assert complaint(source) == f"mask-missing: {file}: {tmp_path / 'b.png'}"


# ---------------------------------------------------------------------------------------------- manifests

ROWS = [
    {"image": "i/a.png", "mask": "m/a1.png;m/a2.png", "split": "Training", "group": "p1", "weight": 3},
    {"image": "i/b.png", "mask": "m/b.png", "split": "val", "structure": "Polyp", "modality": "Colonoscopy"},
    {"image": "i\\c.png", "mask": None, "split": "test", "case": "unseen"},
]


def written_manifest(tmp_path: Path, kind: str) -> Path:
    import pandas as pd

    for name in "abc":
        picture(tmp_path / "i" / f"{name}.png")
    mask(tmp_path / "m" / "a1.png", slice(0, 1))
    mask(tmp_path / "m" / "a2.png", slice(4, 5))
    mask(tmp_path / "m" / "b.png")
    if kind.startswith("csv"):
        file = tmp_path / "all.csv"
        pd.DataFrame(ROWS).to_csv(file, index=False, encoding="utf-8-sig" if "BOM" in kind else "utf-8")
        return file
    rows = [dict(row) for row in ROWS]
    if kind == "json of lists":
        rows[0]["mask"] = rows[0]["mask"].split(";")
    content = {"info": {"version": 1}, "cases": rows} if kind == "json in object" else rows
    return text(tmp_path / "all.json", json.dumps(content), "utf-8-sig" if "BOM" in kind else "utf-8")


@pytest.mark.parametrize("kind", ["csv", "csv BOM", "json", "json BOM", "json in object", "json of lists"])
def test_manifests(tmp_path, kind):
    notes = Counter()
    cases = found(ManifestSource(written_manifest(tmp_path, kind)), notes)
    assert {name: case.split for name, case in cases.items()} == {"a": "train", "b": "val", "unseen": "test"}
    assert labels(cases["a"])[:, 0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert (cases["a"].group, cases["b"].structure, cases["b"].modality) == ("p1", "Polyp", "Colonoscopy")
    assert cases["unseen"].mask is None
    assert list(notes) == ["columns of the manifest that are not used: weight"]


def test_manifests_below_a_root(tmp_path):
    picture(tmp_path / "data" / "a.png")
    mask(tmp_path / "data" / "a_m.png")
    file = text(tmp_path / "t.csv", "image,mask,id\na.png,a_m.png,7\n")
    assert list(found(ManifestSource(file, tmp_path / "data"))) == ["7"]
    assert [code for code, _ in complaints(ManifestSource(file))] == ["list-entry"] * 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "image,mask,split\na.png,a_m.png,holdout\n",
            "split-unknown: {file}, row 1: split 'holdout'; allowed are train",
        ),
        ("Image;Mask\na.png;a_m.png\n", "manifest-columns: --manifest {file} has Image;Mask; it needs a column image"),
        ("picture,mask\na.png,a_m.png\n", "manifest-columns: --manifest {file} has picture, mask"),
        ("image,mask\n", "manifest-columns: --manifest {file} has no row"),
        ("", "manifest-columns: --manifest {file} has no row"),
        ("image,mask\na.png,a_m.png\n,a_m.png\n", "list-entry: {file}, row 2: nothing in the column image"),
        ("image,mask\na.png,b_m.png\n", "list-entry: {file}, row 1: {folder}/b_m.png does not exist"),
        ("image,mask\na.nii,a_m.png\n", "format: {file}, row 1: {folder}/a.nii; allowed are .png"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, content, expected):
    picture(tmp_path / "a.png")
    mask(tmp_path / "a_m.png")
    text(tmp_path / "a.nii", "x")
    file = text(tmp_path / "t.csv", content)
    assert expected.format(file=file, folder=tmp_path) in complaint(ManifestSource(file))


def test_json_manifests_that_cannot_be_used(tmp_path):
    picture(tmp_path / "a.png")
    assert complaint(ManifestSource(text(tmp_path / "t.json", "{"))).startswith("manifest-unreadable: --manifest")
    assert complaint(ManifestSource(tmp_path / "none.csv")).startswith("manifest-unreadable: --manifest")
    for content in ("3", "{}", "[1, 2]"):
        assert "has no row" in complaint(ManifestSource(text(tmp_path / "t.json", content)))
    file = text(tmp_path / "t.json", json.dumps([{"image": "a.png", "split": "test"}, {"mask": "a.png"}]))
    assert complaint(ManifestSource(file)) == f"list-entry: {file}, row 2: nothing in the column image"


# ---------------------------------------------------------------------------------------------- COCO, run lengths


def coco(tmp_path: Path) -> CocoSource:
    for name in ("a", "b"):
        picture(tmp_path / "i" / f"{name}.jpg")
    square = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
    content = {
        "images": [{"id": i, "file_name": f"{n}.jpg", "height": 12, "width": 16} for i, n in ((1, "a"), (2, "b"))],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": [square], "iscrowd": 0}],
        "categories": [{"id": 7, "name": "car"}],
    }
    return CocoSource(tmp_path / "i", text(tmp_path / "coco.json", json.dumps(content)))


def test_coco(tmp_path):
    cases = found(coco(tmp_path))
    expected = np.zeros(SIZE, np.uint8)
    expected[1:4, 2:6] = 1
    np.testing.assert_array_equal(labels(cases["a"]), expected)
    assert not labels(cases["b"]).any()


def test_coco_and_its_folder_must_agree(tmp_path):
    source = coco(tmp_path)
    (tmp_path / "i" / "b.jpg").rename(tmp_path / "i" / "c.jpg")
    (tmp_path / "i" / "._a.jpg").write_bytes(b"AppleDouble")
    assert complaints(source) == [
        ("mask-missing", f"{tmp_path / 'i' / 'c.jpg'}: {source.file} (--coco) says nothing of it"),
        ("image-missing", f"{source.file} (--coco) names 'b.jpg', which is not in {tmp_path / 'i'}"),
    ]
    assert complaint(CocoSource(tmp_path / "none", source.file)).startswith("folder-missing")
    (tmp_path / "empty").mkdir()
    assert complaint(CocoSource(tmp_path / "empty", source.file)).startswith("folder-empty")
    assert complaint(CocoSource(tmp_path / "i", text(tmp_path / "x.json", "{"))).startswith("unreadable")


@pytest.mark.parametrize(
    ("order", "image_names", "expected"),
    [("columns", "a.png", (slice(1, 4), 0)), ("rows", "a.png", (0, slice(1, 4))), ("rows", "a", (0, slice(1, 4)))],
)
def test_run_lengths(tmp_path, order, image_names, expected):
    picture(tmp_path / "i" / "a.png")
    picture(tmp_path / "i" / "b.png")
    rows = f"{image_names},2 2\n{image_names},4 1\n{image_names.replace('a', 'b')},-1\n"
    file = text(tmp_path / "t.csv", "Image,Runs\n" + rows)
    cases = found(RunLengthSource(tmp_path / "i", file, "Image", "Runs", order))
    marked = np.zeros(SIZE, np.uint8)
    marked[expected] = 1
    np.testing.assert_array_equal(labels(cases["a"]), marked)
    assert not labels(cases["b"]).any()
    assert complaint(RunLengthSource(tmp_path / "i", file)).startswith(f"table-column: {file} has no column 'ImageId'")


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
    assert diagnosis.errors
    assert not diagnosis.cases
