"""OVeNet on HRNet: reach, what is enlarged how, weights of a finished HRNet, the frozen variant."""

import copy
import re
from unittest.mock import patch

import pytest
import torch
from lively import lively
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from scipy import ndimage
from support import architecture, pickled
from torch import nn

from nnunet_ext.architectures.heads.offset_vectors import Refined
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published import hrnet_parts
from nnunet_ext.architectures.published.hrnet import HRNetSpec
from nnunet_ext.architectures.published.ovenet_hrnet import OVeNetHRNetSpec
from nnunet_ext.architectures.topology import Topology
from nnunet_ext.weights import WeightsError

TINY, SMALL_BRANCH = {"width": 4, "modules": (1, 1, 1)}, {"branch_modules": (1, 1)}
BOTH = pytest.mark.parametrize("ocr", [False, True], ids=["hrnet", "ocr"])
VARIANTS = {"b4": {}, "b3": {"branch": 3}, "ocr": {"ocr": True}, "ocr_b3": {"ocr": True, "branch": 3}}
ALL = pytest.mark.parametrize("variant", VARIANTS)
K, PREFIX = 3, "offset_branch.seg_layers."


def topology(patch=(64, 64), normalization=()):
    return Topology.from_plan(architecture(len(patch)), patch, normalization)


def tiny(spec, plan=None, channels=3, outputs=K, blocks=1, seed=0):
    """Its network, with fewer residual blocks than the real one where nothing depends on their number."""
    torch.manual_seed(seed)
    with patch.object(hrnet_parts, "BLOCKS", blocks):
        return spec.build(plan or topology(), channels, outputs, False)


def build(plan=None, channels=3, outputs=K, blocks=1, seed=0, **fields):
    spec = OVeNetHRNetSpec(**{**TINY, **SMALL_BRANCH, **fields})
    return tiny(spec, plan, channels, outputs, blocks, seed)


def image(*size, channels=3, batch=2):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def last_layer(network):
    layers = network.offset_branch.seg_layers
    return (layers["aux_head_offset"] if "aux_head_offset" in layers else layers["offset_layer"])[-1]


def saturate(network, *signs):
    """Make the branch say the same everywhere: the largest offset in these directions."""
    with torch.no_grad():
        last_layer(network).weight.zero_()
        last_layer(network).bias.copy_(torch.tensor([*(50.0 * s for s in signs), 0.0]))


def at_stride_4(network, x):
    """What is refined, before it is enlarged."""
    found = []
    handle = network.refine.register_forward_hook(lambda _, __, output: found.append(output))
    with torch.no_grad():
        network.refined(x)
    handle.remove()
    return found[0]


# ---------------------------------------------------------------- offsets


def test_tau_of_a_half_reaches_a_quarter_of_the_patch():
    network = build(plan=topology((512, 1024))).eval()
    network.layer1 = nn.Conv2d(64, 256, 1)  # in its place; the bottlenecks are most of the work
    saturate(network, 1, -1)
    with torch.no_grad():
        offsets = network.refined(image(512, 1024, batch=1)).offsets
    assert offsets.shape == (1, 2, 512, 1024)
    torch.testing.assert_close(offsets[:, 0], torch.full((1, 512, 1024), 127.75), rtol=1e-6, atol=0)
    torch.testing.assert_close(offsets[:, 1], torch.full((1, 512, 1024), -255.75), rtol=1e-6, atol=0)


def test_seeds_are_looked_up_at_stride_4_that_many_pixels_away_whatever_the_size_of_the_image():
    network = lively(build(tau=0.4))  # 3 of the 16 pixels that 64 are at stride 4
    saturate(network, 1, -1)
    for size in ((64, 64), (96, 80)):
        found = at_stride_4(network, image(*size))
        h, w = found.initial.shape[2:]
        assert (h, w) == (size[0] // 4, size[1] // 4)
        rows, columns = (torch.arange(h) + 3).clamp(max=h - 1), (torch.arange(w) - 3).clamp(min=0)
        torch.testing.assert_close(found.seed, found.initial[..., rows[:, None], columns], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.fused, (found.initial + found.seed) / 2, atol=1e-4, rtol=1e-4)


@ALL
def test_without_offsets_nothing_is_refined(variant):
    network, x = lively(build(**VARIANTS[variant])), image(64, 64)
    with torch.no_grad():
        moved = network.refined(x)
        assert not torch.allclose(moved.fused, moved.initial, atol=1e-2)
        for p in network.offset_branch.parameters():
            p.zero_()
        same = network.refined(x)
    scale = same.initial.abs().max()
    assert (same.fused - same.initial).abs().max() < 1e-5 * scale
    assert (same.offsets == 0).all()
    torch.testing.assert_close(same.initial, moved.initial)


@ALL
def test_first_offsets_are_near_zero_and_no_seed_is_believed_or_not(variant):
    network = build(**VARIANTS[variant], width=8)
    last = last_layer(network)
    assert 0.0007 < last.weight.std() < 0.0013
    assert (last.bias == 0).all()
    output = network.train()(image(64, 64))
    assert output.extra["offsets"].abs().max() < 1
    assert output.extra["confidence"].abs().max() < 0.1


# ---------------------------------------------------------------- what is returned


@ALL
def test_returns_all_in_training_and_the_refined_logits_at_inference(variant):
    network, x = lively(build(plan=topology((61, 90)), **VARIANTS[variant])), image(61, 90)
    with torch.no_grad():
        logits, refined = network(x), network.refined(x)
    assert isinstance(refined, Refined)
    assert logits.shape == (2, K, 61, 90)
    assert torch.equal(logits, refined.fused)
    output = network.train()(x)
    assert isinstance(output, TrainingOutput)
    names = {"initial": K, "seed": K, "confidence": 1, "offsets": 2}
    if "ocr" in variant:
        names |= {"auxiliary_fused": K, "auxiliary_initial": K, "auxiliary_seed": K}
    assert {k: tuple(v.shape) for k, v in output.extra.items()} == {k: (2, n, 61, 90) for k, n in names.items()}
    every = [output.logits, *output.extra.values()]
    assert all(t.dtype == torch.float32 and torch.isfinite(t).all() for t in every)
    sum((t * torch.randn_like(t)).sum() for t in every).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert last_layer(network).weight.grad.abs().amin(dim=(1, 2, 3)).max() > 0
    network.eval()
    with torch.no_grad():
        assert network(image(17, 4)).shape == (2, K, 17, 4)


@BOTH
def test_each_output_is_enlarged_as_the_authors_do(ocr):
    network, x = lively(build(ocr=ocr)), image(64, 96, batch=1)
    small = at_stride_4(network, x)
    with torch.no_grad():
        large = network.refined(x)

    def enlarged(t, aligned):
        maps = [ndimage.zoom(m, 4, order=1, mode="nearest", grid_mode=not aligned) for m in t[0].numpy()]
        return torch.stack([torch.from_numpy(m) for m in maps])[None]

    for name in ("fused", "initial", "seed"):
        torch.testing.assert_close(getattr(large, name), enlarged(getattr(small, name), ocr), atol=1e-3, rtol=1e-3)
    confidence = enlarged(torch.sigmoid(small.confidence), False)
    torch.testing.assert_close(torch.sigmoid(large.confidence), confidence, atol=1e-4, rtol=1e-4)
    pixels = torch.tensor([63 / 15, 95 / 23]).view(2, 1, 1)
    torch.testing.assert_close(large.offsets, enlarged(small.offsets, False) * pixels, atol=1e-3, rtol=1e-4)


def test_the_same_offsets_and_confidence_refine_the_auxiliary_logits():
    network, x = lively(build(ocr=True, tau=0.4)), image(64, 64)
    saturate(network, 1, 1)
    seen = []
    network.refine.register_forward_hook(lambda _, __, output: seen.append(output))
    network.train()(x)
    final, auxiliary = seen
    assert torch.equal(final.offsets, auxiliary.offsets)
    assert torch.equal(final.confidence, auxiliary.confidence)
    assert not torch.allclose(final.initial, auxiliary.initial, atol=1e-2)
    steps = (torch.arange(16) + 3).clamp(max=15)
    torch.testing.assert_close(
        auxiliary.seed, auxiliary.initial[..., steps[:, None], steps], atol=1e-4, rtol=1e-4, check_stride=False
    )


def test_a_confidence_of_0_or_1_stays_finite():
    network = lively(build())
    for sign in (-1, 1):
        with torch.no_grad():
            last_layer(network).weight.zero_()
            last_layer(network).bias.copy_(torch.tensor([0.0, 0.0, 200.0 * sign]))
            confidence = network.refined(image(64, 64)).confidence
        assert torch.isfinite(confidence).all()
        assert (confidence * sign > 13).all()


# ---------------------------------------------------------------- weights


@ALL
def test_all_but_the_offset_branch_is_the_base_networks(variant):
    fields = VARIANTS[variant]
    base = tiny(HRNetSpec(**TINY, ocr=fields.get("ocr", False))).state_dict()
    state = build(**fields).state_dict()
    own = {k for k in state if k.startswith(PREFIX)}
    assert {k: v.shape for k, v in state.items() if k not in own} == {k: v.shape for k, v in base.items()}
    parts = {"transition3_2", "stage4_2", "aux_head_offset" if "ocr" in variant else "offset_layer"}
    parts |= {"transition2_2", "stage3_2"} if "b3" in variant else set()
    assert {k.removeprefix(PREFIX).split(".")[0] for k in own} == parts


@BOTH
def test_nnunet_loads_a_finished_hrnet_around_the_branch(ocr, tmp_path):
    base = lively(tiny(HRNetSpec(**TINY, ocr=ocr), seed=5))
    file = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": base.state_dict()}, file)
    network, x = build(ocr=ocr, frozen=True).eval(), image(64, 64)
    branch = copy.deepcopy(network.offset_branch.state_dict())
    load_pretrained_weights(network, str(file))
    with torch.no_grad():
        torch.testing.assert_close(network.refined(x).initial, base(x))
    assert all(torch.equal(v, branch[k]) for k, v in network.offset_branch.state_dict().items())
    with pytest.raises(AssertionError, match="shape of the parameters"):
        load_pretrained_weights(build(ocr=ocr, outputs=K + 1), str(file))


@ALL
def test_the_branch_begins_at_the_weights_of_the_stages_beside_it(variant):
    fields = {**VARIANTS[variant], "modules": (1, 2, 3), "branch_modules": (1, 2)}
    state = lively(tiny(HRNetSpec(4, (1, 2, 3)), outputs=1)).state_dict()
    network = build(**fields)
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    before = copy.deepcopy(network.state_dict())
    incomplete = {k: v for k, v in state.items() if k != "stage4.1.fuse_layers.0.3.1.running_var"}
    with pytest.raises(WeightsError, match=r"1 are missing, e\.g\. stage4\.1\.fuse_layers\.0\.3\.1\.running_var"):
        network.take(incomplete)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    network.take(state)
    assert all(t is held[k] for k, t in [*network.named_parameters(), *network.named_buffers()])
    copied = 0
    for key, value in network.state_dict().items():
        beside = re.fullmatch(r"offset_branch\.seg_layers\.((?:transition|stage)\d)_2\.(.*)", key)
        if beside:
            assert torch.equal(value, state[f"{beside[1]}.{beside[2]}"]), key
            copied += 1
        elif "offset" in key or key.split(".")[0].endswith(("ocr", "head")) or key.startswith(("last", "ocr")):
            assert torch.equal(value, before[key]), key
        else:
            assert torch.equal(value, state[key]), key
    stages = ("transition3.", "stage4.0.", "stage4.1.")
    stages += ("transition2.", "stage3.0.") if "b3" in variant else ()
    assert copied == sum(k.startswith(stages) for k in state)


# ---------------------------------------------------------------- frozen


@BOTH
def test_frozen_trains_the_branch_alone_and_moves_no_other_statistics(ocr):
    network, x = lively(build(ocr=ocr, frozen=True)), image(64, 64)
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in network.named_parameters() if n.startswith(PREFIX)}
    for _ in range(2):  # a second time after an evaluation, as after each epoch
        before = copy.deepcopy(network.state_dict())
        with torch.no_grad():
            expected = network.eval().refined(x).initial
        network.train()
        assert network.training
        assert {n for n, m in network.named_modules() if m.training} - {""} <= {
            n for n, _ in network.named_modules() if n.startswith("offset_branch")
        }
        output = network(x)
        torch.testing.assert_close(output.extra["initial"], expected)  # no dropout, no statistics of the batch
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        (output.logits * torch.randn_like(output.logits)).sum().backward()
        assert {n for n, p in network.named_parameters() if p.grad is not None} == trained
        optimizer.step()
        optimizer.zero_grad()
        for key, value in network.state_dict().items():
            assert torch.equal(value, before[key]) != key.startswith(PREFIX), key


def test_frozen_is_no_part_of_the_networks_description():
    free, frozen = OVeNetHRNetSpec(), OVeNetHRNetSpec(frozen=True)
    assert free.describe() == frozen.describe()
    assert free.describe() == {
        **{"network": "OVeNetHRNetSpec", "width": "48", "modules": "(1, 4, 3)", "ocr": "False", "branch": "4"},
        **{"branch_modules": "(3, 2)", "tau": "0.5", "fuse": "logits", "in_voxels": "False"},
    }
    assert build().state_dict().keys() == build(frozen=True).state_dict().keys()
    assert len({tuple(OVeNetHRNetSpec(**v).describe().items()) for v in VARIANTS.values()}) == len(VARIANTS)
    assert not build().frozen
    assert all(p.requires_grad for p in build().parameters())


# ---------------------------------------------------------------- a network of nnU-Net


@pytest.mark.parametrize("variant", ["b4", "ocr_b3"])
def test_copies_pickles_reloads_and_works_in_half_precision(variant):
    network, x = lively(build(**VARIANTS[variant])), image(64, 64)
    other = build(**VARIANTS[variant], seed=7).eval()
    other.load_state_dict(pickled(network.state_dict()), strict=True)
    with torch.no_grad():
        expected = network(x)
        for twin in (copy.deepcopy(network), pickled(network), other):
            assert torch.equal(twin(x), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network.train()(x)
    assert all(t.dtype == torch.float32 for t in (half.logits, *half.extra.values()))
    assert torch.isfinite(half.logits).all()


def compiles(network, x):
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        found, expected = compiled(x), network(x)
    for a, b in zip(*(o if isinstance(o, TrainingOutput) else (o,) for o in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_compiles_to_one_graph():
    network = lively(build(ocr=True, frozen=True)).train()
    network.stage3, network.stage4 = nn.Sequential(), nn.Sequential()  # more of the same as stage 2
    network.offset_branch.seg_layers["stage4_2"] = nn.Sequential()
    compiles(network, image(64, 64))
    wrapped = torch.compile(network, backend="eager").eval()
    wrapped.train()  # as nnU-Net does with what it has compiled
    assert network.offset_branch.training
    assert not network.bn1.training


@pytest.mark.slow
@ALL
def test_whole_networks_compile_to_one_graph(variant):
    for training in (True, False):
        compiles(lively(build(**VARIANTS[variant], blocks=4, frozen=True)).train(training), image(64, 64))


def test_refuses_fields_that_do_not_exist():
    wrong = [
        ({"branch": 2}, r"branch=2: choose 4 or 3"),
        ({"branch_modules": (3, 4)}, r"stage 4 of the base network has 3 modules.*1 to 3"),
        ({"branch": 3, "branch_modules": (5, 2)}, r"stage 3 of the base network has 4 modules.*1 to 4"),
        ({"tau": 0}, r"tau=0: choose more than 0"),
        ({"tau": 2.5}, r"tau=2\.5"),
        ({"fuse": "mean"}, r"fuse='mean': choose of logits, softmax, sigmoid"),
    ]
    for fields, told in wrong:
        with pytest.raises(ValueError, match=told):
            OVeNetHRNetSpec(**fields)
    OVeNetHRNetSpec(branch_modules=(5, 2))  # the branch has no stage 3
    with pytest.raises(ValueError, match="give the plan's topology"):
        OVeNetHRNetSpec(**TINY, **SMALL_BRANCH).build(None, 3, K, False)


@pytest.mark.parametrize("fuse", ["softmax", "sigmoid"])
def test_fuses_probabilities_where_asked(fuse):
    network = lively(build(fuse=fuse))
    found = at_stride_4(network, image(64, 64))
    activate = torch.sigmoid if fuse == "sigmoid" else lambda t: torch.softmax(t, 1)
    believed = torch.sigmoid(found.confidence)
    mixed = (1 - believed) * activate(found.initial) + believed * activate(found.seed)
    torch.testing.assert_close(activate(found.fused), mixed, atol=1e-5, rtol=1e-4)
