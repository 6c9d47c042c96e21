"""Counting of pixel values: as numpy's bincount, in less time."""

import numpy as np
import pytest

from nnunet_ext.dataset_conversion.pixels import value_counts


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counts_are_those_of_bincount(dtype):
    values = np.random.default_rng(0).integers(0, 200, (12, 16)).astype(dtype)
    expected = np.bincount(values.ravel())
    counts = value_counts(values)
    assert counts[: expected.size].tolist() == expected.tolist()
    assert not counts[expected.size :].any()


def test_high_values_of_16_bits_are_counted_apart():
    values = np.array([[0, 255, 256], [511, 256, 65535]], np.uint16)
    counts = value_counts(values)
    assert [int(counts[v]) for v in (0, 255, 256, 511, 65535)] == [1, 1, 2, 1, 1]


def test_a_channel_among_others_is_counted_alone():
    """Every third byte in memory."""
    colour = np.zeros((3, 5, 3), np.uint8)
    colour[..., 0], colour[..., 1], colour[..., 2] = 255, 7, 9
    counts = value_counts(colour[..., 0])
    assert counts[255] == 15
    assert counts.sum() == 15


def test_no_pixels_have_no_values():
    assert value_counts(np.zeros((0, 4), np.uint8)).sum() == 0
