"""MATLAB arrays, and the kind of annotation that an ending tells."""

import pickle
import sys

import numpy as np
import pytest
import scipy.io

from nnunet_ext.dataset_conversion.annotations.by_ending import annotation_for
from nnunet_ext.dataset_conversion.annotations.mat_array import MatArray
from nnunet_ext.dataset_conversion.annotations.polygons import Polygons
from nnunet_ext.dataset_conversion.legend import legend_from_flags
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.problems import RefusedFile

BINARY = legend_from_flags(None, None, None, [])
SHAPE = (2, 3)
VALUES = np.array([[0, 3, 3], [8, 0, 0]])


def mat(tmp_path, **arrays):
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    return tmp_path / "a.mat"


def problem_of(annotation, legend=BINARY):
    with pytest.raises(RefusedFile) as refused:
        annotation.read(legend, SHAPE)
    return refused.value.problem


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float64, np.uint64])
def test_values_are_classes(tmp_path, kind):
    annotation = MatArray(mat(tmp_path, labels=VALUES.astype(kind)))
    legend = legend_from_flags(["background=0", "a=8", "b=3"], None, None, [])
    mask = annotation.read(legend, SHAPE)
    assert mask.labels.tolist() == [[0, 2, 2], [1, 0, 0]]
    assert (mask.labels.dtype, mask.encoding) == (np.uint8, "mat")
    assert pickle.loads(pickle.dumps(annotation)) == annotation


def test_true_is_foreground(tmp_path):
    assert MatArray(mat(tmp_path, mask=VALUES > 0)).read(BINARY, SHAPE).labels.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_values_without_a_class_are_refused(tmp_path):
    legend = legend_from_flags(["background=0", "a=8"], None, None, [])
    assert problem_of(MatArray(mat(tmp_path, labels=VALUES)), legend).code == "unnamed-values"


def test_one_of_several_arrays_is_named(tmp_path):
    path = mat(tmp_path, inst=VALUES, kind=VALUES[:, :2] > 0, n=5, stack=np.zeros((2, 2, 2)), text="mask")
    problem = problem_of(MatArray(path))
    assert problem.code == "mat-array"
    assert "2 2D arrays; it has inst (2 x 3), kind (2 x 2)" in problem.where
    assert MatArray(path, "kind").read(BINARY, SHAPE).labels.tolist() == [[0, 1], [1, 0]]
    assert "no 2D array 'stack'" in problem_of(MatArray(path, "stack")).where
    assert "it has none" in problem_of(MatArray(mat(tmp_path, n=5))).where


@pytest.mark.parametrize("value", [0.5, -1.0, 70000.0, np.nan])
def test_numbers_that_are_no_labels(tmp_path, value):
    assert problem_of(MatArray(mat(tmp_path, labels=np.full(SHAPE, value)))).code == "mat-values"


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"no MATLAB file" * 20)
    assert problem_of(MatArray(path)).code == "unreadable"


def test_matlab_7_3_needs_h5py(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    problem = problem_of(MatArray(path))
    assert problem.code == "mat-needs-h5py"
    assert "pip install h5py" in problem.remedy


def test_matlab_7_3_is_read_with_h5py(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["labels"] = VALUES.T.astype(float)  # MATLAB writes columns first
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header)
    assert MatArray(path).read(BINARY, SHAPE).labels.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_endings_tell_the_kind(tmp_path):
    kinds = {"a.png": MaskFile, "a.ppm.gz": MaskFile, "a.XML": Polygons, "a.json": Polygons, "a.mat": MatArray}
    for name, kind in kinds.items():
        assert annotation_for(tmp_path / name) == kind(tmp_path / name)
