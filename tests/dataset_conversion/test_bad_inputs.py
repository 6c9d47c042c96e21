"""Every bad input that `convert` knows: what it says, that errors write nothing, and that warnings still convert."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from dataset_conversion import bad_files, bad_sets
from dataset_conversion.bad_inputs import DISC, ERRORS, RGB, WARNINGS, N, Place, Row, save
from PIL import Image

from nnunet_ext import dataset_conversion
from nnunet_ext.dataset_conversion.convert import ConversionError

ROWS_IN = (bad_files, bad_sets)  # imported for their rows
ELSEWHERE = {  # codes whose bad inputs are in other modules
    "choice": "test_bad_inputs.py",
    "worker-killed": "test_outputs.py",
    "palettes-differ": "test_same_meaning.py",
    "mat-array": "annotations/test_annotation_mat.py",
    "mat-needs-h5py": "annotations/test_annotation_mat.py",
    "mat-values": "annotations/test_annotation_mat.py",
    "instances-coloured": "annotations/test_annotation_files.py",
    "instances-values": "annotations/test_annotation_files.py",
    "mask-none": "annotations/test_annotation_files.py",
    "masks-disagree": "annotations/test_annotation_files.py",
    "outline-kind": "annotations/test_annotation_polygons.py",
    "outline-outside": "annotations/test_annotation_polygons.py",
    "outlines-malformed": "annotations/test_annotation_polygons.py",
    "outlines-many": "annotations/test_annotation_polygons.py",
    "outlines-unknown": "annotations/test_annotation_polygons.py",
    "run-lengths-outside": "annotations/test_annotation_run_lengths.py",
    "run-lengths-syntax": "annotations/test_annotation_run_lengths.py",
}
PASSED_ON = {"problem.code", "code"}  # where a call hands on the code of another problem
COMPUTED = {"f'{other.kind}-missing'": ("image-missing", "mask-missing")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("row", ERRORS, ids=str)
def test_errors_are_told_and_write_nothing(place, row: Row):
    options = row.spoil(place) or {}
    before = place.files()
    diagnosis = place.diagnose(**options)
    with pytest.raises(ConversionError) as caught:
        diagnosis.write()
    told = [problem for problem in caught.value.problems if problem.code == row.code]
    assert told, [(problem.code, problem.where) for problem in caught.value.problems]
    fitting = [problem for problem in told if all(text in problem.where for text in row.where)]
    assert fitting, [problem.where for problem in told]
    message = str(caught.value)
    assert row.remedy in message
    assert f"[{row.code}] {fitting[0].what}" in message
    assert not any(problem.is_warning for problem in told)
    after = place.files()
    if "progress" not in options:  # which changes a file itself
        assert after == before
    assert after.keys() == before.keys()
    assert not list(place.raw.glob(".*"))


@pytest.mark.parametrize("row", WARNINGS, ids=str)
def test_warnings_are_told_and_convert(place, row: Row):
    options = row.spoil(place) or {}
    before = place.files()
    result = place.diagnose(**options).write()
    told = [problem for problem in result.warnings if problem.code == row.code]
    fitting = [problem for problem in told if all(text in problem.where for text in row.where)]
    assert fitting, [(problem.code, problem.where) for problem in result.warnings]
    assert row.remedy in fitting[0].remedy
    assert result.n_train >= N - 1
    assert {path: content for path, content in place.files().items() if path in before} == before
    assert len(list((result.dataset_folder / "imagesTr").iterdir())) == result.n_train


def codes_in_source() -> set[str]:
    codes = set()
    root = Path(inspect.getfile(dataset_conversion)).parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in ("datasets", "depth"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Problem", "RefusedFile"):
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    codes.add(code.value)
                else:
                    text = ast.unparse(code)
                    assert text in PASSED_ON | COMPUTED.keys(), f"{path}, line {node.lineno}: the code is {text}"
                    codes.update(COMPUTED.get(text, ()))
    return codes


def test_every_code_has_a_row():
    in_table = {row.code for row in (*ERRORS, *WARNINGS)}
    assert in_table.isdisjoint(ELSEWHERE)
    assert codes_in_source() == in_table | ELSEWHERE.keys()
    here = Path(__file__).parent
    for code, module in ELSEWHERE.items():
        assert f'"{code}"' in (here / module).read_text(encoding="utf-8"), f"{module} has no test of {code}"


def test_rows_are_different():
    for rows in (ERRORS, WARNINGS):
        names = [str(row) for row in rows]
        assert len(set(names)) == len(names)


# ---------------------------------------------------------------------------------------------- what is no problem


@pytest.mark.parametrize(
    ("option", "value"),
    [("other", "drop"), ("exif", "flip"), ("alpha", "keep"), ("color", "colour"), ("duplicates", "ignore")],
)
def test_values_that_are_none_of_the_choices(place, option, value):
    with pytest.raises(ConversionError) as caught:
        place.diagnose(**{option: value})
    (problem,) = caught.value.problems
    assert problem.code == "choice"
    assert problem.where.startswith(f"--{option} {value}; allowed are ")
    assert problem.remedy.startswith(f"type for example --{option} ")


def label(result, case: str = "c3") -> np.ndarray:
    return np.asarray(Image.open(result.dataset_folder / "labelsTr" / f"{case}.png"))


@pytest.mark.parametrize("value", [1, 255])
def test_masks_in_three_channels_become_one(place, value):
    """NnU-Net's own check lets RGB masks of values 0 and 1 pass, and trains on three channels."""
    place.every_mask(np.dstack([DISC // 255 * value] * 3))
    result = place.diagnose().write()
    assert label(result).shape == DISC.shape
    np.testing.assert_array_equal(label(result), DISC // 255)
    assert "6 masks in RGB reduced to one channel" in result.notes


def test_antialiased_masks_are_counted(place):
    soft = DISC.copy()
    soft[4:12, 4], soft[4:12, 15] = 127, 128
    save(soft, place.mask)
    result = place.diagnose(threshold=127).write()
    assert label(result).sum() == 80 + 8
    assert "masks thresholded at > 127: 16 pixels in 1 mask were not 0, 1 or 255" in result.notes
    row = next(
        line for line in (result.dataset_folder / "cases.csv").read_text().splitlines() if line.startswith("c3,")
    )
    assert ",16," in row


def test_jpeg_images_under_another_name_are_decoded_and_noted(place):
    save(RGB, place.image, format="JPEG")
    result = place.diagnose().write()
    assert "1 image with JPEG data under the ending .png" in result.notes
    written = result.dataset_folder / "imagesTr" / "c3_0000.png"
    assert written.read_bytes()[:4] == b"\x89PNG"
    np.testing.assert_array_equal(np.asarray(Image.open(written)), np.asarray(Image.open(place.image)))


def test_apple_double_files_are_left_out(place):
    for folder in (place.images, place.masks):
        (folder / "._c3.png").write_bytes(b"\0\5\x16\7")
        (folder / ".DS_Store").write_bytes(b"Bud1")
    result = place.diagnose().write()
    assert (result.n_train, result.warnings) == (N, ())


def test_grey_among_colour_is_noted(place):
    save(RGB[..., 1], place.image)
    result = place.diagnose().write()
    assert "1 grey image written as RGB, as the data set holds colour images" in result.notes
    written = np.asarray(Image.open(result.dataset_folder / "imagesTr" / "c3_0000.png"))
    np.testing.assert_array_equal(written, np.dstack([RGB[..., 1]] * 3))


@pytest.mark.parametrize("part", ["val", "test"])
def test_duplicates_are_dropped_where_they_train(place, part):
    place.add(part, "other")
    place.add(part, "twin", np.asarray(Image.open(place.image)))
    result = place.diagnose(duplicates="drop").write()
    names = {path.stem.removesuffix("_0000") for path in result.dataset_folder.rglob("images*/*.png")}
    assert names == {"c0", "c1", "c2", "c4", "c5", "other", "twin"}
    assert "left out 1 image of train that are in a later part as well (--duplicates drop)" in result.notes


def test_masks_without_background_are_no_find_if_background_is_ignored(place):
    assert place.diagnose(ignore="0").warnings == ()
    place.every_mask(np.full_like(DISC, 255))
    assert {problem.code for problem in place.diagnose(ignore="7").warnings} == {"mask-full"}


@pytest.mark.parametrize("labels", [["disc=9", "cup=3"], ["disc=a b=c"]], ids=["values", "syntax"])
def test_nothing_is_said_of_labels_that_could_not_be_read(place, labels):
    diagnosis = place.diagnose(labels=labels)
    assert diagnosis.errors
    assert not [note for note in diagnosis.notes if "class" in note]


def test_control_characters_in_names_do_not_break_lines(place):
    (place.mask).rename(place.masks / "c3\n\x1b[31m.png")
    with pytest.raises(ConversionError) as caught:
        place.diagnose().write()
    assert "masks/c3\\n\\x1b[31m.png: no image" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_all_problems_of_a_set_are_told_at_once(place):
    bad_files.truncated_image(place)
    save(RGB[:20], place.images / "c1.png")
    place.add("test", "C2")
    codes = {problem.code for problem in place.diagnose(dataset_id=0, name="a b").errors}
    assert codes == {"unreadable", "size-differs", "name-clash", "id-range", "name-range"}
