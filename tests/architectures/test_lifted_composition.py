"""Lifting as a part of a composition: the topology it makes, equal forms, bad numbers."""

import pytest
import torch
from support import architecture
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnunet_ext.architectures.lifting.composition import LiftedSpec, default_selected, lift_topology
from nnunet_ext.architectures.topology import Topology
from nnunet_ext.trainers.naming import TrainerNameError, resolve
from nnunet_ext.trainers.spatial_lifting import SpatialLiftingTrainer


def topology(n_stages=3, patch=(32, 32), **changes):
    plan = architecture(2, n_stages, **{k: v for k, v in changes.items() if k == "residual"})
    if changes.get("norm"):
        plan["arch_kwargs"]["norm_op"] = changes["norm"]
    return Topology.from_plan(plan, patch)


def test_the_depth_is_halved_until_it_is_one():
    lifted = lift_topology(topology(4), 4, 6)
    assert lifted.dims == 3
    assert lifted.patch_size == (4, 32, 32)
    assert lifted.features == (6, 6, 6, 6)
    assert lifted.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert lifted.kernels == ((3, 3, 3), (3, 3, 3), (3, 3, 3), (1, 3, 3))
    assert lifted.norm is nn.InstanceNorm3d
    assert lift_topology(topology(3), 16, 8).total_stride == (4, 4, 4)  # four slices are left at the bottom


@pytest.mark.parametrize("depth", [4, 8, 16, 32])
@pytest.mark.parametrize("kind", ["plain", "residual", "batch_norm"])
def test_forms_are_equal_to_1e10(kind, depth):
    plan = topology(residual=kind == "residual", norm="torch.nn.BatchNorm2d" if kind == "batch_norm" else None)
    torch.manual_seed(0)
    network = LiftedSpec(depth=depth, channels=5).build(plan, 2, 3, False).double()
    x = torch.randn(2, 2, 32, 32, dtype=torch.float64)
    for train in (True, False):
        network.train(train)
        found = {}
        for network.form in ("plain", "stacked", "distinct"):
            slices = network.slices(x)
            weights = torch.linspace(-1, 1, slices.numel(), dtype=torch.float64).view_as(slices)
            gradients = torch.autograd.grad((slices * weights).sum(), list(network.parameters()))
            found[network.form] = [slices, *gradients]
        for form in ("stacked", "distinct"):
            scale = max(t.abs().max() for t in found["plain"])
            worst = max((a - b).abs().max() for a, b in zip(found[form], found["plain"], strict=True))
            assert worst < 1e-10 * max(1, scale)


def test_equal_slices_are_not_computed_twice():
    network = LiftedSpec().build(topology(), 3, 2, False).to("meta").eval()
    counts = {}
    for network.form in ("plain", "distinct"):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.empty(1, 3, 32, 32, device="meta"))
        counts[network.form] = counter.get_total_flops()
    assert counts["distinct"] < 0.8 * counts["plain"]


def test_slice_loss_selection_and_one_scale_come_with_it():
    trainer = resolve("nnUNetTrainerExt_Plain_UNet_SL8C4_3epochs")
    assert issubclass(trainer, SpatialLiftingTrainer)
    assert (trainer.spec.depth, trainer.spec.channels, trainer.spec.selected) == (8, 4, 2)
    assert not trainer.spec.supports_deep_supervision
    network = trainer.spec.build(topology(), 3, 2, True)
    assert len(network.network.head.seg_layers) == 1
    assert network.train()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 2, 8, 32, 32)
    assert network.selection.selected.shape == (2,)
    assert trainer.describe_network()["depth"] == "8"


def test_the_papers_share_of_slices_predicts():
    assert [default_selected(d) for d in (4, 8, 16, 32)] == [1, 2, 5, 10]
    assert LiftedSpec(depth=8, n_selected=3).selected == 3


@pytest.mark.parametrize("word", ["SL2", "SL12", "SL64", "SL0", "SL16C0"])
def test_impossible_numbers_name_what_is_possible(word):
    with pytest.raises(TrainerNameError, match=r"choose (4, 8, 16, 32|1 or more)"):
        resolve(f"nnUNetTrainerExt_{word}")


@pytest.mark.parametrize("n", [0, 9])
def test_more_selected_slices_than_there_are(n):
    with pytest.raises(ValueError, match=f"n_selected={n} of depth=8 slices: choose 1 to 8"):
        LiftedSpec(depth=8, n_selected=n)


def test_lifting_stands_last_and_once():
    for name in ("nnUNetTrainerExt_SL16_UNet", "nnUNetTrainerExt_SL16_SL8"):
        with pytest.raises(TrainerNameError, match="out of order or doubled"):
            resolve(name)
    for word in ("SL", "SL016", "SL16C08"):
        with pytest.raises(TrainerNameError, match="Did you mean SL16"):
            resolve(f"nnUNetTrainerExt_{word}")
    with pytest.raises(TrainerNameError, match="has no recipe of a paper"):
        resolve("nnUNetTrainerExt_SL16_paper")
