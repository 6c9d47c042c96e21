"""MoNuSeg in its own layout."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

BREAST, LUNG, COLON = "TCGA-A7-A13E-01Z-00-DX1", "TCGA-49-4488-01Z-00-DX1", "TCGA-AC-A2FO-01A-01-TS1"
TRAIN, TEST = "MoNuSeg 2018 Training Data", "MoNuSegTestData"
CORNERS = '<Vertex X="{}" Y="1"/><Vertex X="{}" Y="1"/><Vertex X="{}" Y="4"/>'


def xml(path, *boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = (CORNERS.format(left, right, right) for left, right in boxes)
    regions = "".join(f'<Region Id="{n}"><Vertices>{c}</Vertices></Region>' for n, c in enumerate(corners, 1))
    attribute = '<Attributes><Attribute Name="Description" Id="0" Value=""/></Attributes>'
    path.write_text(
        f"<Annotations><Annotation Id='1'>{attribute}<Regions>{regions}</Regions></Annotation></Annotations>"
    )


def monuseg(root, train=TRAIN, test=TEST):
    for seed, name in enumerate((BREAST, LUNG)):
        save(picture(seed), root / train / "Tissue Images" / f"{name}.tif")
        xml(root / train / "Annotations" / f"{name}.xml", (2, 5), (14, 17))
    save(picture(5), root / test / f"{COLON}.tif")
    xml(root / test / f"{COLON}.xml", (2, 5), (200, 201))
    return root


@pytest.mark.parametrize("twice", [False, True])
def test_patients_are_groups_and_the_official_test_part_is_kept(tmp_path, twice):
    folders = (f"{TRAIN}/{TRAIN}", f"{TEST}/{TEST}") if twice else (TRAIN, TEST)
    cases = found("monuseg", monuseg(tmp_path, *folders))
    assert {n: (c.group, c.split) for n, c in cases.items()} == {
        BREAST: ("TCGA-A7-A13E", "train"),
        LUNG: ("TCGA-49-4488", "train"),
        COLON: ("TCGA-AC-A2FO", "test"),
    }


def test_outlines_are_foreground_and_cut_at_the_border(tmp_path):
    cases = found("monuseg", monuseg(tmp_path))
    expected = np.zeros((12, 16), np.uint8)
    for row in range(1, 5):
        expected[row, row + 1 : 6] = 1
    np.testing.assert_array_equal(labels("monuseg", cases[COLON]), expected)
    expected[1, 14:], expected[2, 15] = 1, 1
    np.testing.assert_array_equal(labels("monuseg", cases[BREAST]), expected)


def test_what_is_missing_is_named_and_the_test_part_may_be(tmp_path):
    monuseg(tmp_path)
    (tmp_path / TEST / f"{COLON}.xml").unlink()
    assert [p.code for p in complaints("monuseg", tmp_path)] == ["layout-not-found"]
    (tmp_path / TEST / f"{COLON}.tif").unlink()
    assert sorted(found("monuseg", tmp_path)) == [LUNG, BREAST]
    (tmp_path / TRAIN / "Annotations" / f"{LUNG}.xml").unlink()
    (problem,) = complaints("monuseg", tmp_path)
    assert (problem.code, f"{LUNG}.tif" in problem.where) == ("mask-missing", True)
    assert complaints("monuseg", tmp_path / TEST)[0].code == "layout-not-found"
