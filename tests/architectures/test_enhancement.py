"""IFE on the skips of a plan's network: where it sits, what it costs, what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support import make_plans
from torch import nn

from nnunet_ext.architectures.decoders.multiscale_subtraction import M2SNET_DECODER
from nnunet_ext.architectures.encoders.enhancement import Enhancement, named_enhancement
from nnunet_ext.architectures.heads.offset_branch import OffsetVectorHead
from nnunet_ext.architectures.lifting.composition import lift
from nnunet_ext.architectures.network import ComposedSpec
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError
from nnunet_ext.trainers.base import topology_of
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.suffixes import TrainerNameError


def topology(patch_size=(32, 48), n_stages=4, **changes) -> Topology:
    manager = PlansManager(make_plans(list(patch_size), n_stages=n_stages, **changes))
    (configuration,) = manager.plans["configurations"]
    return topology_of(manager.get_configuration(configuration))


def build(spec, plan=None, outputs=3, seed=0):
    torch.manual_seed(seed)
    return spec.build(plan or topology(), 3, outputs, False).eval()


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("plan", "taps"), [((32, 48), 9), ((16, 16, 8), 27)])
def test_parameters_grow_by_the_selected_channels_alone(plan, taps):
    plain, enhanced = ComposedSpec(), ComposedSpec(enhancement=Enhancement("curvature", (1, 2), (0.75, 0.5)))
    extra = count(build(enhanced, topology(plan))) - count(build(plain, topology(plan)))
    assert extra == taps * (4 * 6 + 4 * 8)  # floor(.75 x 6) = 4 at width 6, floor(.5 x 8) = 4 at width 8


@pytest.mark.parametrize("decoder", [None, M2SNET_DECODER])
@pytest.mark.parametrize("residual", [False, True])
def test_without_weights_for_the_selected_channels_it_is_the_network_without(decoder, residual):
    """The convolutions that read a skip get the plain network's weights, and zeros where selected channels come in."""
    parts = {} if decoder is None else {"decoder": decoder}
    plan = topology(residual=residual)
    plain = build(ComposedSpec(**parts), plan)
    enhanced = build(
        ComposedSpec(**parts, enhancement=Enhancement("curvature", (0, 1, 2), (1, 0.75, 0.5))), plan, seed=1
    )
    state, wide = plain.state_dict(), enhanced.state_dict()
    assert state.keys() == wide.keys()
    for name, narrow in state.items():
        padded = torch.zeros_like(wide[name])
        padded[tuple(slice(n) for n in narrow.shape)] = narrow  # [upsampled, raw, selected]
        wide[name] = padded
    enhanced.load_state_dict(wide)
    x = torch.randn(2, 3, 32, 48)
    assert torch.allclose(enhanced(x), plain(x), atol=1e-5)
    with torch.no_grad():
        for p in enhanced.decoder.parameters():
            p.copy_(torch.randn_like(p) * 0.1)
    before = enhanced(x)
    enhanced.enhancement.selections[1].by_index = True
    assert not torch.allclose(enhanced(x), before, atol=1e-4), "what is selected reaches the output"


def test_the_encoder_and_the_bottleneck_are_not_enhanced():
    network = build(ComposedSpec(enhancement=Enhancement("entropy")))
    x = torch.randn(1, 3, 32, 48)
    plain, enhanced = network.encoder(x), network.encode(x)
    assert [e.shape[1] - p.shape[1] for p, e in zip(plain, enhanced, strict=True)] == [0, 3, 4, 0]
    assert all(torch.equal(e[:, : p.shape[1]], p) for p, e in zip(plain, enhanced, strict=True))


def test_a_second_decoder_reads_the_enhanced_skips():
    head = OffsetVectorHead("decoder")
    plain, enhanced = (build(ComposedSpec(head=head, enhancement=e)) for e in (None, Enhancement("curvature")))
    assert count(enhanced) - count(plain) == 2 * 9 * (4 * 6 + 4 * 8)
    assert enhanced.train()(torch.randn(2, 3, 32, 48)).extra


@pytest.mark.parametrize("score", ["curvature", "entropy"])
def test_lifted_it_is_computed_once_for_equal_slices_with_the_same_result(score):
    network = build(lift(ComposedSpec(enhancement=Enhancement(score)), 8, 4))
    x = torch.randn(1, 3, 32, 48)
    results = {}
    for network.form in ("plain", "distinct", "stacked"):
        results[network.form] = network.slices(x)
    assert torch.allclose(results["distinct"], results["plain"], atol=1e-4)
    assert torch.allclose(results["stacked"], results["plain"], atol=1e-4)


def test_neighbours_are_not_looked_for_along_an_axis_where_kernels_do_not_reach():
    network = build(
        ComposedSpec(enhancement=Enhancement("curvature", (0, 1), (0.5, 0.5))), topology((8, 16, 16), anisotropic=True)
    )
    assert [s.axes for s in network.enhancement.selections] == [(1, 2), (0, 1, 2)]


@pytest.mark.parametrize("plan", [(32, 48), (16, 16, 8)])
def test_the_memory_estimate_counts_what_is_kept_beyond_convolutions(plan):
    enhanced, plain = (build(ComposedSpec(enhancement=e), topology(plan)) for e in (Enhancement("entropy"), None))
    kept = 0

    def count_it(module, inputs, output):
        nonlocal kept
        kept += output.numel() + (output.shape[1] - inputs[0].shape[1]) * math.prod(output.shape[2:])

    for select in enhanced.enhancement.selections:
        select.register_forward_hook(count_it)
    enhanced(torch.randn(1, 3, *plan))
    extra = enhanced.compute_conv_feature_map_size(plan) - plain.compute_conv_feature_map_size(plan)
    assert extra == kept > 0


# ---------------------------------------------------------------- names and options


@pytest.mark.parametrize(
    ("word", "enhancement"),
    [
        ("IFECurvature", Enhancement("curvature", (1, 2), (0.75, 0.5))),
        ("IFEEntropy", Enhancement("entropy", (1, 2), (0.5, 0.5))),
        ("IFERandom", Enhancement("random", (1, 2), (0.75, 0.5))),
        ("IFEEntropyJoint", Enhancement("entropy_joint")),
        ("IFEEntropyUniqueS1R50", Enhancement("entropy_unique", (1,), (0.5,))),
        ("IFERandomS0R5S3R100", Enhancement("random", (0, 3), (0.05, 1.0))),
    ],
)
def test_names_of_the_part(word, enhancement):
    assert resolve(f"nnUNetTrainerExt_{word}").spec.enhancement == enhancement
    assert enhancement.typed() == word


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("IFECurvatureS1R75S2R50", "without any: write IFECurvature"),
        ("IFECurvatureS1R101", r"ratio=1\.01.*0 to 1"),
        ("IFECurvatureS2R50S1R50", r"stages=\(2, 1\): name them in ascending order"),
        ("IFECurvatureS1R50S1R50", "each stage once"),
        ("IFECurvatureJoint", "there is no part 'IFECurvatureJoint'. Did you mean IFECurvature"),
    ],
)
def test_names_that_mean_nothing(word, message):
    with pytest.raises(TrainerNameError, match=message):
        resolve(f"nnUNetTrainerExt_{word}")


def test_presets_are_the_parts():
    for word in ("IFECurvature", "IFEEntropy", "IFERandom"):
        assert resolve(f"nnUNetTrainer{word}").spec == resolve(f"nnUNetTrainerExt_{word}").spec


def test_refused_plans_are_told_what_to_type():
    def refusal(enhancement, plan):
        with pytest.raises(UnsupportedPlanError) as error:
            ComposedSpec(enhancement=enhancement).check(plan)
        return str(error.value)

    text = refusal(Enhancement("curvature"), topology(n_stages=3))
    assert "stage 2 is not possible: the plan has 3 stages" in text
    assert "0 to 1, e.g. -tr nnUNetTrainerExt_IFECurvatureS1R75" in text
    ComposedSpec(enhancement=named_enhancement("Curvature", at="S1R75")).check(topology(n_stages=3))
    coarse = replace(topology(n_stages=3), strides=((1, 1), (16, 24), (1, 1)))
    text = refusal(Enhancement("curvature", (1,), (0.5,)), coarse)
    assert "stage 1 is not possible: its maps of the patch [32, 48] are [2, 2] voxels" in text
    assert "e.g. -tr nnUNetTrainerExt_IFECurvatureS0R50" in text
    text = refusal(Enhancement("entropy_unique"), topology())
    assert "tells nothing after LeakyReLU" in text
    assert "nnUNetTrainerExt_IFEEntropy" in text
    clipped = replace(topology(), nonlin=nn.ReLU)
    ComposedSpec(enhancement=Enhancement("entropy_unique")).check(clipped)


def test_a_decoder_that_takes_no_more_channels_is_refused():
    def decoder(topology, in_channels, strides, deep_supervision):
        raise AssertionError("is not built")

    with pytest.raises(UnsupportedPlanError, match=r"decoder .*\.decoder takes no skip_channels"):
        ComposedSpec(decoder=decoder, enhancement=Enhancement()).check(topology())
    ComposedSpec(decoder=decoder).check(topology())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": (1, 1), "ratios": (0.5, 0.5)}, "each stage once"),
        ({"stages": (1, 2, 3)}, "with a ratio of its own"),
        ({"ratios": (0.5, 1.5)}, r"ratio=1\.5"),
        ({"score": "sharpness"}, "score='sharpness': choose of curvature"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        Enhancement(**options)
