"""Where offset vectors leave a network: counts, starts, shapes, what they refuse."""

import json

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support import REFERENCE, make_plans
from torch import nn

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.decoders.multiscale_subtraction import M2SNET_DECODER
from nnunet_ext.architectures.heads.offset_branch import OffsetVectorHead, largest_offset, named_head
from nnunet_ext.architectures.heads.shared_offsets import SharedOffsetSpec
from nnunet_ext.architectures.lifting.composition import lift
from nnunet_ext.architectures.network import ComposedSpec, TrainingOutput
from nnunet_ext.architectures.published.slunet import MonaiUNetSpec
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError
from nnunet_ext.trainers.base import topology_of

BRANCHES = ("light", "decoder", "shared")
# A second decoder measured there has 1x1 convolutions at coarser scales, too, which nothing reads; ours has none.
UNUSED = {2: 3 * (64 + 128 + 256 + 512 + 512) + 5 * 3, 3: 4 * (64 + 128 + 256) + 3 * 4}
NNUNET = {  # plans of the fact sheet's measurements: features, input channels, classes, patch, and what a head adds
    2: ([32, 64, 128, 256, 512, 512, 512], 1, 4, [256, 256], {"light": 18723, "decoder": 19314386, "shared": 4530}),
    3: ([32, 64, 128, 256, 320], 1, 3, [32, 64, 64], {"light": 20900, "decoder": 8054960, "shared": 1936}),
}


def topology(patch, **arguments):
    manager = PlansManager(make_plans(patch, **arguments))
    (configuration,) = manager.plans["configurations"]
    return topology_of(manager.get_configuration(configuration))


def nnunet_plan(dims):
    features, _, _, patch, _ = NNUNET[dims]
    n = len(features)
    return Topology(
        dims, tuple(patch), tuple(features), ((1,) * dims, *[(2,) * dims] * (n - 1)), ((3,) * dims,) * n, (2,) * n,
        (2,) * (n - 1), norm=getattr(nn, f"InstanceNorm{dims}d"), norm_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    )  # fmt: skip


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("dims", [2, 3])
def test_counts_on_nnunets_own_networks(dims, branch):
    _, channels, classes, patch, added = NNUNET[dims]
    with torch.device("meta"):
        spec = ComposedSpec(head=OffsetVectorHead(branch))
        plain = ComposedSpec().build(nnunet_plan(dims), channels, classes, False)
        network = spec.build(nnunet_plan(dims), channels, classes, False).eval()
    unused = UNUSED[dims] if branch == "decoder" else 0
    assert count_parameters(network) - count_parameters(plain) == added[branch] - unused
    file = REFERENCE / "ovenet_counts.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there: MACs are not compared")
    if (dims, branch) == (3, "light"):  # ours has half the channels of the one measured there, by the numbers above
        own = (32 * 16 + 16 * 16) * 27 + 16 * 4
        assert count_macs(network, (channels, *patch)) - count_macs(plain, (channels, *patch)) == own * 32 * 64 * 64
        return
    rows = json.loads(file.read_text())["offset_heads_on_nnunet_plain_unet"]
    (row,) = [r for r in rows if r["dims"] == dims and r["head"] == branch]
    assert count_parameters(network) == row["params"] - unused
    assert count_macs(network, (channels, *patch)) == row["conv_macs_eval"]


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("decoder", [None, M2SNET_DECODER])
@pytest.mark.parametrize("patch", [[32, 48], [8, 16, 16]])
def test_offsets_begin_small_and_fuse_half(branch, decoder, patch):
    head = OffsetVectorHead(branch)
    spec = ComposedSpec(head=head) if decoder is None else ComposedSpec(decoder=decoder, head=head)
    torch.manual_seed(0)
    network = spec.build(topology(patch), 3, 4, True)
    x = torch.randn(2, 3, *patch)
    refined = network.refined(x)
    assert refined.offsets.abs().mean() < 0.2
    assert (torch.sigmoid(refined.confidence) - 0.5).abs().max() < 0.05
    assert torch.allclose(refined.fused, (refined.initial + refined.seed) / 2, atol=0.3)
    output = network.train()(x)
    assert isinstance(output, TrainingOutput)
    assert [o.shape[1] for o in output.logits] == [4] * len(output.logits)
    assert output.extra.keys() == {"initial", "seed", "confidence", "offsets"}
    assert torch.equal(network.eval()(x)[0], network.refined(x).fused)


@pytest.mark.parametrize("branch", BRANCHES)
def test_without_a_branch_of_its_own_the_class_scores_are_the_plain_networks(branch):
    """The same weights without offsets: the initial logits; with offsets of zero: the fused ones, too."""
    torch.manual_seed(0)
    plain = ComposedSpec().build(topology([32, 32]), 3, 4, False).eval()
    network = ComposedSpec(head=OffsetVectorHead(branch)).build(topology([32, 32]), 3, 4, False).eval()
    own = network.state_dict()
    for name, values in plain.state_dict().items():
        own[name][: len(values)] = values
    for name, p in network.named_parameters():
        if name.startswith("offset_branch") or (branch == "shared" and name.startswith("head")):
            with torch.no_grad():
                p[4 if name.startswith("head") else 0 :].zero_()
    x = torch.randn(2, 3, 32, 32)
    refined = network.refined(x)
    assert torch.allclose(refined.initial, plain(x), atol=1e-6)
    assert torch.allclose(network(x), plain(x), atol=1e-5)


def test_lifted_slices_are_refined_in_their_plane():
    network = lift(ComposedSpec(head=OffsetVectorHead()), 8).build(topology([32, 48]), 3, 4, False)
    output = network.train()(torch.randn(2, 3, 30, 41))  # padded inside
    assert output.logits.shape == (2, 4, 8, 30, 41)
    assert {k: tuple(v.shape) for k, v in output.extra.items()} == {
        "initial": (2, 4, 8, 30, 41),
        "seed": (2, 4, 8, 30, 41),
        "confidence": (2, 1, 8, 30, 41),
        "offsets": (2, 2, 8, 30, 41),
    }
    assert network.network.refinement.max_offset.flatten().tolist() == [0.25 * 31, 0.25 * 47]
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        deduplicated = network.eval()(x)
        network.form = "plain"
        assert torch.allclose(network(x), deduplicated, atol=1e-4)


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_any_network_can_share_its_last_layer(deep_supervision):
    """nnU-Net's own U-Net, of which the wrapper knows nothing, and MONAI's, whose last layer is none that is known."""

    class Stock(ComposedSpec):
        def build(self, topology, input_channels, output_channels, deep_supervision):
            return PlainConvUNet(
                input_channels, 3, [4, 6, 8], nn.Conv2d, 3, [1, 2, 2], 2, output_channels, 2,
                nonlin=nn.LeakyReLU, deep_supervision=deep_supervision,
            )  # fmt: skip

    x = torch.randn(2, 3, 32, 64)
    network = SharedOffsetSpec(Stock()).build(topology([32, 64]), 3, 4, deep_supervision)
    output = network.train()(x)
    assert isinstance(output.logits, list) == deep_supervision
    scales = output.logits if deep_supervision else [output.logits]
    assert [o.shape[1] for o in scales] == [4] * len(scales)
    network.decoder.deep_supervision = False
    assert network.eval()(x).shape == (2, 4, 32, 64)
    spec = SharedOffsetSpec(MonaiUNetSpec(levels=5, res_units=1), tau=0.2)
    assert (spec.dims, spec.supports_deep_supervision) == ((2,), False)
    refined = spec.build(topology([64, 64]), 3, 4, False).refined(torch.randn(2, 3, 64, 64))
    assert refined.offsets.abs().mean() < 0.5
    assert spec.describe()["tau"] == "0.2"


# ---------------------------------------------------------------- the largest offset


def test_the_largest_offset_is_a_share_of_half_the_patch():
    assert largest_offset(topology([512, 1024])) == (127.75, 255.75)
    assert largest_offset(topology([256, 256]), 0.2) == pytest.approx((25.5, 25.5))
    assert largest_offset(topology([6, 16, 16], anisotropic=True), 1) == (2.5, 7.5, 7.5)


def test_the_largest_offset_in_mm_follows_the_spacing():
    plans = make_plans([8, 32, 32])
    plans["configurations"]["3d_fullres"]["spacing"] = [5.0, 0.5, 0.5]
    t = topology_of(PlansManager(plans).get_configuration("3d_fullres"))
    assert largest_offset(t, tau_mm=5) == (1.0, 10.0, 10.0)
    network = ComposedSpec(head=named_head(mm=5)).build(t, 1, 2, False)
    assert network.refinement.max_offset.flatten().tolist() == [1.0, 10.0, 10.0]
    with pytest.raises(UnsupportedPlanError, match=r"tau_mm=20 .* is 15.5 mm at its shortest side"):
        largest_offset(t, tau_mm=20)


@pytest.mark.parametrize("tau", [0, -1, 2.5])
def test_offsets_beyond_the_patch_are_refused(tau):
    with pytest.raises(UnsupportedPlanError, match="tau / 2 of the patch"):
        ComposedSpec(head=OffsetVectorHead(tau=tau)).check(topology([32, 32]))


def test_mm_need_a_spacing():
    with pytest.raises(UnsupportedPlanError, match="needs a plan with a spacing"):
        largest_offset(nnunet_plan(2), tau_mm=3)


def test_names_of_the_part():
    assert named_head() == OffsetVectorHead()
    assert named_head("Decoder", 20) == OffsetVectorHead("decoder", 0.2)
    assert named_head("Shared", mm=15) == OffsetVectorHead("shared", tau_mm=15)
    for wrong in ({"percent": 0}, {"percent": 201}, {"mm": 0}):
        with pytest.raises(ValueError, match="not possible"):
            named_head(**wrong)


def test_planners_count_the_branch():
    t = topology([32, 32])
    sizes = [ComposedSpec(head=h).build(t, 3, 4, False).compute_conv_feature_map_size((32, 32)) for h in
             (OffsetVectorHead(), OffsetVectorHead("shared"))]  # fmt: skip
    plain = ComposedSpec().build(t, 3, 4, False).compute_conv_feature_map_size((32, 32))
    assert [s - plain for s in sizes] == [(2 * 4 + 3) * 32 * 32, 3 * 32 * 32]


@pytest.mark.parametrize(("wrong", "message"), [
    ({"branch": "ligth"}, "branch='ligth': choose of light, decoder, shared"),
    ({"fuse": "sofmax"}, "fuse='sofmax': choose of logits, softmax, sigmoid"),
])  # fmt: skip
def test_branches_and_fusions_that_there_are_not_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        OffsetVectorHead(**wrong)
