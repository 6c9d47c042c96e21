"""CVC-ClinicDB in its own layout."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

from nnunet_ext.dataset_conversion.datasets.cvc_clinicdb import sequence_of

POLYP = np.zeros((12, 16), bool)
POLYP[3:9, 4:12] = True


def clinic(root, ending):
    for frame in (1, 25, 26, 612):
        save(picture(frame), root / "Original" / f"{frame}.{ending}")
        save(POLYP.astype(np.uint8) * 255, root / "Ground Truth" / f"{frame}.{ending}")
    return root


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_frames_of_a_sequence_are_one_group(tmp_path, ending):
    cases = found("cvc_clinicdb", clinic(tmp_path, ending))
    assert {n: c.group for n, c in cases.items()} == {
        "1": "sequence01",
        "25": "sequence01",
        "26": "sequence02",
        "612": "sequence29",
    }
    np.testing.assert_array_equal(labels("cvc_clinicdb", cases["26"]), POLYP)


def test_the_sequences_are_those_of_the_readme():
    sizes = [[sequence_of(frame) for frame in range(1, 613)].count(f"sequence{n:02d}") for n in range(1, 30)]
    assert sizes == [
        *(25, 25, 17, 11, 25, 23, 25, 26, 22, 6, 22, 25, 25, 20, 20),
        *(25, 21, 20, 25, 20, 19, 19, 12, 25, 25, 18, 25, 20, 21),
    ]
    assert (sequence_of(0), sequence_of(613)) == ("", "")


def test_missing_masks_are_named(tmp_path):
    (clinic(tmp_path, "tif") / "Ground Truth/26.tif").unlink()
    (problem,) = complaints("cvc_clinicdb", tmp_path)
    assert (problem.code, "26.tif" in problem.where) == ("mask-missing", True)
    assert complaints("cvc_clinicdb", tmp_path / "Original")[0].code == "layout-not-found"
