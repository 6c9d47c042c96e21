"""SL-UNet: Table II exactly, MONAI's weights and outputs, padding, fusing."""

import json

import numpy as np
import pytest
import torch
from monai.networks.nets.unet import UNet
from support import REFERENCE

from nnunet_ext.architectures.complexity import count_macs, count_parameters, count_thop_macs
from nnunet_ext.architectures.lifting.replicate import replicate
from nnunet_ext.architectures.lifting.slice_selection import SliceSelection, lowest_slices
from nnunet_ext.architectures.padding import pad_to_multiple
from nnunet_ext.architectures.published.level_unet import LevelUNet
from nnunet_ext.architectures.published.slunet import MonaiUNetSpec, SLUNetSpec

# Table II of the paper at 512 x 512 and depth 16, one output: parameters, MACs as the paper counts, true MACs
TABLE_II = [
    (MonaiUNetSpec(5, 1), 3_352_215, 13_724_549_120, 7_233_339_392),
    (MonaiUNetSpec(5, 2), 6_495_868, 18_569_756_672, 12_065_177_600),
    (MonaiUNetSpec(8, 1), 33_012_384, 17_479_974_912, 8_948_809_728),
    (MonaiUNetSpec(8, 2), 43_235_464, 20_738_703_360, 12_195_201_024),
    (SLUNetSpec(5, 1), 29_537, 6_020_579_328, 2_571_042_816),
    (SLUNetSpec(5, 2), 38_222, 7_071_891_456, 3_607_953_408),
    (SLUNetSpec(8, 1), 37_130, 6_021_576_960, 2_570_830_848),
    (SLUNetSpec(8, 2), 46_418, 7_071_306_240, 3_606_174_720),
]


@pytest.mark.parametrize(("spec", "parameters", "thop", "true"), TABLE_II, ids=lambda v: str(v)[:40])
def test_table_ii(spec, parameters, thop, true):
    network = spec.build(None, 3, 1, False)
    assert count_parameters(network) == parameters
    assert count_thop_macs(network, (3, 512, 512)) == thop
    assert count_macs(network, (3, 512, 512)) == true


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
@pytest.mark.parametrize(("levels", "res_units"), [(5, 1), (5, 2), (8, 1), (8, 2)])
def test_every_convolution_is_the_recovered_one(levels, res_units):
    rows = json.loads((REFERENCE / "sl_counts.json").read_text())["table_II"]["rows"]
    (row,) = [r for r in rows if r["name"] == f"SL-UNet {levels}L {res_units}Res"]
    network = SLUNetSpec(levels, res_units).build(None, 3, 1, False).network
    convolutions = {
        name: (list(m.kernel_size), list(m.stride), count_parameters(m))
        for name, m in network.named_modules()
        if isinstance(m, torch.nn.Conv3d | torch.nn.ConvTranspose3d)
    }
    assert convolutions == {c["name"]: (c["kernel"], c["stride"], c["params"]) for c in row["conv_layers"]}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
@pytest.mark.parametrize("net", ["a", "b", "c"])
def test_lifted_network_gives_the_reference_output_and_gradients(net):
    vectors = np.load(REFERENCE / "sl_dedup.npz")

    def get(key):
        return vectors[f"{net}.{key}"]

    image = torch.from_numpy(get("image")).double().requires_grad_()
    channels = get("channels").tolist()
    network = LevelUNet(
        3, image.shape[1], get("output").shape[1], channels, get("strides").tolist(),
        [(int(k),) * 3 if np.ndim(k) == 0 else tuple(k) for k in get("kernels").tolist()], int(get("num_res_units")),
    ).double()  # fmt: skip
    prefix = f"{net}.state."
    state = {k.removeprefix(prefix): torch.from_numpy(vectors[k]) for k in vectors.files if k.startswith(prefix)}
    network.load_state_dict(state, strict=True)
    output = network.eval()(replicate(image, int(get("depth"))))
    assert np.abs(output.detach().numpy() - get("output")).max() < 1e-10
    (output * torch.from_numpy(get("probe")).double()).sum().backward()
    gradient = get("grad_image")
    assert np.abs(image.grad.numpy() - gradient).max() < 1e-6 * np.abs(gradient).max()


def test_level_unet_is_monais_where_monai_can_build_it():
    arguments = {"num_res_units": 2, "in_channels": 2, "out_channels": 3}
    monai = UNet(spatial_dims=3, channels=(4, 8, 16), strides=(2, 2), **arguments)
    ours = LevelUNet(spatial_dims=3, channels=(4, 8, 16), strides=[(2, 2, 2)] * 2, kernels=[(3, 3, 3)] * 3, **arguments)
    ours.load_state_dict(monai.state_dict(), strict=True)
    x = torch.randn(2, 2, 8, 12, 16)
    assert torch.equal(ours(x), monai(x))


def test_level_unet_refuses_lengths_that_do_not_fit():
    with pytest.raises(ValueError, match="3 levels need 2 strides and 3 kernels, got 1 and 3"):
        LevelUNet(2, 1, 1, (4, 4, 4), [(2, 2)], [(3, 3)] * 3, 1)


@pytest.mark.parametrize("depth", [0, 1, 12, 17])
def test_depth_has_to_be_halved(depth):
    with pytest.raises(ValueError, match=f"depth={depth} cannot be halved"):
        SLUNetSpec(depth=depth)


@pytest.mark.parametrize("size", [(16, 16), (37, 50), (128, 64), (1, 300)])
@pytest.mark.parametrize("spec", [SLUNetSpec(5, 1), SLUNetSpec(8, 1), MonaiUNetSpec(5, 1)], ids=str)
def test_any_size_goes_in_and_comes_out(spec, size):
    network = spec.build(None, 1, 2, False).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, *size)).shape == (1, 2, *size)


def test_one_image_alone_gives_what_it_gives_in_a_batch():
    network = SLUNetSpec(5, 1).build(None, 3, 2, False).eval()
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(x[:1]), network(x)[:1], atol=1e-5)


def test_padding_repeats_the_border_on_both_sides():
    x = torch.arange(1.0, 4).view(1, 1, 1, 3)
    padded, (rows, columns) = pad_to_multiple(x, (1, 4), (1, 8))
    assert padded.flatten().tolist() == [1, 1, 1, 2, 3, 3, 3, 3]
    assert torch.equal(padded[..., rows, columns], x)
    assert pad_to_multiple(x, (1, 3), (1, 1))[0] is x


# ---------------------------------------------------------------------------------------------- selection


def test_selection_takes_the_lowest_ties_to_the_lower_index():
    losses = torch.tensor([0.5, 0.2, 0.2, 0.9, 0.1])
    assert lowest_slices(losses, 3).tolist() == [4, 1, 2]


def test_selection_survives_slices_without_a_loss():
    selection = SliceSelection(4, 2)
    assert selection.selected.tolist() == [1, 2]  # before any epoch: the middle
    selection.update(torch.full((4,), float("nan")))
    assert selection.selected.tolist() == [1, 2]
    selection.update(torch.tensor([float("nan"), 3.0, 1.0, float("inf")]))
    assert selection.selected.tolist() == [2, 1]


@pytest.mark.parametrize("n", [0, 17])
def test_selection_has_to_fit(n):
    with pytest.raises(ValueError, match=f"n_selected={n}.*1 to 16"):
        SliceSelection(16, n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_fused_logits_give_the_mean_probability_back(sigmoid, dtype):
    torch.manual_seed(0)
    selection = SliceSelection(8, 3)
    selection.set_sigmoid(sigmoid)
    selection.update(torch.rand(8))
    z = (10 * torch.randn(2, 3, 8, 4, 5)).to(dtype)
    kept = z.double()[:, :, selection.selected]
    mean = (torch.sigmoid(kept) if sigmoid else torch.softmax(kept, 1)).mean(2)
    fused = selection(z)
    assert fused.dtype == torch.float32
    back = torch.sigmoid(fused) if sigmoid else torch.softmax(fused, 1)
    assert torch.allclose(back.double(), mean, atol=1e-6)


def test_fused_logits_stay_finite_at_extremes():
    z = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1, 1).expand(1, 2, 4, 1, 1)
    for sigmoid in (False, True):
        selection = SliceSelection(4, 2)
        selection.set_sigmoid(sigmoid)
        assert selection(z).abs().max() <= 87


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference vectors are not here")
def test_fusing_agrees_with_the_reference():
    v = np.load(REFERENCE / "sl_slices.npz")
    for case, key in (("b", "selected_structure"), ("m", "selected_ce")):
        selection = SliceSelection(int(v["depth"]), int(v["n_selected"]))
        selection.selected.copy_(torch.from_numpy(v[f"{case}.{key}"]))
        selection.set_sigmoid(case == "b")
        fused = selection(torch.from_numpy(v[f"{case}.logits"])).numpy()
        expected = v["b.logit_of_mean" if case == "b" else "m.log_of_mean"]
        assert np.allclose(fused, expected, rtol=1e-4, atol=1e-5)
        labels = fused > 0 if case == "b" else fused.argmax(1)
        assert np.array_equal(labels, v[f"{case}.label"].astype(labels.dtype).reshape(labels.shape))
