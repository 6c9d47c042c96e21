import numpy as np
import pytest
import torch
from selecting import Enhanced, SelectingToy
from torch import nn

from nnunet_ext.architectures.encoders.channel_scores import curvature_scores
from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection
from nnunet_ext.inference.channel_case import foreground_of, richest_window, selection_statistics
from nnunet_ext.inference.channel_record import (
    Record,
    find_selections,
    maps_of,
    record,
    unmirrored,
    windows_of,
)
from nnunet_ext.inference.inspection import InspectionError


@pytest.fixture
def subject(predictor_of):
    """Returns `make(patch, score) -> (predictor, selections)`; the predictor would mirror."""

    def make(patch=(16, 16), network=None, labels="binary"):
        network = network or SelectingToy(len(patch))
        mirror_axes = tuple(range(len(patch)))
        predictor = unmirrored(predictor_of([network], patch, labels, stock=True, mirror_axes=mirror_axes))
        return predictor, find_selections(predictor.network)

    return make


def by_hand(network, volume, patch, starts):
    """The maps at both selections of each window of a 2D image, cut out with explicit loops."""
    found = []
    for plane in range(volume.shape[1]):
        for top in starts:
            for left in starts:
                x = volume[None, :, plane, top : top + patch, left : left + patch]
                first = torch.nn.functional.leaky_relu(network.down[0](x))
                found.append((first[0], torch.nn.functional.leaky_relu(network.down[1](first))[0]))
    return found


def test_selections_are_found_by_name_and_stage():
    network = nn.ModuleDict({
        "enhancement": Enhanced(ChannelSelection(8, 0.5), ChannelSelection(6, 0.25), stages=(1, 3)),
        "none": ChannelSelection(4, 0.1),  # floor(0.4) = 0 channels
        "low": ChannelSelection(4, 0.75),
        "other": Enhanced(ChannelSelection(8, 0.5), stages=(1, 2)),  # the stages of something else
    })  # fmt: skip
    found = find_selections(network)
    assert [(s.name, s.stage) for s in found] == [
        ("enhancement.selections.0", 1), ("enhancement.selections.1", 3), ("low", None),
        ("other.selections.0", None),
    ]  # fmt: skip
    assert found[0].label == "enhancement.selections.0 (stage 1)"
    assert found[2].label == "low"
    assert find_selections(nn.Conv2d(1, 1, 1)) == []


@torch.no_grad()
def test_scores_are_those_of_each_window_in_nnunets_order(subject):
    predictor, selections = subject()
    volume = torch.randn(3, 2, 24, 24)
    found = record(predictor, selections, volume)
    expected = by_hand(predictor.network, volume, 16, (0, 8))
    assert len(found.windows) == len(expected) == 8
    for number in range(2):
        scores = torch.stack([curvature_scores(maps[number][None])[0] for maps in expected])
        torch.testing.assert_close(found.scores[number], scores)
        for window, maps in zip(found.windows, expected, strict=True):
            shown = maps_of(predictor, selections, volume, window)
            torch.testing.assert_close(shown[number], maps[number])
    assert not any(module._forward_hooks for module in predictor.network.modules())


@torch.no_grad()
def test_counts_are_those_of_a_loop(subject):
    predictor, selections = subject()
    found = record(predictor, selections, torch.randn(3, 1, 40, 40))
    for selection, scores in zip(selections, found.scores, strict=True):
        numbers = selection_statistics(selection, scores, shown=3)
        k, channels = selection.module.k, selection.module.channels
        counts = np.zeros(channels, int)
        for row in scores.tolist():
            for channel in sorted(range(channels), key=lambda c: -row[c])[:k]:
                counts[channel] += 1
        np.testing.assert_array_equal(numbers.n_chosen, counts)
        assert numbers.n_chosen.sum() == k * len(found.windows)
        assert [numbers.shown_scores[c] for c in np.argsort(numbers.ranks)] == sorted(scores[3].tolist(), reverse=True)
        np.testing.assert_allclose(numbers.mean_scores, scores.numpy().mean(0), rtol=1e-6)


def test_ties_are_ranked_as_they_are_chosen(subject):
    _, selections = subject()
    numbers = selection_statistics(selections[0], torch.tensor([[1.0, 2, 2, 2, 2, 2, 0, 3]]), 0)
    assert numbers.ranks.tolist() == [7, 2, 3, 4, 5, 6, 8, 1]
    assert numbers.n_chosen.tolist() == [0, 1, 1, 1, 0, 0, 0, 1]


@torch.no_grad()
def test_each_window_is_predicted_once_and_not_mirrored(subject):
    predictor, selections = subject()
    seen = []
    predictor.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    volume = torch.randn(3, 1, 16, 24)
    found = record(predictor, selections, volume)
    assert len(seen) == len(found.windows) == 2
    torch.testing.assert_close(seen[1][0], volume[:, 0, :, 8:])


@pytest.mark.parametrize("size", [(1, 10, 40), (3, 40, 13), (1, 8, 8)])
def test_windows_tell_the_image_from_the_padding(subject, size):
    predictor, _ = subject()
    windows = windows_of(predictor, size)
    covered = torch.zeros(size, dtype=torch.bool)
    numbers = torch.arange(1, covered.numel() + 1).float().view(1, *size)  # 0 is padding
    for window in windows:
        covered[window.image] = True
        seen = maps_of(predictor, find_selections(Reader(predictor)), numbers, window)[0][0].clone()
        torch.testing.assert_close(seen[window.part], numbers[0][window.image])
        seen[window.part] = 0
        assert not seen.any()
    assert covered.all()


class Reader(nn.Module):
    """Stands for a predictor's network, and passes the image on to a selection, which sees it as its map."""

    def __init__(self, predictor):
        super().__init__()
        self.selection = ChannelSelection(1, 1.0)
        predictor.network = self

    def forward(self, x):
        return self.selection(x)


@torch.no_grad()
def test_volumes_have_windows_along_three_axes(subject):
    predictor, selections = subject(patch=(8, 16, 16))
    volume = torch.randn(3, 12, 16, 10)
    found = record(predictor, selections, volume)
    assert [w.image[0] for w in found.windows] == [slice(0, 8), slice(4, 12)]
    assert [w.part for w in found.windows] == [(slice(0, 8), slice(0, 16), slice(3, 13))] * 2
    assert found.logits.shape == (2, 12, 16, 10)
    assert found.scores[0].shape == (2, 8)
    maps = maps_of(predictor, selections, volume, found.windows[1])
    torch.testing.assert_close(curvature_scores(maps[0][None])[0], found.scores[0][1])


def test_the_richest_window_is_the_first_of_equals(subject):
    predictor, _selections = subject()
    foreground = torch.zeros(1, 16, 32, dtype=torch.bool)
    found = Record(windows_of(predictor, foreground.shape), [], torch.zeros(()))
    assert [w.image[2].start for w in found.windows] == [0, 8, 16]
    assert richest_window(found, foreground) == 0
    foreground[0, 3:5, 18:28] = True
    assert richest_window(found, foreground) == 2
    foreground[0, :, 26:] = False  # what is left is in the second as well
    foreground[0, 3:5, 18:24] = True
    foreground[0, :, 24:] = False
    assert richest_window(found, foreground) == 1


@pytest.mark.parametrize(("labels", "expected"), [("three", [1, 0]), ("regions", [0, 1])])
def test_foreground_is_any_class(subject, labels, expected):
    n_outputs = 4 if labels == "three" else 2
    predictor, _ = subject(network=SelectingToy(n_outputs=n_outputs), labels=labels)
    rows = [[0, 0, 2, 0], [3, 0, 0, 1]] if labels == "three" else [[-1, -2], [-1, 2]]
    logits = torch.tensor(rows).float().T.reshape(n_outputs, 1, 1, 2)
    assert foreground_of(predictor, logits).flatten().tolist() == [bool(e) for e in expected]


def test_a_selection_that_is_not_used_once_a_window_is_refused(subject):
    network = SelectingToy()
    network.unused = ChannelSelection(8, 0.5)
    predictor, selections = subject(network=network)
    with pytest.raises(InspectionError, match="unused: selected 0 times in 1 windows"):
        record(predictor, selections, torch.randn(3, 1, 16, 16))
