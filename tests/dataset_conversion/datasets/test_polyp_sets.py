"""CVC-ColonDB, ETIS-LaribPolypDB and CVC-300 in their own layouts and as PNG copies."""

import numpy as np
import pytest
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

POLYP = np.zeros((12, 16), bool)
POLYP[3:9, 4:12] = True
GREY = POLYP.astype(np.uint8) * 255
FILES = {  # image, mask, files that are neither
    "cvc_colondb": ("{}.tiff", "p{}.tiff", ("s{}.tiff", "c{}.tiff", "cp{}.tiff")),
    "cvc_colondb380": ("images/{}.png", "masks/{}.png", ()),
    "etis_larib": ("ETIS-LaribPolypDB/{}.tif", "Ground Truth/p{}.tif", ()),
    "etis_larib_png": ("images/{}.png", "masks/{}.png", ()),
    "cvc_300": ("images/{}.png", "masks/{}.png", ()),
}


def copy(root, name):
    image, mask, others = FILES[name]
    for number in (1, 10):
        save(picture(number), root / image.format(number))
        save(GREY, root / mask.format(number))
        for other in others:
            save(~GREY, root / other.format(number))
    return root


@pytest.mark.parametrize("name", FILES)
def test_polyps_are_the_labels(tmp_path, name):
    cases = found(name, copy(tmp_path, name))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {"1": ("train", ""), "10": ("train", "")}
    np.testing.assert_array_equal(labels(name, cases["10"]), POLYP)


@pytest.mark.parametrize("name", FILES)
def test_missing_masks_are_named(tmp_path, name):
    image, mask, _ = FILES[name]
    (copy(tmp_path, name) / mask.format(10)).unlink()
    (problem,) = complaints(name, tmp_path)
    assert (problem.code, str(tmp_path / image.format(10)) in problem.where) == ("mask-missing", True)
    assert complaints(name, tmp_path / "none")[0].code == "layout-not-found"


def test_the_300_frames_may_be_bmp(tmp_path):
    save(picture(1), tmp_path / "7.bmp")
    save(POLYP, tmp_path / "p7.bmp")
    np.testing.assert_array_equal(labels("cvc_colondb", found("cvc_colondb", tmp_path)["7"]), POLYP)
