"""Make3D in its own layout, and what all declarations of depth data sets have in common."""

import numpy as np
import pytest
from dataset_conversion.depth_checks import NAN, complaints, depth, found
from dataset_conversion.layout_checks import picture, save
from scipy.io import savemat

from nnunet_ext.dataset_conversion.cases import SPLITS
from nnunet_ext.dataset_conversion.depth import all_depth_layouts
from nnunet_ext.dataset_conversion.depth.maps import UNITS
from nnunet_ext.dataset_conversion.problems import RefusedFile

DISTANCES = np.array([[1.5, 70, 81.92], [2, 3, 4]])


def grid(path, distances=DISTANCES):
    path.parent.mkdir(parents=True, exist_ok=True)
    others = [np.full(distances.shape, float(i)) for i in range(3)]
    savemat(path, {"Position3DGrid": np.stack([*others, distances], axis=2)})


def make3d(root, test_depth):
    for path in ("Train400Img/img-math7-p-282t0", "Train400Img/img-10.21op2-p-015t000", "Test134/img-op3-p-1t0"):
        save(picture(1), root / f"{path}.jpg", quality=95)
    grid(root / "Train400Depth/depth_sph_corr-math7-p-282t0.mat")
    grid(root / "Train400Depth/depth_sph_corr-op2-p-015t000.mat")
    grid(root / test_depth / "depth_sph_corr-op3-p-1t0.mat")
    return root


@pytest.mark.parametrize("test_depth", ["Test134Depth/Gridlaserdata", "Gridlaserdata", "Test134Depth"])
def test_make3d_reads_the_distance_and_leaves_out_what_is_too_far(tmp_path, test_depth):
    cases = found("make3d", make3d(tmp_path, test_depth))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        "math7-p-282t0": ("train", "math7"),
        "10.21op2-p-015t000": ("train", "10.21op2"),
        "op3-p-1t0": ("test", "op3"),
    }
    np.testing.assert_array_equal(
        depth("make3d", cases["op3-p-1t0"]).values, np.array([[1.5, 70, NAN], [2, 3, 4]], np.float32)
    )


def test_make3d_in_another_unit_or_shape_is_refused(tmp_path):
    case = found("make3d", make3d(tmp_path, "Gridlaserdata"))["op3-p-1t0"]
    grid(case.depth.path, DISTANCES * 100)
    with pytest.raises(RefusedFile, match="8192") as error:
        case.depth.read()
    assert error.value.problem.code == "depth-unit"
    savemat(case.depth.path, {"Position3DGrid": DISTANCES})
    with pytest.raises(RefusedFile, match=r"\(2, 3\)"):
        case.depth.read()
    savemat(case.depth.path, {"other": DISTANCES})
    with pytest.raises(RefusedFile, match="no such array"):
        case.depth.read()
    case.depth.path.unlink()
    with pytest.raises(RefusedFile, match=r"op3-p-1t0\.mat"):
        case.depth.read()
    assert complaints("make3d", tmp_path) == ["layout-not-found"]


@pytest.mark.parametrize("name", sorted(all_depth_layouts()))
def test_declarations_are_complete(name):
    layout = all_depth_layouts()[name]
    assert layout.unit in UNITS
    assert set(layout.counts) <= set(SPLITS)
    for text in (layout.title, layout.reference, layout.tree, layout.version, layout.confirmed):
        assert text
    assert layout.url.startswith("http")
    assert "http" in layout.licence
    assert (layout.test_share is None) or 0 < layout.test_share < 1
