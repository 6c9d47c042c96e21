"""Equal slices computed once: the same outputs and gradients as the 3D network, and the fewest products."""

import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import REFERENCE
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnunet_ext.architectures.lifting.deduplicate import run_deduplicated
from nnunet_ext.architectures.lifting.distinct_volume import DistinctVolume
from nnunet_ext.architectures.lifting.replicate import replicate
from nnunet_ext.architectures.lifting.tap_patterns import convolution_pattern, transposed_pattern
from nnunet_ext.architectures.published.level_unet import LevelUNet
from nnunet_ext.architectures.published.slunet import MonaiUNetSpec, SLUNetSpec

FORMS = pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "distinct"])
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")


def assert_equal_to_the_plain_form(network, x, depth, stacked):
    """Outputs and gradients of the plain network and the deduplicated one, in the mode that the network is in."""
    inputs = [x.requires_grad_(), *network.parameters()]
    plain = network(replicate(x, depth))
    probe = torch.randn(plain.shape, dtype=plain.dtype, generator=torch.Generator().manual_seed(3))
    expected = torch.autograd.grad((plain * probe).sum(), inputs)
    once = run_deduplicated(network, x, depth, stacked)
    found = torch.autograd.grad((once * probe).sum(), inputs)
    assert once.shape == plain.shape
    assert once.is_contiguous()
    assert (once - plain).abs().max() < 1e-10
    largest = max(g.abs().max() for g in expected)
    for g, e in zip(found, expected, strict=True):
        assert (g - e).abs().max() < 1e-10 * largest


@FORMS
@pytest.mark.parametrize(
    ("levels", "res_units", "size"),
    [(5, 1, 48), (5, 2, 32), pytest.param(8, 1, 256, marks=pytest.mark.slow), (8, 2, 256)],
)
def test_every_slunet_is_equal_to_1e10(levels, res_units, size, stacked):
    torch.manual_seed(0)
    network = SLUNetSpec(levels, res_units).build(None, 2, 2, False).network.double()
    x = torch.randn(1 if levels == 8 else 2, 2, size, size, dtype=torch.float64)
    for train in (True, False) if levels == 5 else (True,):
        assert_equal_to_the_plain_form(network.train(train), x, 16, stacked)


class Other(nn.Module):
    """Layers that SL-UNets do not have: batch or affine instance norm, stride 1 first, several slopes, no bias."""

    def __init__(self, norm):
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(2, 4, 3, 1, 1), norm(4, affine=True), nn.PReLU(4))
        self.down = nn.Sequential(nn.Conv3d(4, 6, (3, 3, 5), (2, 1, 2), (1, 1, 2), bias=False), norm(6), nn.LeakyReLU())
        self.up = nn.ConvTranspose3d(6, 4, (2, 1, 2), (2, 1, 2))
        self.last = nn.Conv3d(8, 3, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat((self.up(self.down(x)), x), dim=1))


@FORMS
@pytest.mark.parametrize("norm", [nn.BatchNorm3d, nn.InstanceNorm3d])
def test_norms_in_training_and_evaluation(norm, stacked):
    torch.manual_seed(0)
    network = Other(norm).double()
    nn.init.normal_(network.first[1].weight)
    assert_equal_to_the_plain_form(network, torch.randn(3, 2, 8, 12, dtype=torch.float64), 8, stacked)
    state = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    assert bool(state) == (norm is nn.BatchNorm3d)
    assert_equal_to_the_plain_form(network.eval(), torch.randn(3, 2, 8, 12, dtype=torch.float64), 8, stacked)


@FORMS
def test_batch_norm_keeps_the_same_running_statistics(stacked):
    torch.manual_seed(0)
    plain = Other(nn.BatchNorm3d).double()
    once = Other(nn.BatchNorm3d).double()
    once.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 8, 12, dtype=torch.float64)
    plain(replicate(x, 8))
    run_deduplicated(once, x, 8, stacked)
    for (name, a), b in zip(plain.state_dict().items(), once.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-12), name


class Unknown(nn.Module):
    """Operations that have no rule."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv3d(2, 4, 3, padding=1, groups=2)
        self.same = nn.Conv3d(2, 2, 3, padding="same")
        self.tracked = nn.InstanceNorm3d(4, track_running_stats=True)
        self.sparse = nn.ConvTranspose3d(4, 2, 1, stride=2, output_padding=1)

    def forward(self, x):
        y = F.avg_pool3d(self.tracked(self.grouped(x)), 2)
        y = F.interpolate(y, scale_factor=2) * 0.5
        y = self.sparse(y)[:, :, ::2, ::2, ::2] + 1
        return y + self.same(x) + x.mean(dim=1, keepdim=True) + 2 * torch.stack([x, x]).sum(0)


class Arithmetic(nn.Module):
    """Operators between volumes, numbers, maps and tensors; indexing, comparing, changing in place."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(2, 3, 3, stride=1, padding=1)
        self.gate = nn.Conv3d(3, 1, 1)
        self.norm = nn.InstanceNorm3d(3)
        self.slope = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        y = 1 - a * 2 + abs(a - b) / 3 - (2 - b) + 4 / (b * b + 1) + (-a) ** 2
        y = y * torch.sigmoid(self.gate(a)) + torch.add(a, b, alpha=2) + torch.mul(a, b)
        y = y + a.mean((2, 3, 4), keepdim=True) * a + a.sum(2, keepdim=True) * b + a[:, :1] + a.new_ones(1, 3, 1, 1, 1)
        y = y + torch.where(a > 0, a, b) + torch.cat(tensors=[a, b], dim=1)[:, :3] + (a < b)
        z = y
        z += b
        z -= 1
        z *= a
        z /= 2
        z.mul_(3)
        torch.relu_(z)
        w = self.norm(y)
        self.slope(w)
        return y + w  # y and z are the same


@FORMS
@pytest.mark.parametrize("module", [Unknown, Arithmetic])
def test_every_operation_gives_what_it_gives_on_the_whole_volume(module, stacked):
    torch.manual_seed(0)
    with torch.no_grad():
        network, x = module().double().eval(), torch.randn(2, 2, 8, 8, dtype=torch.float64)
        expected = network(replicate(x, 8).contiguous())
        assert torch.allclose(run_deduplicated(network, x, 8, stacked), expected, atol=1e-11)


@FORMS
def test_what_has_no_rule_has_the_same_gradients(stacked):
    torch.manual_seed(0)
    assert_equal_to_the_plain_form(Unknown().double().eval(), torch.randn(2, 2, 8, 8, dtype=torch.float64), 8, stacked)


@FORMS
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("norm", [nn.InstanceNorm3d, nn.BatchNorm3d])
def test_nonlinearities_in_place_after_a_norm_train(norm, affine, stacked):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(2, 3, 3, 1, 1), norm(3, affine=affine), nn.LeakyReLU(inplace=True)).double()
    assert_equal_to_the_plain_form(network, torch.randn(2, 2, 8, 8, dtype=torch.float64), 4, stacked)


@FORMS
@pytest.mark.parametrize("norm", [nn.InstanceNorm3d, nn.BatchNorm3d])
def test_a_single_value_is_not_normalised(norm, stacked):
    network = nn.Sequential(nn.Conv3d(1, 2, (4, 1, 1), (4, 1, 1)), norm(2))
    for run in (lambda x: network(replicate(x, 4)), lambda x: run_deduplicated(network, x, 4, stacked)):
        with pytest.raises(ValueError, match="Expected more than 1"):
            run(torch.ones(1, 1, 1, 1))


@FORMS
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_of_any_pattern_of_slices(kernel, stride, transposed, stacked):
    """Against the 3D convolution of the whole volume; volumes of two parts with different equal slices."""
    generator = torch.Generator().manual_seed(0)
    first, second = (0, 1, 1, 1, 2, 1, 1), (0, 1, 2, 2, 2, 3, 4)
    parts = [torch.randn(2, c, n, 5, 4, dtype=torch.float64, generator=generator) for c, n in ((2, 3), (3, 5))]
    volume = DistinctVolume((parts[0], first), (parts[1], second), stacked=stacked)
    whole = torch.cat([parts[0][:, :, list(first)], parts[1][:, :, list(second)]], 1)
    assert torch.equal(volume.full(), whole)
    for padding in range(kernel):
        layer = (nn.ConvTranspose3d if transposed else nn.Conv3d)(5, 4, kernel, stride, padding).double()
        if 7 + 2 * padding < kernel or (transposed and stride < 2 and padding > 2):
            continue
        try:
            expected = layer(whole)
        except RuntimeError:  # the plane is too small for this kernel
            continue
        out = layer(volume)
        out = out.full() if isinstance(out, DistinctVolume) else out
        assert torch.allclose(out, expected, atol=1e-12)


def test_distinct_slices_of_a_lifted_image():
    constant = (0,) * 16
    down = convolution_pattern(constant, 3, 2, 1)
    assert down.index == (0, 1, 1, 1, 1, 1, 1, 1)
    assert down.terms == (((0, (1, 2)),), ((0, (0, 1, 2)),))
    up = transposed_pattern((0, 1), 3, 2, 1, 1)
    assert up.index == (0, 1, 2, 3)
    assert up.terms == (((0, (1,)),), ((0, (2,)), (1, (0,))), ((1, (1,)),), ((1, (2,)),))


# multiply-accumulates at 256 x 256, three channels in and one out: whole volume, each product once
MACS = {(5, 1): (642_760_704, 370_556_928), (5, 2): (901_988_352, 495_894_528),
        (8, 1): (642_707_712, 370_798_848), (8, 2): (901_543_680, 496_039_680)}  # fmt: skip


def macs(network, x, form):
    network.form = form
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("config", MACS, ids=str)
def test_multiply_accumulates(config):
    network = SLUNetSpec(*config).build(None, 3, 1, False).to("meta").eval()
    x = torch.empty(1, 3, 256, 256, device="meta")
    assert (macs(network, x, "plain"), macs(network, x, "distinct")) == MACS[config]


@needs_reference
@pytest.mark.parametrize("config", MACS, ids=str)
def test_multiply_accumulates_are_the_references(config):
    rows = json.loads((REFERENCE / "sl_counts.json").read_text())["table_II"]["rows"]
    (row,) = [r for r in rows if r["name"] == "SL-UNet {}L {}Res".format(*config)]
    counts = row["dedup_at_256"]
    assert (counts["full_true_macs"], counts["dedup_true_macs"]) == MACS[config]


@needs_reference
@FORMS
@pytest.mark.parametrize("net", ["a", "b", "c"])
def test_reference_output_gradients_and_distinct_slices(net, stacked):
    vectors = np.load(REFERENCE / "sl_dedup.npz")
    get = {k[2:]: vectors[k] for k in vectors.files if k.startswith(f"{net}.")}
    image = torch.from_numpy(get["image"]).double().requires_grad_()
    network = LevelUNet(
        3, image.shape[1], get["output"].shape[1], get["channels"].tolist(), get["strides"].tolist(),
        get["kernels"].tolist(), int(get["num_res_units"]),
    ).double().eval()  # fmt: skip
    network.load_state_dict({k[6:]: torch.from_numpy(v) for k, v in get.items() if k.startswith("state.")})
    indices = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, i, o, name=name: indices.update({name: o.merged()[1]}))
    out = run_deduplicated(network, image, int(get["depth"]), stacked)
    assert np.abs(out.detach().numpy() - get["output"]).max() < 1e-10
    (out * torch.from_numpy(get["probe"]).double()).sum().backward()
    found = {"image": image.grad, **{n: p.grad for n, p in network.named_parameters()}}
    expected = {"image": get["grad_image"], **{k[5:]: v for k, v in get.items() if k.startswith("grad.")}}
    assert set(found) == set(expected)
    for name, g in found.items():
        scale = max(np.abs(expected[name]).max(), 1e-3)
        assert np.abs(g.numpy() - expected[name]).max() < 1e-9 * scale, name
    for name, pattern in zip(get["layer_names"], get["layer_pattern"], strict=True):
        assert indices[str(name)] == tuple(i for i in pattern.tolist() if i >= 0), name


def saved_bytes(run, network, x):
    """Bytes that autograd keeps for the backward pass, parameters and input left out; each storage once."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = run()
    known = {t.untyped_storage().data_ptr() for t in [x, *network.parameters(), *network.buffers()]}
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    del output
    return sum(size for pointer, size in sizes.items() if pointer not in known)


def test_training_keeps_less_than_the_plain_form_and_than_the_2d_unet():
    x = torch.randn(1, 3, 128, 128)
    lifted = SLUNetSpec(5, 1).build(None, 3, 1, False).train()
    unet = MonaiUNetSpec(5, 1).build(None, 3, 1, False).train()
    kept = {}
    for lifted.form in ("plain", "stacked", "distinct"):
        kept[lifted.form] = saved_bytes(lambda: lifted(x), lifted, x)
    assert kept["stacked"] < 0.5 * kept["plain"]
    assert kept["distinct"] < 0.5 * kept["plain"]
    assert kept["stacked"] < saved_bytes(lambda: unet(x), unet, x)


def test_the_cpu_computes_the_stacked_form_and_training_follows_inference():
    """A table made under inference_mode (nnU-Net predicts in it) must not spoil the training after it."""
    network = SLUNetSpec(5, 1, depth=4, n_selected=2, width=3).build(None, 1, 2, False)
    x = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        network.eval()(x)
    network.train()(x).logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    found = {}
    for form in (None, "plain", "stacked", "distinct"):
        network.form = form
        with torch.no_grad():
            found[form] = network.slices(x)
    assert torch.equal(found[None], found["stacked"])
    for a, b in itertools.combinations(found.values(), 2):
        assert torch.allclose(a, b, atol=1e-4)


@FORMS
def test_mixed_precision(stacked):
    torch.manual_seed(0)
    network = SLUNetSpec(5, 2).build(None, 3, 2, False).train()
    x = torch.randn(2, 3, 64, 64)
    network.form = "stacked" if stacked else "distinct"
    found = {}
    for form in (network.form, "plain", None):
        network.form = form or "plain"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=form is not None):
            out = network(x).logits
            assert out.dtype == (torch.float32 if form is None else torch.bfloat16)
            gradients = torch.autograd.grad(out.float().square().mean(), list(network.parameters()))
        found[form] = torch.cat([out.detach().float().flatten(), *[100 * g.flatten() for g in gradients]])
    ours, plain, whole = found.values()
    # as far from single precision as the plain form in half precision is
    assert (ours - whole).norm() < 1.5 * (plain - whole).norm()
    assert (ours - whole).norm() < 0.1 * whole.norm()
