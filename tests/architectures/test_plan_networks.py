"""Compositions of the plan's own parts compute what stock nnU-Net computes."""

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from support import architecture

from nnunet_ext.architectures.complexity import count_parameters
from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.architectures.topology import Topology

PLANS = {
    "2d": ([32, 48], {}),
    "2d_four_stages": ([32, 32], {"n_stages": 4}),
    "2d_residual": ([32, 32], {"residual": True}),
    "3d": ([16, 8, 16], {}),
    "3d_anisotropic": ([6, 16, 16], {"anisotropic": True}),
    "3d_residual": ([8, 16, 8], {"residual": True}),
}


def both(kind, deep_supervision):
    """Our network and nnU-Net's, with the same weights."""
    patch, arguments = PLANS[kind]
    plan = architecture(len(patch), **arguments)
    stock = get_network_from_plans(
        plan["network_class_name"], plan["arch_kwargs"], plan["_kw_requires_import"], 3, 2, True, deep_supervision
    )
    ours = ComposedSpec().build(Topology.from_plan(plan, patch), 3, 2, deep_supervision)
    n = len(stock.decoder.seg_layers)
    state = {}
    for key, value in stock.state_dict().items():
        if key.startswith("decoder.encoder."):
            continue  # the encoder a second time
        if key.startswith("decoder.seg_layers."):  # coarsest first there, finest first here
            index, name = key.removeprefix("decoder.seg_layers.").split(".")
            key = f"head.seg_layers.{n - 1 - int(index)}.{name}"
        state[key] = value
    ours.load_state_dict(state, strict=True)
    return ours, stock, patch


@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("kind", PLANS)
def test_equals_stock_nnunet(kind, deep_supervision):
    ours, stock, patch = both(kind, deep_supervision)
    assert isinstance(stock, ResidualEncoderUNet if "residual" in kind else PlainConvUNet)
    assert count_parameters(ours) == count_parameters(stock)
    x = torch.randn(2, 3, *patch)
    mine, theirs = (o if deep_supervision else [o] for o in (ours(x), stock(x)))
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kind", PLANS)
def test_memory_estimate_equals_stock_nnunet(kind):
    ours, stock, patch = both(kind, False)
    assert ours.compute_conv_feature_map_size(patch) == stock.compute_conv_feature_map_size(patch)


def test_stock_weights_load_as_pretrained(tmp_path):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    ours, stock, _ = both("2d_residual", True)
    torch.save({"network_weights": stock.state_dict()}, tmp_path / "stock.pth")
    with torch.no_grad():
        for p in ours.parameters():
            p.zero_()
    load_pretrained_weights(ours, str(tmp_path / "stock.pth"))
    assert torch.equal(ours.encoder.stem.convs[0].conv.weight, stock.encoder.stem.convs[0].conv.weight)
    assert torch.equal(ours.decoder.stages[0].convs[0].conv.weight, stock.decoder.stages[0].convs[0].conv.weight)
    assert not ours.head.seg_layers[0].weight.any()  # heads stay the new task's own


def test_initialised_as_stock_nnunet():
    torch.manual_seed(0)
    plan = architecture(2, residual=True)
    wide = {**plan["arch_kwargs"], "features_per_stage": [32, 48, 64]}
    network = ComposedSpec().build(Topology.from_plan(plan, [32, 32]), 3, 2, True)

    def conv(m):
        return isinstance(m, torch.nn.Conv2d)

    convs = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(not m.bias.any() for m in convs if m.bias is not None)
    stock, ours = (
        get_network_from_plans(plan["network_class_name"], wide, plan["_kw_requires_import"], 3, 2, True, True),
        ComposedSpec().build(Topology.from_plan({**plan, "arch_kwargs": wide}, [32, 32]), 3, 2, True),
    )
    theirs = [m.weight.std() for m in (*stock.encoder.modules(), *stock.decoder.stages.modules()) if conv(m)]
    mine = [m.weight.std() for m in (*ours.encoder.modules(), *ours.decoder.stages.modules()) if conv(m)]
    assert torch.allclose(torch.stack(mine), torch.stack(theirs), rtol=0.1)
    last_norms = [b.conv2.norm for s in network.encoder.stages for b in s.blocks]
    assert all(not n.weight.any() for n in last_norms)


def test_topology_reads_scalars_and_lists():
    plan = architecture(2)
    plan["arch_kwargs"] |= {"features_per_stage": 8, "strides": 2, "kernel_sizes": 3, "n_conv_per_stage": 2}
    plan["arch_kwargs"]["n_conv_per_stage_decoder"] = 1
    topology = Topology.from_plan(plan, (16, 16))
    assert topology.features == (8, 8, 8)
    assert topology.strides == ((2, 2),) * 3
    assert topology.total_stride == (8, 8)
    assert topology.decoder_convs == (1, 1)


def test_unimportable_module_names_the_remedy():
    plan = architecture(2)
    plan["arch_kwargs"]["nonlin"] = "torch.nn.NoSuchThing"
    with pytest.raises(ValueError, match=r"NoSuchThing.*nnUNetv2_plan_experiment"):
        Topology.from_plan(plan, (16, 16))
