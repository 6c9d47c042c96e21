import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from nnunet_ext.inference.cases import CasesError
from nnunet_ext.inference.inspect_lifting import Wanted, prepare
from nnunet_ext.inference.lifted_case import best_window, view_case


def picture(folder, height, width, border=0, channels=3):
    """An RGB picture of noise with a black border; returns its file and its values."""
    values = np.zeros((height, width, channels), np.uint8)
    inner = np.s_[border : height - border, border : width - border]
    values[inner] = np.random.default_rng(0).integers(1, 255, values[inner].shape)
    Image.fromarray(values.squeeze()).save(folder / "a_0000.png")
    return str(folder / "a_0000.png"), values


def test_the_window_has_most_of_the_mask():
    mask = np.random.default_rng(0).random((9, 11)) > 0.7
    top, left, height, width = best_window(mask, (4, 5))
    assert (height, width) == (4, 5)
    counts = [mask[r : r + 4, c : c + 5].sum() for r in range(6) for c in range(7)]
    assert mask[top : top + 4, left : left + 5].sum() == max(counts)


def test_the_window_is_in_the_middle_of_nothing_and_no_larger_than_the_image():
    assert best_window(np.zeros((10, 20), bool), (4, 6)) == (3, 7, 4, 6)
    assert best_window(np.ones((3, 20), bool), (4, 6)) == (0, 0, 3, 6)


def test_what_is_shown_of_a_case_fits_together(write_model, tmp_path):
    subject = prepare(write_model(), Wanted(), "cpu")
    file, values = picture(tmp_path, 50, 40)
    view = view_case(subject, "a", [file])
    assert (view.case, view.class_name) == ("a", "cell")
    assert view.slices.shape == (16, 50, 40)
    assert view.image.shape == (50, 40, 3)
    assert np.corrcoef(view.image.ravel(), values.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(view.predicted, view.fused > 0.5)  # two classes
    assert view.attribution is None


def test_a_black_border_is_cropped_of_the_shown_image_as_well(write_model, tmp_path):
    subject = prepare(write_model(), Wanted(), "cpu")
    file, values = picture(tmp_path, 60, 50, border=5)
    view = view_case(subject, "a", [file])
    assert view.fused.shape == (50, 40)
    shown = view.image.astype(float).ravel()
    assert np.corrcoef(shown, values[5:-5, 5:-5].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("method", ["saliency", "gradcam"])
@pytest.mark.parametrize(("size", "window", "whole"), [((50, 40), (32, 32), False), ((20, 32), (20, 32), True)])
def test_attribution_is_of_one_patch(write_model, tmp_path, method, size, window, whole):
    subject = prepare(write_model(), Wanted(attribution=method), "cpu")
    file, _ = picture(tmp_path, *size)
    found = view_case(subject, "a", [file]).attribution
    assert found.maps.shape == (16, *window)
    assert found.window[2:] == window
    assert found.whole == whole
    assert found.maps.min() >= 0
    assert np.isfinite(found.maps).all()
    assert found.maps.max() > 0
    assert ("the whole image" in found.about) == whole
    assert ("at layer model.1" in found.about) == (method == "gradcam")


def test_a_window_without_the_class_is_scored_everywhere_and_says_so(write_model, tmp_path):
    subject = prepare(write_model(), Wanted(attribution="saliency"), "cpu")
    with torch.no_grad():  # the last convolution's bias decides for the background
        subject.network.network.model[2][1].conv.unit0.conv.bias.copy_(torch.tensor([50.0, -50.0]))
        subject.predictor.list_of_parameters[0] = subject.network.state_dict()
    file, _ = picture(tmp_path, 32, 32)
    view = view_case(subject, "a", [file])
    assert not view.predicted.any()
    assert "over all pixels (none is predicted as it)" in view.attribution.about


def test_other_channels_than_the_models_are_refused(write_model, tmp_path):
    subject = prepare(write_model(), Wanted(), "cpu")
    file, _ = picture(tmp_path, 32, 32, channels=1)
    with pytest.raises(CasesError, match=r"a_0000\.png: has 1 channels; the model takes R, G, B"):
        view_case(subject, "a", [file])


def test_of_a_stack_the_image_with_most_of_the_class_is_shown(write_model, tmp_path, monkeypatch):
    from nnunet_ext.inference import lifted_case

    subject = prepare(write_model(), Wanted(), "cpu")
    logits = torch.zeros(4, 2, 5, 6)
    logits[:, 0] = 1
    logits[2, 1, :2] = 2
    logits[1, 1, :1] = 2
    given = iter([(torch.full((16, 5, 6), i / 10.0), logits[i]) for i in range(4)])
    monkeypatch.setattr(lifted_case, "view_slices", lambda *_: next(given))
    plane, slices, best = lifted_case._richest_plane(dataclasses.replace(subject), torch.zeros(3, 4, 5, 6))
    assert plane == 2
    assert slices.max() == pytest.approx(0.2)
    assert torch.equal(best, logits[2])
