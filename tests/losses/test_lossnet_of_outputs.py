"""LossNet of nnU-Net's outputs and targets: classes, regions, ignored pixels, volumes, and what a step draws."""

import numpy as np
import pytest
import torch
from losses.conftest import ignoring
from support import pickled
from torch import nn

from nnunet_ext.losses.lossnet import LossNet, LossNetLoss, take_slices


class Recorder(nn.Module):
    """A cheap distance that keeps what it was given."""

    def forward(self, prediction, target):
        self.given = prediction.detach(), target.detach()
        return (prediction - target).square().mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(native, dtype):
    z = torch.randn(2, 3, 16, 16) * 30
    z.requires_grad_()
    y = torch.randint(0, 3, (2, 1, 16, 16))
    expected = LossNetLoss(native)(z, y).item()
    with torch.autocast("cpu", dtype):
        value = LossNetLoss(native)(z.to(dtype), y)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=0.02)
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("regions", [False, True])
def test_probabilities_are_computed_in_float32(native, regions):
    z, y = (torch.randn(1, 3, 16, 16) * 5).half(), torch.randint(0, 2, (1, 3 if regions else 1, 16, 16))
    loss = LossNetLoss(native, regions)
    assert loss(z, y).item() == loss(z.float(), y).item()


def test_labels_are_the_mean_of_each_class_against_the_rest(native):
    z, y = torch.randn(2, 4, 16, 16), torch.randint(0, 4, (2, 1, 16, 16))
    p = torch.softmax(z, 1)
    expected = np.mean([native(p[:, k : k + 1], (y == k).float()).item() for k in (1, 2, 3)])
    assert LossNetLoss(native)(z, y).item() == pytest.approx(expected, rel=1e-5)
    assert LossNetLoss(native)(z, y.float()).item() == pytest.approx(expected, rel=1e-5)
    assert LossNetLoss(native, max_channels=None)(z, y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_regions", [1, 3])
def test_regions_are_the_mean_of_each_region(native, n_regions):
    z, y = torch.randn(2, n_regions, 16, 16), torch.rand(2, n_regions, 16, 16) > 0.5
    p = torch.sigmoid(z)
    each = [native(p[:, [k]], y[:, [k]].float()).item() for k in range(n_regions)]
    assert LossNetLoss(native, regions=True)(z, y).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_two_labels_are_one_region(native):
    z, y = torch.randn(2, 2, 16, 16), torch.randint(0, 2, (2, 1, 16, 16))
    region = LossNetLoss(native, regions=True)(z[:, 1:] - z[:, :1], y)
    assert LossNetLoss(native)(z, y).item() == pytest.approx(region.item(), rel=1e-5)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 16)])
def test_ignored_pixels_have_no_gradient_and_no_influence(native, regions, shape):
    z, target, other = ignoring(regions, shape)
    z.requires_grad_()
    loss = LossNetLoss(native, regions, ignore_label=3, spacing=(3, 1, 1))
    value = loss(z, target)
    value.backward()
    assert not z.grad[..., :5].any()
    assert z.grad[..., 5:].abs().sum() > 0
    changed = z.detach().clone()
    changed[..., :5] *= -7
    assert loss(changed, other).item() == pytest.approx(value.item(), rel=1e-6)  # slices come in another order


def test_ignored_pixels_are_zero_in_both_maps():
    recorder = Recorder()
    z, target, _ = ignoring(True, (16, 16))
    LossNetLoss(recorder, True, ignore_label=3)(z, target)
    assert all(not m[..., :5].any() and m[..., 5:].any() for m in recorder.given)


def test_classes_are_drawn_among_those_that_the_target_shows():
    recorder = Recorder()
    loss = LossNetLoss(recorder, max_channels=2)
    y = torch.zeros(2, 1, 8, 8)
    for k, column in ((1, 0), (4, 2), (5, 4)):
        y[:, :, :, column : column + k % 3 + 1] = k
    sums, z = {k: int((y == k).sum()) for k in (1, 4, 5)}, torch.zeros(2, 8, 8, 8)
    drawn = set()
    for _ in range(20):
        loss(z, y)
        target = recorder.given[1]
        assert target.shape == (4, 1, 8, 8)
        drawn.add(tuple(int(t) for t in target.view(2, 2, -1).sum((0, 2))))
    assert drawn == {(sums[1], sums[4]), (sums[1], sums[5]), (sums[4], sums[5])}


def test_a_class_that_is_not_shown_is_left_out_unless_there_is_no_limit():
    recorder = Recorder()
    z, y = torch.zeros(1, 5, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.int16)
    y[..., 0] = 3
    LossNetLoss(recorder)(z, y)
    assert recorder.given[1].shape == (1, 1, 8, 8)
    LossNetLoss(recorder, max_channels=None)(z, y)
    assert recorder.given[1].shape == (4, 1, 8, 8)


def test_all_classes_are_drawn_where_none_is_shown():
    recorder = Recorder()
    z, y = torch.zeros(1, 6, 8, 8), torch.zeros(1, 1, 8, 8)
    z[0, :, 0, 0] = torch.arange(6.0)
    loss, values = LossNetLoss(recorder, max_channels=2), set()
    for _ in range(30):
        loss(z, y)
        assert recorder.given[0].shape == (2, 1, 8, 8)
        values |= set(recorder.given[0][:, 0, 0, 0].tolist())
    assert len(values) == 5


def test_a_volume_is_its_slices_across_the_coarsest_axis(native):
    z, y = torch.randn(2, 3, 5, 16, 8), torch.randint(0, 3, (2, 1, 5, 16, 8))
    assert y.unique().tolist() == [0, 1, 2]
    volume = LossNetLoss(native, spacing=(5.0, 1.0, 1.0))(z, y)
    each = [LossNetLoss(native)(z[:, :, d], y[:, :, d]).item() for d in range(5)]
    assert volume.item() == pytest.approx(np.mean(each), rel=1e-5)


def test_the_same_slices_are_taken_of_prediction_and_target():
    recorder = Recorder()
    y = torch.rand(2, 2, 6, 9, 8) > 0.5
    z = torch.where(y, 50.0, -50.0)
    for spacing in (None, (1, 3, 1), (1, 1, 3)):
        assert LossNetLoss(recorder, regions=True, n_slices=3, spacing=spacing)(z, y) < 1e-6
        assert recorder.given[0].shape[0] == 2 * 3 * 2


def test_slices_with_foreground_come_first():
    recorder = Recorder()
    y = torch.zeros(2, 1, 10, 4, 4)
    shown = ((1, 4, 9), (0, 2))
    for b, slices in enumerate(shown):
        for d in slices:
            y[b, 0, d, 0, : d + 1 if d < 4 else 4] = 1
    z, loss = torch.zeros(2, 2, 10, 4, 4), LossNetLoss(recorder, n_slices=3, spacing=(2, 1, 1))
    for _ in range(10):
        loss(z, y)
        with_foreground = recorder.given[1].flatten(1).any(1).view(2, 3).sum(1)
        assert with_foreground.tolist() == [3, 2]  # the second sample has two; a third is drawn among the rest


@pytest.mark.parametrize(
    ("spacing", "sizes"),
    [
        (None, {(5, 6), (4, 6), (4, 5)}),
        ((1.0, 1.005, 1.0), {(5, 6), (4, 6), (4, 5)}),
        ((3.0, 1.0, 1.0), {(5, 6)}),
        ((1.0, 2.0, 2.0), {(4, 6), (4, 5)}),
    ],
)
def test_slices_lie_across_the_axis_of_largest_spacing_or_one_drawn_among_equals(spacing, sizes):
    recorder, seen = Recorder(), set()
    loss = LossNetLoss(recorder, spacing=spacing)
    for _ in range(20):
        loss(torch.zeros(1, 2, 4, 5, 6), torch.ones(1, 1, 4, 5, 6))
        seen.add(tuple(recorder.given[0].shape[2:]))
    assert seen == sizes


def test_taken_slices_are_those_of_each_sample():
    volume = torch.arange(2 * 3 * 4 * 5 * 6.0).view(2, 3, 4, 5, 6)
    taken = take_slices(volume, 1, torch.tensor([[4, 0], [2, 3]]))
    expected = [volume[0, :, :, 4], volume[0, :, :, 0], volume[1, :, :, 2], volume[1, :, :, 3]]
    assert torch.equal(taken, torch.stack(expected))


def test_what_is_drawn_depends_on_the_seed_alone(native):
    z, y = torch.randn(1, 6, 12, 12, 12), torch.randint(0, 6, (1, 1, 12, 12, 12))
    loss = LossNetLoss(native, max_channels=1, n_slices=2)
    values = []
    for s in (1, 1, 2):
        torch.manual_seed(s)
        values.append(loss(z, y).item())
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("wrong", [{"max_channels": 0}, {"n_slices": 0}])
def test_nothing_to_compare_is_refused(wrong):
    with pytest.raises(ValueError, match="at least one"):
        LossNetLoss(Recorder(), **wrong)


def test_the_loss_survives_pickling():
    z, y = torch.randn(1, 2, 8, 8), torch.randint(0, 2, (1, 1, 8, 8))
    loss = LossNetLoss(LossNet(nn.Sequential(*[nn.Identity() for _ in range(23)]), "shrink"))
    assert pickled(loss)(z, y).item() == loss(z, y).item()
