"""Slice-wise supervision, against reference vectors and plain loops."""

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from support import REFERENCE

from nnunet_ext.architectures.lifting.slice_selection import lowest_slices
from nnunet_ext.losses.slicewise import SlicewiseLoss
from nnunet_ext.losses.structure import StructureLoss, structure_loss

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")


def dice_ce(batch_dice=True):
    """nnU-Net's default loss for labels."""
    return DC_and_CE_loss(
        {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}, {},
        dice_class=MemoryEfficientSoftDiceLoss,
    )  # fmt: skip


@needs_reference
def test_structure_loss_agrees_with_the_reference_slice_by_slice():
    v = np.load(REFERENCE / "sl_slices.npz")
    z, y = torch.from_numpy(v["b.logits"]), torch.from_numpy(v["b.mask"])
    table = torch.stack([structure_loss(z[:, :, d], y)[:, 0] for d in range(z.shape[2])])
    assert np.allclose(table.numpy(), v["b.loss_structure"], rtol=1e-5)
    assert lowest_slices(table.mean(1), 5).tolist() == v["b.selected_structure"].tolist()


@needs_reference
def test_slicewise_total_and_gradient_agree_with_the_reference():
    v = np.load(REFERENCE / "sl_slices.npz")
    z = torch.from_numpy(v["b.logits"]).requires_grad_()
    loss = SlicewiseLoss(StructureLoss(regions=True))
    total = loss(z, torch.from_numpy(v["b.mask"]))
    total.backward()
    assert total.item() == pytest.approx(float(v["b.total_structure"]), rel=1e-5)
    reference = v["b.grad_total_structure"]
    assert np.abs(z.grad.numpy() - reference).max() < 1e-5 * np.abs(reference).max()
    *sums, images = loss.statistics().tolist()
    assert np.allclose(np.array(sums) / images, v["b.loss_structure"].mean(1), rtol=1e-5)


@needs_reference
@pytest.mark.parametrize("batch_dice", [True, False])
def test_nnunets_loss_is_averaged_over_slices_not_folded_into_the_batch(batch_dice):
    v = np.load(REFERENCE / "sl_slices.npz")
    z, y = torch.from_numpy(v["m.logits"]), torch.from_numpy(v["m.mask"])[:, None]
    key = f"m.nnunet_dc_ce_batch_dice_{batch_dice}".lower()
    names = {n.lower(): n for n in v.files}
    total = SlicewiseLoss(dice_ce(batch_dice))(z, y).item()
    assert total == pytest.approx(float(v[names[f"{key}_mean"]]), abs=1e-5)
    folded = float(v[names[f"{key}_folded"]])
    assert (abs(total - folded) > 1e-4) is batch_dice


def test_each_image_counts_once_also_in_a_short_batch():
    loss = SlicewiseLoss(lambda z, y: z.mean())
    a, b = torch.rand(3, 1, 4, 2, 2), torch.rand(1, 1, 4, 2, 2)
    loss(a, None)
    loss(b, None)
    *sums, images = loss.statistics().tolist()
    expected = torch.cat([a, b]).mean((0, 1, 3, 4))
    assert images == 4
    assert np.allclose(np.array(sums) / images, expected.numpy())
    loss.reset()
    assert loss.statistics() is None


def test_scales_and_extra_outputs_are_sliced_alike():
    seen = []

    def inner(z, y, extra):
        seen.append(([o.shape for o in z], extra.shape, float(extra.mean())))
        return z[0].mean() + extra.mean()

    scales = [torch.rand(2, 3, 4, 8, 8), torch.rand(2, 3, 4, 4, 4)]
    extra = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(2, 1, 4, 8, 8)
    total = SlicewiseLoss(inner)(scales, None, extra=extra)
    assert seen[2] == ([(2, 3, 8, 8), (2, 3, 4, 4)], (2, 1, 8, 8), 2.0)
    assert total.item() == pytest.approx(scales[0].mean().item() + 1.5, abs=1e-6)


def test_works_around_nnunets_deep_supervision():
    loss = SlicewiseLoss(DeepSupervisionWrapper(dice_ce(), [0.7, 0.3]))
    scales = [torch.randn(2, 2, 4, 8, 8, requires_grad=True), torch.randn(2, 2, 4, 4, 4, requires_grad=True)]
    targets = [torch.randint(0, 2, (2, 1, s, s)) for s in (8, 4)]
    loss(scales, targets).backward()
    assert all(s.grad.abs().sum() > 0 for s in scales)
