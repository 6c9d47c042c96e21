import numpy as np
import pytest
from PIL import Image

from nnunet_ext.evaluation.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    LEGEND,
    PANEL,
    REFERENCE,
    TRUE_POSITIVE,
    WRONG_CLASS,
    comparison_figure,
    dice,
    read_picture,
    to_uint8_rgb,
    wrapped,
)


def squares(size=64):
    reference = np.zeros((size, size), np.uint8)
    reference[10:30, 10:30] = 1
    prediction = np.roll(reference, 8, axis=1)
    return reference, prediction


def colours(picture):
    return {tuple(int(v) for v in row) for row in np.unique(np.asarray(picture).reshape(-1, 3), axis=0)}


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (64, 64, 3), (64, 64, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, bool])
def test_any_image_gives_a_picture(shape, dtype):
    image = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    reference, prediction = squares()
    picture = comparison_figure(image, reference, {"a": prediction, "b": reference})
    assert picture.mode == "RGB"
    assert picture.size[0] == 4 * (PANEL + 10) + 10


def test_many_predictions_stand_in_two_rows_and_captions_are_the_callers():
    reference, prediction = squares()
    maps = {str(i): prediction for i in range(4)}
    picture = comparison_figure(reference * 0, reference, maps, {"0": "IoU 0.5"})
    assert picture.size[0] == 3 * (PANEL + 10) + 10
    assert picture.size[1] > 2 * PANEL
    assert picture.tobytes() != comparison_figure(reference * 0, reference, maps, {"0": "IoU 0.6"}).tobytes()


@pytest.mark.parametrize(("height", "width"), [(700, 1000), (30, 20), (64, 3), (1, 1)])
def test_any_size_is_shown_at_the_same_size(height, width):
    empty = np.zeros((height, width), np.uint8)
    picture = comparison_figure(empty, empty, {"a": empty})
    assert picture.size[0] <= 3 * (PANEL + 10) + 10
    assert picture.size[1] <= PANEL + 80


def test_the_categories_have_their_colours():
    reference, prediction = squares()
    shown = colours(comparison_figure(np.zeros_like(reference), reference, {"a": prediction}))
    for category in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, REFERENCE):
        assert category.colour in shown
    assert WRONG_CLASS.colour not in shown
    assert WRONG_CLASS.colour in colours(comparison_figure(np.zeros_like(reference), reference, {"a": reference * 2}))


def test_a_perfect_prediction_shows_no_error():
    reference, _ = squares()
    shown = colours(comparison_figure(np.zeros_like(reference), reference, {"a": reference}))
    assert TRUE_POSITIVE.colour in shown
    assert not {FALSE_POSITIVE.colour, FALSE_NEGATIVE.colour, WRONG_CLASS.colour} & shown


def test_colours_differ_in_more_than_hue():
    assert len({category.colour for category in LEGEND}) == len(LEGEND)
    assert [category.hatched for category in LEGEND] == [category is FALSE_NEGATIVE for category in LEGEND]


def test_a_thin_structure_survives_shrinking():
    labels = np.zeros((3000, 3000), np.uint8)
    labels[1500, :] = 1
    image = np.zeros((3000, 3000), np.uint8)
    with_line = np.asarray(comparison_figure(image, labels, {"a": labels}))
    without = np.asarray(comparison_figure(image, labels * 0, {"a": labels * 0}))
    assert (with_line[60:] != without[60:]).any()


def test_wrong_shapes_are_named():
    reference, prediction = squares()
    with pytest.raises(ValueError, match=r"'net' has shape \(64, 63\)"):
        comparison_figure(np.zeros((64, 64)), reference, {"net": prediction[:, 1:]})
    with pytest.raises(ValueError, match=r"\(64, 64, 2\); allowed"):
        comparison_figure(np.zeros((64, 64, 2)), reference, {})


def test_dice_against_hand_computed_values():
    reference, prediction = squares()
    assert dice(reference, prediction) == pytest.approx(2 * 20 * 12 / (2 * 400))
    assert dice(reference, reference) == 1
    assert np.isnan(dice(reference * 0, reference * 0))
    assert dice(reference, reference * 2) == 0


def test_contrast_is_stretched_and_constant_images_are_fine():
    ramp = np.linspace(-1000, 3000, 100, dtype=np.float32).reshape(10, 10)
    shown = to_uint8_rgb(ramp)
    assert (shown.min(), shown.max()) == (0, 255)
    assert to_uint8_rgb(np.full((4, 4), 7.0)).shape == (4, 4, 3)
    assert to_uint8_rgb(np.full((4, 4), np.nan)).max() == 0


def test_pictures_are_read_as_stored(tmp_path):
    picture = Image.new("P", (3, 2))
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((1, 1), 1)
    picture.save(tmp_path / "labels.png")
    assert read_picture(tmp_path / "labels.png").tolist() == [[0, 0, 0], [0, 1, 0]]


def test_long_titles_are_wrapped_and_lose_nothing():
    name = "nnUNetTrainerSLUNet_5L1Res_10epochs_25iters"
    lines = wrapped(name, 340)
    assert lines == ["nnUNetTrainerSLUNet_5L1Res_10epochs", "_25iters"]
    assert "".join(wrapped("x" * 200, 160)) == "x" * 200
    assert wrapped("", 160) == [""]
    assert " ".join(wrapped("a title of some words here", 80)) == "a title of some words here"
