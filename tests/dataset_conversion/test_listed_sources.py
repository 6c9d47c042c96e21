"""Cases that files list: lists, manifests, COCO, run lengths."""

import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_conversion.source_checks import SIZE, complaint, complaints, found, labels, mask, pairs, picture, text

from nnunet_ext.dataset_conversion.sources import CocoSource, ListSource, ManifestSource, RunLengthSource

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


def test_coco_names_with_accents(tmp_path):
    one, other = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    source = coco(tmp_path)
    (tmp_path / "i" / "a.jpg").rename(tmp_path / "i" / f"{other}.jpg")
    source.file.write_text(source.file.read_text().replace("a.jpg", f"{one}.jpg"))
    cases = found(source)
    assert labels(cases[one]).sum() == 12


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


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_coco_with_paths_below_the_folder(tmp_path, separator):
    source = coco(tmp_path)
    content = json.loads(source.file.read_text())
    for image, name in zip(content["images"], ("p1/cam/x.jpg", "p2/x.jpg"), strict=True):
        picture(tmp_path / "j" / name)
        image["file_name"] = name.replace("/", separator)
    picture(tmp_path / "j" / "p3" / "x.jpg")  # a folder that no name has
    source = CocoSource(tmp_path / "j", text(source.file, json.dumps(content)))
    assert {n: c.image.files for n, c in found(source).items()} == {
        "p1_cam_x": (tmp_path / "j" / "p1" / "cam" / "x.jpg",),
        "p2_x": (tmp_path / "j" / "p2" / "x.jpg",),
    }
    assert labels(found(source)["p1_cam_x"]).any()
    picture(tmp_path / "j" / "p2" / "y.jpg")
    (tmp_path / "j" / "p1" / "cam" / "x.jpg").unlink()
    assert [code for code, _ in complaints(source)] == ["mask-missing", "image-missing"]
    text(source.file, source.file.read_text().replace("p1", "..").replace("p2", ".."))
    assert {code for code, _ in complaints(source)} == {"folder-empty"}


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
