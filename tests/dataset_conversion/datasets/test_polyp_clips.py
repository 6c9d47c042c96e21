"""CVC-612 and CVC-300 as video clips, in the folders of PNS-Net."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

POLYP = np.zeros((12, 16), bool)
POLYP[3:9, 4:12] = True
PLACES = (  # frame, mask
    ("VPS-TrainSet/CVC-ClinicDB-612/Train/1/Frame/5.jpg", "VPS-TrainSet/CVC-ClinicDB-612/Train/1/GT/5.png"),
    ("VPS-TrainSet/CVC-ClinicDB-612/Train/1/Frame/6.jpg", "VPS-TrainSet/CVC-ClinicDB-612/Train/1/GT/6.png"),
    ("VPS-TestSet/CVC-ClinicDB-612-Valid/Frame/2/5.bmp", "VPS-TestSet/CVC-ClinicDB-612-Valid/GT/2/5.bmp"),
    ("VPS-TestSet/CVC-ClinicDB-612-Test/Frame/0/5.jpg", "VPS-TestSet/CVC-ClinicDB-612-Test/GT/0/5.png"),
    ("VPS-TrainSet/CVC-ColonDB-300/Train/4/Frame/a.jpg", "VPS-TrainSet/CVC-ColonDB-300/Train/4/GT/a.png"),
    ("VPS-TestSet/CVC-ColonDB-300/Frame/3/a.jpg", "VPS-TestSet/CVC-ColonDB-300/GT/3/a.png"),
)


def clips(root):
    for index, (frame, mask) in enumerate(PLACES):
        save(picture(index), root / frame)
        save(POLYP.astype(np.uint8) * 255, root / mask)
    save(~POLYP, root / "VPS-TrainSet/CVC-ClinicDB-612/Train/1/border/5.png")
    return root


def test_the_published_split_is_kept_and_clips_are_groups(tmp_path):
    cases = found("cvc612_clips", clips(tmp_path))
    assert {n: (c.split, c.group) for n, c in cases.items()} == {
        "1_5": ("train", "clip1"),
        "1_6": ("train", "clip1"),
        "2_5": ("val", "clip2"),
        "0_5": ("test", "clip0"),
    }
    np.testing.assert_array_equal(labels("cvc612_clips", cases["1_5"]), POLYP)
    assert {n: c.split for n, c in found("cvc300_clips", tmp_path).items()} == {"4_a": "train", "3_a": "test"}


def test_missing_masks_are_named(tmp_path):
    (clips(tmp_path) / PLACES[1][1]).unlink()
    (problem,) = complaints("cvc612_clips", tmp_path)
    assert (problem.code, PLACES[1][0] in problem.where) == ("mask-missing", True)
    assert complaints("cvc300_clips", tmp_path / "VPS-TestSet")[0].code == "layout-not-found"
