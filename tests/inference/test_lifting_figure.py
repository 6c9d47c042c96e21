"""The pictures are looked at by people; here, that what they should show is in them."""

import numpy as np
import pytest

from nnunet_ext.inference.lifting_figure import Attribution, CaseView, SliceStatistics, case_figure, losses_figure

ORANGE = np.array([0xD5, 0x5E, 0x00])  # of what is selected


def share(picture, colour=ORANGE):
    values = np.asarray(picture).astype(int)
    return float((np.abs(values - colour).max(2) < 6).mean())


def view(depth=16, height=24, width=30, attribution=False):
    rng = np.random.default_rng(0)
    maps = Attribution("saliency", rng.random((depth, 8, 8)), (2, 3, 8, 8), False, "saliency of the framed window")
    return CaseView(
        case="case_1", class_name="cell", image=rng.integers(0, 255, (height, width, 3), dtype=np.uint8),
        slices=rng.random((depth, height, width)), fused=rng.random((height, width)),
        predicted=np.zeros((height, width), bool), attribution=maps if attribution else None,
    )  # fmt: skip


def statistics(depth=16, selected=(4, 5, 6)):
    return SliceStatistics([0.5 + 0.01 * d for d in range(depth)], selected)


def test_more_selected_slices_are_more_marks():
    shares = [share(case_figure(view(), statistics(selected=chosen))) for chosen in ([], [4], [4, 9, 12])]
    assert shares[0] < 1e-4 < shares[1] < shares[2]


@pytest.mark.parametrize(("depth", "size"), [(2, (24, 30)), (8, (8, 200)), (8, (200, 8)), (32, (24, 30))])
def test_any_depth_and_shape_can_be_drawn(depth, size):
    plain = case_figure(view(depth, *size), statistics(depth, [1]))
    attributed = case_figure(view(depth, *size, attribution=True), statistics(depth, [1]))
    assert attributed.size[1] > plain.size[1]
    assert np.asarray(plain).std() > 10


def test_a_slice_s_probabilities_are_in_the_picture():
    white, black = view(), view()
    white.slices[:], black.slices[:] = 1.0, 0.0
    assert share(case_figure(black, statistics()), np.zeros(3)) > 0.2 + share(
        case_figure(white, statistics()), np.zeros(3)
    )


def test_bars_stand_for_losses_negative_ones_as_well():
    low = losses_figure(SliceStatistics([-0.8] * 8 + [-0.1] * 8, range(8)))  # selected and small
    high = losses_figure(SliceStatistics([-0.1] * 8 + [-0.8] * 8, range(8)))  # selected and large
    assert 0 < 2 * share(low) < share(high)


def test_without_losses_the_picture_says_so():
    nan = SliceStatistics([float("nan")] * 16, [5, 6, 7])
    assert not nan.known
    assert share(losses_figure(nan)) < share(losses_figure(statistics()))
    case_figure(view(), nan)
