"""STARE in its own layout."""

import gzip

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

VESSEL = np.zeros((12, 16), bool)
VESSEL[4:6] = True
NAMES = ("im0001", "im0139", "im0162")


def packed(path, gzipped):
    if gzipped:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def stare(root, gzipped):
    for index, name in enumerate(NAMES):
        packed(save(picture(index), root / "stare-images" / f"{name}.ppm"), gzipped)
        for observer, vessel in (("ah", VESSEL), ("vk", ~VESSEL)):
            colour = np.repeat(vessel[..., None].astype(np.uint8) * 255, 3, axis=2)
            packed(save(colour, root / f"labels-{observer}" / f"{name}.{observer}.ppm"), gzipped)
    return root


@pytest.mark.parametrize("gzipped", [True, False])
def test_each_observer_has_a_data_set(tmp_path, gzipped):
    stare(tmp_path, gzipped)
    for name, expected in (("stare", VESSEL), ("stare_vk", ~VESSEL)):
        cases = found(name, tmp_path)
        assert {n: c.split for n, c in cases.items()} == dict(zip(NAMES, ("train", "train", "test"), strict=True))
        np.testing.assert_array_equal(labels(name, cases["im0139"]), expected)


def test_missing_masks_are_named(tmp_path):
    (stare(tmp_path, True) / "labels-ah/im0162.ah.ppm.gz").unlink()
    (problem,) = complaints("stare", tmp_path)
    assert (problem.code, "im0162.ppm.gz" in problem.where) == ("mask-missing", True)
    assert complaints("stare", tmp_path / "labels-ah")[0].code == "layout-not-found"
