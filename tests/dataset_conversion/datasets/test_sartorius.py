"""Sartorius cell instance segmentation in its own layout."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets import all_layouts

HEAD = "id,annotation,width,height,cell_type,plate_time,sample_date,sample_id,elapsed_timedelta\n"
REST = "11h30m00s,2019-06-16,shsy5y[diff]_E10-4_Vessel-714_Ph_3,0 days 11:30:00"
ROWS = f"""\
0030fd0e6378,1 2 17 1,16,12,shsy5y,{REST}
0030fd0e6378,192 1,16,12,shsy5y,{REST}
01ae5a43a2ab,3 4,16,12,cort,{REST}
"""


def sartorius(root, table=HEAD + ROWS):
    for seed, name in enumerate(("0030fd0e6378", "01ae5a43a2ab")):
        save(picture(seed, (12, 16)), root / f"train/{name}.png")
    save(picture(3, (12, 16)), root / "train_semi_supervised/astros[cereb]_1.png")
    save(picture(4, (12, 16)), root / "test/7ae19de7bc2a.png")
    (root / "train.csv").write_text(table)
    return root


@pytest.mark.parametrize(("name", "share"), [("sartorius", 66 / 606), ("sartorius_70_30", 0.3)])
def test_rows_of_an_image_are_joined_along_the_lines(tmp_path, name, share):
    cases = found(name, sartorius(tmp_path))
    sample = "shsy5y[diff]_E10-4_Vessel-714_Ph_3"
    assert {n: (c.group, c.structure, c.split) for n, c in cases.items()} == {
        "0030fd0e6378": (sample, "Neuronal cells, shsy5y", "train"),
        "01ae5a43a2ab": (sample, "Neuronal cells, cort", "train"),
    }
    expected = np.zeros((12, 16), np.uint8)
    expected[0, :2], expected[1, 0], expected[11, 15] = 1, 1, 1
    np.testing.assert_array_equal(labels(name, cases["0030fd0e6378"]), expected)
    assert all_layouts()[name].test_share == share


def test_the_size_is_the_tables(tmp_path):
    cases = found("sartorius", sartorius(tmp_path, HEAD + ROWS.replace("16,12", "12,16")))
    mask = cases["01ae5a43a2ab"].mask.read(all_layouts()["sartorius"].legend([]), (12, 16))
    assert mask.labels.shape == (16, 12)


def test_without_samples_there_are_no_groups(tmp_path):
    lines = [",".join(line.split(",")[:5]) for line in (HEAD + ROWS).splitlines()]
    cases = found("sartorius", sartorius(tmp_path, "\n".join(lines)))
    assert {case.group for case in cases.values()} == {""}


def test_what_is_wrong_is_named(tmp_path):
    assert complaints("sartorius", tmp_path)[0].code == "layout-not-found"
    sartorius(tmp_path, HEAD + ROWS.splitlines()[0])
    (problem,) = complaints("sartorius", tmp_path)
    assert (problem.code, "01ae5a43a2ab.png" in problem.where) == ("mask-missing", True)
    sartorius(tmp_path, HEAD + ROWS.replace("16,12,cort", "16,,cort"))
    assert [p.code for p in complaints("sartorius", tmp_path)] == ["table-value", "mask-missing"]
    sartorius(tmp_path, "ImageId,EncodedPixels\n")
    assert [p.code for p in complaints("sartorius", tmp_path)] == ["table-column"]
