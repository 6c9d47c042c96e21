"""The authors' checkpoints: every tensor in its place, and no checkpoint where it would be read otherwise."""

import pytest
import torch
import torch.nn.functional as F
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from torch import nn

from nnunet_ext.architectures.encoders.pretrained import TimmEncoder
from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.architectures.published.msnet_weights import DENSE, MSNET, convert_checkpoint, from_authors
from nnunet_ext.weights import WeightsError

TINY = "test_resnet"
SU, BOX = MSNetSpec((1,), backbone=TINY), MSNetSpec(backbone=TINY)
MSU = MSNetSpec(filter="dense", backbone=TINY)
PAPER, EARLY = MSNetSpec((1,), aggregate="paper", backbone=TINY), MSNetSpec((1,), level1="activation", backbone=TINY)


def up(x, like):
    return F.interpolate(x, size=like.shape[2:], mode="bilinear")


class Theirs(nn.Module):
    """The published networks, written down step by step under the authors' names."""

    def __init__(self, filters):
        super().__init__()
        self.resnet = TimmEncoder(TINY, 3).model
        self.resnet.fc = nn.Linear(96, 10)
        channels = self.resnet.feature_info.channels()
        c = channels[0]

        def block(inputs=c):
            return nn.Sequential(nn.Conv2d(inputs, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU())

        for i in (5, 4, 3, 2):
            setattr(self, f"x{i}_dem_1", block(channels[i - 1]))
        for name in ("x5_x4", "x4_x3", "x3_x2", "x2_x1", "x5_x4_x3", "x4_x3_x2", "x3_x2_x1", "x5_x4_x3_x2"):
            setattr(self, name, block())
        for name in ("x5_dem_4", "x4_x3_x2_x1", "x5_x4_x3_x2_x1", "level3", "level2", "level1"):
            setattr(self, name, block())
        self.x5_dem_5 = block(channels[4])
        self.output4, self.output3, self.output2 = block(), block(), block()
        self.output1 = nn.Sequential(nn.Conv2d(c, 1, 3, padding=1))
        self.filters = filters
        for k in (3, 5) if filters else ():
            kept = nn.Module()
            kept.weight = nn.Parameter(torch.ones(c, c, k, k), requires_grad=False)
            kept.bias = nn.Parameter(torch.zeros(c), requires_grad=False)
            kept.norm = nn.BatchNorm2d(c)
            setattr(self, f"conv_{k}", kept)

    def difference(self, a, b):
        a = up(a, b)
        total = (a - b).abs()
        for k in (3, 5) if self.filters else ():
            f = getattr(self, f"conv_{k}")
            a_k, b_k = (F.relu(f.norm(F.conv2d(x, f.weight, f.bias, padding=k // 2))) for x in (a, b))
            total = total + (a_k - b_k).abs()
        return total

    def forward(self, image):
        x1, x2, x3, x4, x5 = self.features(image)
        d5, d4, d3, d2 = self.x5_dem_1(x5), self.x4_dem_1(x4), self.x3_dem_1(x3), self.x2_dem_1(x2)
        s54, s43 = self.x5_x4(self.difference(d5, d4)), self.x4_x3(self.difference(d4, d3))
        s32, s21 = self.x3_x2(self.difference(d3, d2)), self.x2_x1(self.difference(d2, x1))
        s543, s432 = self.x5_x4_x3(self.difference(s54, s43)), self.x4_x3_x2(self.difference(s43, s32))
        s321 = self.x3_x2_x1(self.difference(s32, s21))
        s5432 = self.x5_x4_x3_x2(self.difference(s543, s432))
        s4321 = self.x4_x3_x2_x1(self.difference(s432, s321))
        s54321 = self.x5_x4_x3_x2_x1(self.difference(self.x5_dem_4(s5432), s4321))
        level3, level2 = self.level3(s43 + s543), self.level2(s32 + s432 + s5432)
        level1 = self.level1(s21 + s321 + s4321 + s54321)
        o4 = self.output4(up(self.x5_dem_5(x5), s54) + s54)
        o3 = self.output3(up(o4, level3) + level3)
        o2 = self.output2(up(o3, level2) + level2)
        return up(self.output1(up(o2, level1) + level1), image)

    def features(self, image):
        maps = {}
        for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            image = maps[name] = self.resnet[name](image)
        # timm's tiny model has no stem pool of stride 2 before its first stage's map, the authors' model has
        return [F.max_pool2d(maps["act1"], 3, 2, 1), *(maps[f"layer{i}"] for i in (1, 2, 3, 4))]


def theirs(filters):
    """A network of the authors whose running statistics are not those of a new one."""
    torch.manual_seed(filters)
    network = Theirs(filters)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias)
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(2, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize("spec", [SU, MSU], ids=["msnet", "m2snet"])
def test_converted_weights_give_the_authors_output(spec):
    network = theirs(spec.filter == "dense")
    ours = spec.build(None, 3, 1, False).eval()
    ours.load_state_dict(from_authors(network.state_dict(), spec), strict=True)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(x)
        assert expected.std() > 1e-3
        assert torch.allclose(ours(x), expected, atol=1e-5 * expected.abs().max())


def test_the_prefix_of_several_gpus_goes_and_the_classifier_too():
    state = theirs(False).state_dict()
    expected = from_authors(state, SU)
    found = from_authors({f"module.{k}": v for k, v in state.items()}, SU)
    assert set(found) == set(expected) == set(SU.build(None, 3, 1, False).state_dict())
    assert all(torch.equal(found[k], expected[k]) for k in found)


def test_the_last_convolution_has_one_output_or_is_left_out():
    state = theirs(False).state_dict()
    network = SU.build(None, 3, 4, False)
    result = network.load_state_dict(from_authors(state, SU, outputs=4), strict=False)
    assert set(result.missing_keys) == {"head.seg_layers.0.weight", "head.seg_layers.0.bias"}
    assert not result.unexpected_keys
    assert torch.equal(from_authors(state, SU)["head.seg_layers.0.bias"], state["output1.0.bias"])


def test_nnunets_pretrained_weights_take_a_converted_file(tmp_path):
    network, ours = theirs(True), MSU.build(None, 3, 3, False)
    torch.save(network.state_dict(), tmp_path / "model-50.pth")
    torch.save(convert_checkpoint(tmp_path / "model-50.pth", MSU), tmp_path / "converted.pth")
    last = ours.head.seg_layers[0].weight.clone()
    load_pretrained_weights(ours, tmp_path / "converted.pth")
    assert torch.equal(ours.subtraction.units.filters[1].norm.running_mean, network.conv_5.norm.running_mean)
    assert torch.equal(ours.encoder.model.layer4[0].conv1.weight, network.resnet.layer4[0].conv1.weight)
    assert torch.equal(ours.head.seg_layers[0].weight, last)
    with pytest.raises(AssertionError, match="is missing in the pretrained model weights"):
        load_pretrained_weights(BOX.build(None, 3, 3, False), tmp_path / "converted.pth")


@pytest.mark.parametrize(
    ("filters", "spec", "message"),
    [
        (True, SU, rf"dense filters.*Type: -tr {DENSE}"),
        (True, BOX, rf"dense filters.*Type: -tr {DENSE}"),
        (False, MSU, rf"of MSNet, not of M2SNet\. Type: -tr {MSNET}$"),
        (False, BOX, rf"of MSNet, not of M2SNet\. Type: -tr {MSNET}$"),
        (False, PAPER, rf"aggregate='paper'.*Type: -tr {MSNET}"),
        (True, EARLY, rf"level1='activation'.*Type: -tr {DENSE}"),
        (False, MSNetSpec((1,)), r"on res2net50d \(.*tensors missing, e\.g\. .*tensors of another shape"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(filters, spec, message):
    with pytest.raises(WeightsError, match=message):
        from_authors(theirs(filters).state_dict(), spec)


def test_missing_and_unknown_tensors_are_named():
    state = theirs(False).state_dict()
    del state["x4_x3.0.bias"]
    with pytest.raises(WeightsError, match=r"1 tensors missing, e\.g\. subtraction\.units\.n2_i3\.block\.0\.bias\)"):
        from_authors(state, SU)
    with pytest.raises(WeightsError, match=r"1 tensors unknown, e\.g\. x9\.0\.bias\)"):
        from_authors({**theirs(False).state_dict(), "x9.0.bias": torch.zeros(1)}, SU)


def test_filters_that_are_not_ones_are_refused():
    state = theirs(True).state_dict()
    state["conv_3.weight"] = state["conv_3.weight"] / 9
    with pytest.raises(WeightsError, match=r"conv_3\.weight is not 1 throughout"):
        from_authors(state, MSU)
    saved_on_a_gpu = {k: v for k, v in theirs(True).state_dict().items() if not k.endswith(("_3.bias", "_5.bias"))}
    del saved_on_a_gpu["conv_3.weight"], saved_on_a_gpu["conv_5.weight"]
    assert set(from_authors(saved_on_a_gpu, MSU)) == set(MSU.build(None, 3, 1, False).state_dict())
