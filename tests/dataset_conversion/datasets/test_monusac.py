"""MoNuSAC in its own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

TRAIN, TEST = "MoNuSAC_images_and_annotations", "MoNuSAC Testing Data and Annotations"
LUNG, BREAST = "TCGA-55-1594-01Z-00-DX1", "TCGA-A2-A0ES-01Z-00-DX1"


def region(left, top, right, bottom):
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
    return f'<Region Id="1" NegativeROA="0"><Attributes/><Vertices>{vertices}</Vertices></Region>'


def layer(name, *regions):
    attributes = f'<Attributes><Attribute Id="0" Name="{name}" Value=""/></Attributes>'
    return f'<Annotation Id="1" Name="" Type="4">{attributes}<Regions>{"".join(regions)}</Regions><Plots/></Annotation>'


def add(root, folder, patient, number, seed, *layers):
    stem = root / folder / patient / f"{patient}_{number}"
    save(np.dstack([picture(seed), np.full((12, 16), 255, np.uint8)]), stem.with_suffix(".tif"))
    stem.with_suffix(".svs").write_bytes(b"not read")
    stem.with_suffix(".xml").write_text(f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')


def monusac(root):
    add(root, TRAIN, LUNG, "001", 0, layer("Lymphocyte", region(1, 1, 3, 2)), layer("Epithelial", region(3, 2, 5, 4)))
    add(root, TRAIN, BREAST, "1", 1, layer("Macrophage", region(0, 0, 1, 5)), layer("Neutrophil"))
    add(root, TEST, BREAST, "1", 2, layer("Ambiguous", region(2, 2, 3, 3), region(90, 90, 95, 95)))
    return root


def test_patients_are_groups_and_a_name_in_both_parts_stays_two_cases(tmp_path):
    cases = found("monusac", monusac(tmp_path))
    assert {n: (c.group, c.split) for n, c in cases.items()} == {
        f"{LUNG}_001": ("TCGA-55-1594", "train"),
        f"{BREAST}_1": ("TCGA-A2-A0ES", "train"),
        f"test_{BREAST}_1": ("TCGA-A2-A0ES", "test"),
    }


def test_four_classes_and_ambiguous_regions_are_ignored(tmp_path):
    cases = found("monusac", monusac(tmp_path))
    expected = np.zeros((12, 16), np.uint8)
    expected[1:3, 1:4] = 2
    expected[2:5, 3:6] = 1
    np.testing.assert_array_equal(labels("monusac", cases[f"{LUNG}_001"]), expected)
    expected[:] = 0
    expected[0:6, 0:2] = 4
    np.testing.assert_array_equal(labels("monusac", cases[f"{BREAST}_1"]), expected)
    expected[:] = 0
    expected[2:4, 2:4] = 5
    np.testing.assert_array_equal(labels("monusac", cases[f"test_{BREAST}_1"]), expected)


def test_regions_given_as_svs_only_are_left_out_and_missing_outlines_are_named(tmp_path):
    monusac(tmp_path)
    (tmp_path / TRAIN / LUNG / f"{LUNG}_001.tif").unlink()
    assert f"{LUNG}_001" not in found("monusac", tmp_path)
    (tmp_path / TEST / BREAST / f"{BREAST}_1.xml").rename(tmp_path / "moved.xml")
    assert [p.code for p in complaints("monusac", tmp_path)] == ["layout-not-found"]
    (tmp_path / TEST / BREAST / f"{BREAST}_1.tif").unlink()
    (tmp_path / TRAIN / BREAST / f"{BREAST}_2.tif").write_bytes(b"")
    (problem,) = complaints("monusac", tmp_path)
    assert (problem.code, f"{BREAST}_2.tif" in problem.where) == ("mask-missing", True)
    assert complaints("monusac", tmp_path / TRAIN)[0].code == "layout-not-found"
