"""A second run, palettes, and two runs at once: nothing is taken for what it is not."""

import shutil

import numpy as np
import pytest
from dataset_conversion.conversion_flags import with_options
from PIL import Image

from nnunet_ext.dataset_conversion.convert import ConversionError, convert, diagnose
from nnunet_ext.dataset_conversion.options import Options, Target
from nnunet_ext.dataset_conversion.sources import FolderSource

CLASSES = np.zeros((40, 40), np.uint8)
CLASSES[4:9], CLASSES[20:30] = 1, 2


@pytest.fixture
def place(tmp_path):
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 255, (40, 40, 3), np.uint8)
        for kind, content in (("images", pixels), ("masks", np.roll(CLASSES, index, 1))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(content).save(tmp_path / kind / f"c{index}.png")
    return tmp_path


def run(place, **flags):
    return convert(place / "images", place / "masks", 3, "X", place / "raw", **with_options(flags))


def test_labels_that_change_places_are_another_data_set(place):
    run(place, labels=["background=0", "a=1", "b=2"])
    assert run(place, labels=["background=0", "a=1", "b=2"]).unchanged
    with pytest.raises(ConversionError, match=r"cases\.csv differ"):
        run(place, labels=["background=0", "a=2", "b=1"])


def test_a_label_file_that_was_changed_is_found(place):
    folder = run(place, labels=["background=0", "a=1", "b=2"]).dataset_folder
    shutil.copy(folder / "labelsTr" / "c1.png", folder / "labelsTr" / "c0.png")
    assert run(place, labels=["background=0", "a=1", "b=2"], overwrite=True)
    Image.fromarray(2 - CLASSES).save(folder / "labelsTr" / "c0.png")
    with pytest.raises(ConversionError, match="labels of c0 differ"):
        run(place, labels=["background=0", "a=1", "b=2"])


def test_two_runs_at_once_do_not_replace_each_other(place):
    def other(verb, done, total):
        if (verb, done) == ("wrote", 3) and not (place / "raw" / "Dataset003_X").exists():
            run(place, threshold=0)

    source = FolderSource({"train": (place / "images", place / "masks")})
    flags = Options(labels=["background=0", "a=1", "b=2"])
    diagnosis = diagnose(source, Target(3, "X", place / "raw"), flags)
    with pytest.raises(ConversionError, match="written by another command meanwhile"):
        diagnosis.write(other)
    label = np.asarray(Image.open(place / "raw" / "Dataset003_X" / "labelsTr" / "c0.png"))
    np.testing.assert_array_equal(label, CLASSES > 0)
    assert [p.name for p in (place / "raw").iterdir()] == ["Dataset003_X"]


def paletted(indices, *colours):
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return image


def test_an_index_with_another_colour_in_another_mask_is_refused(place):
    black, red, green = (0, 0, 0), (200, 0, 0), (0, 200, 0)
    for index in range(5):
        paletted(CLASSES, black, red, green).save(place / "masks" / f"c{index}.png")
    assert run(place, labels=["background=0", "red=1", "green=2"]).n_train == 5
    swapped = np.array([0, 2, 1], np.uint8)[CLASSES]
    paletted(swapped, black, green, red).save(place / "masks" / "c3.png")
    with pytest.raises(ConversionError) as caught:
        run(place, labels=["background=0", "red=1", "green=2"], overwrite=True)
    assert [problem.code for problem in caught.value.problems] == ["palettes-differ"]
    assert "index 1 is #c80000 in" in str(caught.value)
    assert "#00c800 in" in str(caught.value)
    colours = ["background=#000000", "red=#c80000", "green=#00c800"]
    folder = run(place, labels=colours, overwrite=True).dataset_folder
    for case in ("c0", "c3"):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "labelsTr" / f"{case}.png")), CLASSES)
