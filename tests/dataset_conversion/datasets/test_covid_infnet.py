"""The slices of Inf-Net in their own layout."""

import numpy as np
from dataset_conversion.layout_checks import complaints, found, labels, picture, save

INFECTION = np.zeros((12, 16), bool)
INFECTION[3:9, 4:12] = True
TRAIN, TEST = "TrainingSet/LungInfection-Train/Doctor-label", "TestingSet/LungInfection-Test"


def infnet(root):
    for index, (folder, name) in enumerate(((TRAIN, "1"), (TRAIN, "2"), (TEST, "1"))):
        save(picture(index), root / folder / "Imgs" / f"{name}.jpg")
        save(INFECTION.astype(np.uint8) * 255, root / folder / "GT" / f"{name}.png")
    save(~INFECTION, root / TRAIN / "Edge/1.png")
    save(picture(9), root / "TrainingSet/LungInfection-Train/Pseudo-label/Imgs/7.jpg")
    return root


def test_doctors_labels_are_taken_and_edges_left_out(tmp_path):
    cases = found("covid_infnet", infnet(tmp_path))
    assert {n: c.split for n, c in cases.items()} == {"train_1": "train", "train_2": "train", "test_1": "test"}
    np.testing.assert_array_equal(labels("covid_infnet", cases["train_1"]), INFECTION)


def test_missing_masks_are_named(tmp_path):
    (infnet(tmp_path) / TRAIN / "GT/2.png").unlink()
    (problem,) = complaints("covid_infnet", tmp_path)
    assert (problem.code, "Imgs/2.jpg" in problem.where) == ("mask-missing", True)
    assert complaints("covid_infnet", tmp_path / "TestingSet")[0].code == "layout-not-found"
