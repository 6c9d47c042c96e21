"""The structure loss against reference vectors, plain loops and PyTorch's own pooling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from losses.conftest import ignoring
from support import REFERENCE, pickled

from nnunet_ext.losses.structure import (
    StructureLoss,
    border_weight,
    box_mean,
    class_structure_loss,
    scaled_window,
    structure_loss,
)

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
each_case = pytest.mark.parametrize("case", ["binary", "soft", "degenerate", "thin", "channels", "extreme"])


def arrays(vectors, case):
    logits, mask = (torch.from_numpy(vectors[f"structure_{case}.{k}"]) for k in ("logits", "mask"))
    return logits.requires_grad_(), mask, lambda key: vectors[f"structure_{case}.{key}"]


def agree(ours, reference, rtol):
    """Relative to the largest of the reference, as its tolerances are."""
    return np.abs(ours.detach().numpy() - reference).max() <= rtol * np.abs(reference).max()


def volume_or_image(dims):
    return (2, 2, 24, 20) if dims == 2 else (1, 2, 7, 12, 9)


@needs_reference
@each_case
def test_weights_and_values_agree_with_the_reference(vectors, case):
    logits, mask, reference = arrays(vectors, case)
    assert np.abs(border_weight(mask).numpy() - reference("weight_map")).max() < 1e-6
    each = structure_loss(logits, mask)
    assert np.allclose(each.detach().numpy(), reference("weighted_per_image"), rtol=2e-6)
    assert np.allclose(reference("weighted_bce") + reference("weighted_iou"), each.detach().numpy(), rtol=2e-6)
    total = StructureLoss(regions=True)(logits, mask)
    assert total.item() == pytest.approx(float(reference("weighted_total")), rel=1e-6)
    total.backward()
    assert agree(logits.grad, reference("weighted_grad"), 1e-5)


@needs_reference
@each_case
def test_as_coded_is_what_the_authors_code_computes(vectors, case):
    logits, mask, reference = arrays(vectors, case)
    loss = StructureLoss(regions=True, as_coded=True)
    total = loss(logits, mask)
    assert total.item() == pytest.approx(float(reference("as_coded_total")), rel=1e-6)
    total.backward()
    assert agree(logits.grad, reference("as_coded_grad"), 1e-5)
    alone = torch.stack([loss(logits[b : b + 1], mask[b : b + 1]) for b in range(len(mask))])
    assert np.allclose(alone.detach().numpy(), reference("as_coded_per_image_alone"), rtol=2e-6)
    iou = structure_loss(logits, mask, as_coded=True).detach().numpy() - reference("bce_mean_over_batch")
    assert np.allclose(iou, reference("weighted_iou"), atol=2e-6 * float(abs(reference("as_coded_total"))))


def test_structure_loss_equals_a_plain_loop():
    z, y = torch.randn(2, 1, 9, 7), (torch.rand(2, 1, 9, 7) > 0.6).float()
    for b in range(2):
        padded = F.pad(y[b, 0], (1, 1, 1, 1))
        w = torch.tensor([[1 + 5 * abs(padded[i : i + 3, j : j + 3].mean() - y[b, 0, i, j]) for j in range(7)]
                          for i in range(9)])  # fmt: skip
        p = torch.sigmoid(z[b, 0])
        bce = -(y[b, 0] * p.log() + (1 - y[b, 0]) * (1 - p).log())
        inter, total = (w * p * y[b, 0]).sum(), (w * (p + y[b, 0])).sum()
        expected = (w * bce).sum() / w.sum() + 1 - (inter + 1) / (total - inter + 1)
        assert structure_loss(z, y, window=3)[b, 0].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 2, 40, 33), (1, 1, 5, 3), (1, 2, 9, 34, 12)])
def test_averaging_axis_by_axis_is_averaging_over_the_box(shape):
    def whole(x, sides):
        margins = [s // 2 for s in reversed(sides) for _ in range(2)]  # avg_pool3d wants maps above the kernel
        return (F.avg_pool2d if len(sides) == 2 else F.avg_pool3d)(F.pad(x, margins), sides, 1)

    x = torch.rand(shape)
    sides = [7, 1, 3][: len(shape) - 2]
    assert torch.allclose(box_mean(x, 31), whole(x, [31] * len(sides)), atol=1e-6)
    assert torch.allclose(box_mean(x, sides), whole(x, sides), atol=1e-6)


def test_weight_is_one_inside_a_full_map_and_grows_towards_its_corner():
    weight = border_weight(torch.ones(1, 1, 64, 64))[0, 0]
    assert weight[16:-16, 16:-16].sub(1).abs().max() < 1e-5
    assert weight[0, 0].item() == pytest.approx(1 + 5 * (1 - (16 / 31) ** 2), abs=1e-5)


@pytest.mark.parametrize("as_coded", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_two_labels_are_one_binary_problem(dims, as_coded):
    shape = volume_or_image(dims)
    z, y = torch.randn(shape), torch.randint(0, 2, (shape[0], 1, *shape[2:]))
    labels = StructureLoss(as_coded=as_coded)
    regions = StructureLoss(regions=True, as_coded=as_coded)
    assert labels(z, y).item() == pytest.approx(regions(z[:, 1:] - z[:, :1], y).item(), rel=1e-5)


def plain_class_loss(z, y, as_coded):
    """Three labels of one image, pixel by pixel."""
    p = torch.softmax(z, 0)
    masks = [(y == k).float() for k in (1, 2)]
    weights = [1 + 5 * (F.avg_pool2d(m[None], 31, 1, 15)[0] - m).abs() for m in masks]
    both, n = torch.maximum(*weights), y.numel()
    ce = torch.tensor([[-p[y[i, j], i, j].log() for j in range(y.shape[1])] for i in range(y.shape[0])])
    cross = ce.sum() / n if as_coded else (both * ce).sum() / both.sum()
    ious = []
    for k, (m, w) in enumerate(zip(masks, weights, strict=True), 1):
        inter, total = (w * p[k] * m).sum(), (w * (p[k] + m)).sum()
        ious.append(1 - (inter + 1) / (total - inter + 1))
    return (cross + sum(ious) / 2).item()


@pytest.mark.parametrize("as_coded", [False, True])
def test_three_labels_equal_a_plain_loop(as_coded):
    z, y = torch.randn(2, 3, 10, 12), torch.randint(0, 3, (2, 1, 10, 12))
    expected = np.mean([plain_class_loss(z[b], y[b, 0], as_coded) for b in range(2)])
    assert StructureLoss(as_coded=as_coded)(z, y).item() == pytest.approx(expected, rel=1e-5)
    assert StructureLoss(as_coded=as_coded)(z, y.float()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("as_coded", [False, True])
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(16, 16), (4, 9, 12)])
def test_ignored_pixels_have_no_gradient_and_no_influence(regions, as_coded, shape):
    z, target, other = ignoring(regions, shape, batch=1)
    z.requires_grad_()
    loss = StructureLoss(regions, ignore_label=3, as_coded=as_coded)
    value = loss(z, target)
    value.backward()
    assert not z.grad[..., :5].any()
    assert z.grad[..., 5:].abs().sum() > 0
    changed = z.detach().clone()
    changed[..., :5] *= -7
    assert loss(changed, other).item() == value.item()


@pytest.mark.parametrize("regions", [False, True])
def test_an_image_ignored_as_a_whole_counts_nothing(regions):
    z = torch.randn(1, 2, 8, 8, requires_grad=True)
    target = torch.ones(1, 3, 8, 8) if regions else torch.full((1, 1, 8, 8), 2)
    loss = StructureLoss(regions, ignore_label=2)(z, target)
    loss.backward()
    assert loss.item() == 0
    assert not z.grad.any()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("regions", [False, True])
def test_half_precision_is_computed_in_float32(dims, dtype, regions):
    shape = volume_or_image(dims)
    z = (torch.randn(shape) * 20).to(dtype)
    y = torch.randint(0, 2, shape if regions else (shape[0], 1, *shape[2:]))
    loss = StructureLoss(regions)
    expected = loss(z.float(), y)
    with torch.autocast("cpu", dtype):
        half = loss(z, y.to(dtype) if regions else y)
    assert half.dtype == torch.float32
    assert half.item() == expected.item()


def test_windows_shrink_with_the_scale_and_stay_odd():
    assert scaled_window((20, 24)) == (31, 31)  # sides below the window leave it as it is
    patch = (128, 96)
    sizes = [(128, 96), (64, 48), (32, 24), (16, 12), (8, 6), (4, 3)]
    sides = [scaled_window(s, patch_size=patch) for s in sizes]
    assert sides == [(31, 31), (15, 15), (7, 7), (3, 3), (3, 3), (3, 3)]
    assert scaled_window((43, 32), patch_size=patch) == (15, 11)  # 128 / 43 is 2, 96 / 32 is 3
    assert scaled_window((256, 256), patch_size=patch) == (31, 31)


def test_windows_are_shorter_along_coarse_axes():
    assert scaled_window((20, 256, 256), spacing=(5.0, 0.7, 0.7)) == (5, 31, 31)
    assert scaled_window((20, 256, 256), spacing=(50.0, 0.7, 0.7)) == (1, 31, 31)
    at_half = scaled_window((20, 128, 128), patch_size=(20, 256, 256), spacing=(5.0, 0.7, 0.7))
    assert at_half == (5, 15, 15)  # the coarse axis is not pooled: it keeps its window
    with pytest.raises(ValueError, match="argument"):
        scaled_window((20, 256, 256), spacing=(1.0, 1.0))


def test_the_loss_takes_the_window_of_its_scale():
    z, y = torch.randn(1, 2, 3, 8, 8), torch.randint(0, 2, (1, 1, 3, 8, 8))
    loss = StructureLoss(patch_size=(3, 32, 32), spacing=(2.0, 1.0, 1.0))
    assert loss(z, y).item() == class_structure_loss(z, y, window=(15, 7, 7)).mean().item()
    assert loss(z, y).item() != StructureLoss()(z, y).item()
    assert pickled(loss)(z, y).item() == loss(z, y).item()


@pytest.mark.parametrize("window", [0, 30, -1])
def test_a_window_without_a_centre_is_refused(window):
    with pytest.raises(ValueError, match="odd"):
        StructureLoss(window=window)
