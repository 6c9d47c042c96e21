"""Run lengths of Kaggle's kinds, and those of COCO."""

import pickle

import numpy as np
import pytest

from nnunet_ext.dataset_conversion.annotations.coco_runs import CocoRuns, unpacked
from nnunet_ext.dataset_conversion.annotations.run_lengths import RunLengths, runs_by_image
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.problems import RefusedFile

BINARY = legend_from_flags(None, None, None, [])
SHAPE = (3, 4)


def read(tmp_path, rows, order, shape=None, legend=BINARY):
    return RunLengths(tmp_path / "t.csv", tuple(rows), shape, order).read(legend, SHAPE)


def test_runs_go_along_the_rows(tmp_path):
    mask = read(tmp_path, ["1 2 4 2", "12 1"], "rows")
    assert mask.labels.tolist() == [[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert (mask.labels.dtype, mask.encoding) == (np.uint8, "run lengths")
    assert mask.labels.flags.c_contiguous


def test_runs_go_down_the_columns(tmp_path):
    mask = read(tmp_path, ["1 2 4 2", "12 1"], "columns")
    assert mask.labels.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
    assert mask.labels.flags.c_contiguous


def test_the_own_shape_goes_before_the_images(tmp_path):
    assert read(tmp_path, ["2 1"], "rows", (1, 2)).labels.tolist() == [[0, 1]]


def test_a_threshold_for_mask_files_does_not_empty_runs(tmp_path):
    legend = legend_from_flags(None, None, 127, [])
    assert read(tmp_path, ["1 12"], "rows", legend=legend).labels.all()
    assert not read(tmp_path, [], "rows", legend=legend).labels.any()


def test_an_annotation_can_be_sent_to_a_worker(tmp_path):
    annotation = RunLengths(tmp_path / "t.csv", ("1 2",))
    assert pickle.loads(pickle.dumps(annotation)) == annotation
    assert annotation.files == (tmp_path / "t.csv",)
    with pytest.raises(ValueError, match="diagonal"):
        RunLengths(tmp_path, (), None, "diagonal")


@pytest.mark.parametrize("row", ["0 3", "12 2", "13 1", "5 -1", "-3 2"])
def test_runs_that_leave_the_image(tmp_path, row):
    with pytest.raises(RefusedFile) as refused:
        read(tmp_path, ["1 1", row], "rows")
    problem = refused.value.problem
    assert problem.code == "run-lengths-outside"
    assert repr(row) in problem.where
    assert "1 to 12" in problem.where


@pytest.mark.parametrize("row", ["1 2 3", "1 2.5", "one 2", "7 " * 101])
def test_rows_that_are_no_pairs_of_numbers(tmp_path, row):
    with pytest.raises(RefusedFile) as refused:
        read(tmp_path, [row], "columns")
    problem = refused.value.problem
    assert problem.code == "run-lengths-syntax"
    assert len(problem.where) < len(str(tmp_path)) + 130


def test_rows_of_a_table_are_collected_for_each_image(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text("id,annotation,width\n007,1 2,4\nb,,4\n007,9 1,4\nc,-1,4\nd,NaN,4\n")
    assert runs_by_image(table, "id", "annotation") == {"007": ("1 2", "9 1"), "b": (), "c": (), "d": ()}


def test_a_table_without_the_column_and_a_broken_one(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text("ImageId,EncodedPixels\na,1 2\n")
    with pytest.raises(RefusedFile) as refused:
        runs_by_image(table, "id", "EncodedPixels")
    assert refused.value.problem.code == "table-column"
    assert "it has ImageId, EncodedPixels" in refused.value.problem.where
    table.write_text("")
    with pytest.raises(RefusedFile, match="cannot be read"):
        runs_by_image(table, "id", "EncodedPixels")


def test_coco_counts_go_down_the_columns_and_begin_outside():
    expected = [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1]]
    assert CocoRuns("", (2, 2, 6, 2), (3, 4)).mask().astype(int).tolist() == expected
    assert CocoRuns("", (0, 12), (3, 4)).mask().all()


def test_pixels_of_coco_runs_are_rows_and_columns():
    rows, columns = CocoRuns("", (2, 2, 8), (3, 4)).pixels((3, 4))
    assert (rows.tolist(), columns.tolist()) == ([2, 0], [0, 1])
    with pytest.raises(ValueError, match="image of 3 x 4"):
        CocoRuns("", (2, 2, 8), (3, 4)).pixels((4, 3))


@pytest.mark.parametrize("counts", [(2, 2), (13,), (14, -2), ()])
def test_counts_that_do_not_fill_the_image(counts):
    with pytest.raises(ValueError, match="image of 4 x 3"):
        CocoRuns("", counts, (3, 4)).mask()


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", []),
        ("0", [0]),
        ("222", [2, 2, 2]),  # the first three numbers are stored as they are
        ("2224", [2, 2, 2, 6]),  # 4 = 6 - 2, the number two before is 2
        ("222N", [2, 2, 2, 0]),  # -2 = 11110 in 5 bits: code 30, character 78
        ("?", [15]),
        ("@0", None),  # 16 has the sign's bit: alone it would be -16, which no count is
        ("`0", [16]),  # 16 = 10000, 0: more (32) + 16 = code 48, character 96, then 0
        ("P1", [32]),  # 32 = 00000, 1: more + 0 = code 32, character 80, then 1
        ("o?", [511]),  # 511 = 11111, 01111: more + 31 = code 63, character 111, then 15
        ("PP1", [1024]),
    ],
)
def test_packed_counts(text, counts):
    assert unpacked(text) == ([-16, 0] if counts is None else counts)


@pytest.mark.parametrize("text", ["P", "22 2", "é", "p"])
def test_packed_counts_that_are_none(text):
    with pytest.raises(ValueError, match="packed run lengths"):
        unpacked(text)


def test_packed_and_plain_counts_are_one_mask():
    plain, packed = CocoRuns("", (2, 2, 6, 2), (3, 4)), CocoRuns("", "2260", (3, 4))  # 0 = 2 - 2
    np.testing.assert_array_equal(plain.mask(), packed.mask())
