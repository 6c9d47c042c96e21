import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection
from nnunet_ext.inference.channel_maps import Shown, best_plane, curvature_map, cut

K = np.array([[-1, 5, -1], [5, -16, 5], [-1, 5, -1]]) / 16
WHOLE = Shown((16, 16), (slice(0, 16), slice(0, 16)))


def test_the_whole_of_a_map_lies_over_the_whole_window():
    values = torch.randn(4, 8)
    found, extent = cut(values, WHOLE)
    np.testing.assert_array_equal(found, values)
    assert extent == (0, 16, 16, 0)
    assert WHOLE.limits == (0, 16, 16, 0)


def test_cells_that_are_padding_alone_are_cut_off():
    shown = Shown((16, 16), (slice(5, 11), slice(0, 16)))  # cells of 4: rows 4 to 12
    found, extent = cut(torch.arange(16).view(4, 4), shown)
    np.testing.assert_array_equal(found, [[4, 5, 6, 7], [8, 9, 10, 11]])
    assert extent == (0, 16, 12, 4)
    assert shown.limits == (0, 16, 11, 5)


def test_a_map_of_one_cell_is_shown():
    found, extent = cut(torch.ones(1, 1), Shown((16, 16), (slice(7, 9), slice(15, 16))))
    assert found.shape == (1, 1)
    assert extent == (0, 16, 16, 0)


@pytest.mark.parametrize(("plane", "cell"), [(0, 0), (3, 0), (4, 1), (15, 3)])
def test_of_a_volume_the_cell_over_the_plane_is_shown(plane, cell):
    values = torch.randn(4, 8, 8)
    found, _ = cut(values, Shown((16, 16, 16), (slice(0, 16),) * 3, plane))
    np.testing.assert_array_equal(found, values[cell])


def test_the_map_of_curvature_is_the_stencil_s_response():
    values = torch.randn(12, 9)
    found, extent = curvature_map(values, ChannelSelection(1, 1), Shown((24, 18), (slice(0, 24), slice(0, 18))))
    np.testing.assert_allclose(found, np.abs(correlate(values.numpy(), K))[1:-1, 1:-1], atol=1e-5)
    assert extent == (2, 16, 22, 2)  # a cell of 2 voxels is missing on each side


def test_the_map_of_curvature_adds_up_to_the_score():
    values = torch.randn(9, 7)
    module = ChannelSelection(1, 1, weights=(1.0, 0.25))
    found, _ = curvature_map(values, module, Shown((9, 7), (slice(0, 9), slice(0, 7))))
    assert found.sum() == pytest.approx(float(module.scores(values[None, None])), rel=1e-5)


@pytest.mark.parametrize(("axes", "depth"), [(None, 6), ((1, 2), 6), (None, 2)])
def test_the_planes_of_a_volume_s_curvature_add_up_to_the_score(axes, depth):
    values = torch.randn(depth, 9, 7)
    module = ChannelSelection(1, 1, axes=axes)
    planes = range(1, depth - 1) if axes is None and depth > 2 else range(depth)
    part = tuple(slice(0, s) for s in values.shape)
    total = sum(curvature_map(values, module, Shown(tuple(values.shape), part, p))[0].sum() for p in planes)
    assert total == pytest.approx(float(module.scores(values[None, None])), rel=1e-5)


def test_at_the_end_of_a_volume_the_nearest_curvature_is_shown():
    values = torch.randn(5, 6, 6)
    part = tuple(slice(0, s) for s in values.shape)
    first, second = (curvature_map(values, ChannelSelection(1, 1), Shown((5, 6, 6), part, p))[0] for p in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_the_plane_with_most_foreground_or_the_middle_one():
    foreground = torch.zeros(7, 4, 4, dtype=torch.bool)
    assert best_plane(foreground) == 3
    foreground[5, 0, :3] = foreground[2, 0, :2] = True
    assert best_plane(foreground) == 5
