"""Encoders of segmentation_models_pytorch with IFE: all its networks take them; weights, saved models, names, page."""

import json
import re

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import encoders, get_encoder, get_preprocessing_params
from support import ROOT
from torch import nn

from nnunet_ext.architectures.encoders.smp_encoders import ife_encoder, register_ife_encoders

PAGE = (ROOT / "docs/how_to/ife_in_segmentation_models_pytorch.md").read_text(encoding="utf-8")
NETWORKS = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet",
            "Segformer"]  # fmt: skip
K2, K3 = 48, 64  # 0.75 of 64 channels and 0.5 of 128
MORE = {  # parameters that read the selected channels of resnet18, from the layers' shapes; not of all networks
    "Unet": K3 * 128 * 9 + K2 * 64 * 9,  # 3 x 3 convolutions behind the skips
    "FPN": (K2 + K3) * 256,  # 1 x 1
    "PSPNet": 4 * (192 * 48 - 128 * 32) + 2 * K3 * 512 + 7 * 16,  # four pools, 1 x 1 over all, norms and a bias
    "DeepLabV3": 0,
    "DeepLabV3Plus": K2 * 48,
    "PAN": (K2 + K3) * 32 * 9,
    "UPerNet": (K2 + K3) * (256 + 2),  # 1 x 1, norms
    "Segformer": (K2 + K3) * 256,
}


@pytest.fixture(autouse=True)
def smps_own_table():
    before = dict(encoders)
    yield
    encoders.clear()
    encoders.update(before)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """What stands for the hub: files that are served by their names, and the repositories that were asked for."""
    asked = []

    def download(repo_id, filename, revision):
        asked.append((repo_id, revision))
        return str(tmp_path / filename)

    monkeypatch.setattr(smp.encoders, "hf_hub_download", download)
    tmp_path.joinpath("config.json").write_text(json.dumps({"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}))
    return tmp_path, asked


def network(kind, name, **arguments):
    return getattr(smp, kind)(name, encoder_weights=None, classes=2, **arguments)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def image(size=64, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def runs(made, size):
    """Let a network without weights (that takes long to make) run on zeros."""
    made = made.to_empty(device="cpu").eval()
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            tensor.zero_()
        return made(torch.zeros(1, 3, size, size)).shape == (1, 2, size, size)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_takes_them(kind):
    with torch.device("meta"):
        made = {base: network(kind, ife_encoder(base)) for base in ("resnet18", "tu-resnet18", "tu-convnext_atto")}
        plain = network(kind, "resnet18")
    assert all(runs(m, 256 if kind == "PAN" else 64) for m in made.values())
    more = parameters(made["resnet18"]) - parameters(plain)
    assert more == MORE.get(kind, more)
    (said,) = re.findall(rf"^\| `{kind}` \|.*\| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert f"{more:,}" == said
    assert (more > 0) == (kind != "DeepLabV3")


@pytest.mark.parametrize(
    ("kind", "base"), [("Unet", "tu-test_resnet"), ("Segformer", "tu-test_convnext"), ("Linknet", "mit_b0")]
)
def test_gradients_reach_all(kind, base):
    made = network(kind, ife_encoder(base))
    made(image()).square().mean().backward()
    assert [n for n, p in made.named_parameters() if p.grad is None] == []
    assert parameters(made.encoder) == parameters(get_encoder(base))


def curvature(x):
    """Equation (1) as a convolution, image by image and channel by channel."""
    kernel = torch.tensor([[-1.0, 5, -1], [5, -16, 5], [-1, 5, -1]]).view(1, 1, 3, 3) / 16
    return torch.stack([torch.stack([nn.functional.conv2d(c[None, None], kernel).abs().sum() for c in i]) for i in x])


@pytest.mark.parametrize("base", ["resnet18", "tu-test_convnext"])
def test_selected_channels_stand_behind_the_bases_own(base):
    made, plain = get_encoder(ife_encoder(base, stages=(2, 3), ratios=(0.75, 0.5))).eval(), get_encoder(base).eval()
    made.load_state_dict(plain.state_dict())
    x = image(96)
    with torch.no_grad():
        found, raw = made(x), plain(x)
    assert [f.shape[1] for f in found] == list(made.out_channels)
    assert made.output_stride == plain.output_stride == 32
    for i, (f, r) in enumerate(zip(found, raw, strict=True)):
        assert torch.equal(f[:, : r.shape[1]], r)
        ratio = {2: 0.75, 3: 0.5}.get(i, 0)
        order = curvature(r).argsort(1, descending=True)[:, : int(ratio * r.shape[1])] if ratio else ()
        assert f.shape[1] == r.shape[1] + (len(order[0]) if ratio else 0)
        for image_found, image_raw, chosen in zip(f, r, order, strict=False):
            assert torch.equal(image_found[r.shape[1] :], image_raw[chosen])


@pytest.mark.parametrize("base", ["resnet18", "tu-test_resnet"])
@pytest.mark.parametrize(("depth", "stride"), [(3, 32), (5, 16), (5, 8), (4, 16)])
def test_depth_stride_and_channels_are_smps(base, depth, stride):
    arguments = {"depth": depth, "output_stride": stride, "in_channels": 5}
    made, plain = (get_encoder(n, **arguments).eval() for n in (ife_encoder(base), base))
    assert [f.shape[2:] for f in made(image(channels=5))] == [f.shape[2:] for f in plain(image(channels=5))]
    assert made.out_channels[0] == 5
    assert made.out_channels[4:] == list(plain.out_channels[4:])
    assert made.output_stride == plain.output_stride


def test_a_depth_without_the_stages():
    with pytest.raises(ValueError, match=r"encoder_depth=2: resnet18 then has features 1 to 2.*Give encoder_depth=3"):
        get_encoder(ife_encoder("resnet18"), depth=2)


def test_the_last_feature_may_be_enhanced():
    made = network("DeepLabV3", ife_encoder("tu-test_resnet", stages=(5,), ratios=0.5)).eval()
    plain = get_encoder("tu-test_resnet").out_channels
    assert made.encoder.out_channels == [*plain[:5], plain[5] * 3 // 2]
    assert made(image()).shape == (2, 2, 64, 64)


def test_compiles_without_a_break():
    made = get_encoder(ife_encoder("tu-test_resnet")).eval()
    compiled = torch.compile(made, backend="eager", fullgraph=True)
    assert all(torch.equal(a, b) for a, b in zip(compiled(image()), made(image()), strict=True))


def test_weights_of_smp(hub):
    folder, asked = hub
    trained = get_encoder("resnet18").eval()
    with torch.no_grad():
        trained.train()(image())  # statistics unlike those of a new one
    save_file({**trained.state_dict(), "fc.weight": torch.zeros(9)}, folder / "model.safetensors")
    made = smp.Unet(ife_encoder("resnet18"), encoder_weights="imagenet").encoder.eval()
    with torch.no_grad():
        assert torch.equal(made(image())[5], trained.eval()(image())[5])
    settings = encoders["resnet18"]["pretrained_settings"]["imagenet"]
    assert set(asked) == {(settings["repo_id"], settings["revision"])}
    assert get_preprocessing_params("ife-resnet18")["mean"] == [0.1, 0.2, 0.3]
    gray = get_encoder("ife-resnet18", in_channels=1, weights="imagenet")
    assert torch.allclose(gray.base.conv1.weight, trained.conv1.weight.sum(1, keepdim=True))


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext"])
def test_weights_of_timm(hub, model):
    """The file of the whole classifier, as timm publishes it."""
    folder, asked = hub
    classifier = timm.create_model(model)
    with torch.no_grad():
        classifier.train()(image())
        save_file(classifier.state_dict(), folder / "model.safetensors")
        expected = classifier.eval().forward_intermediates(image(), intermediates_only=True)[-1]
        name = ife_encoder(f"tu-{model}")
        assert torch.equal(get_encoder(name, weights=True).eval()(image())[-1], expected)
        gray = get_encoder(name, weights=True, in_channels=1).eval()
    assert torch.equal(next(gray.parameters()), next(classifier.parameters()).sum(1, keepdim=True))
    assert {repository for repository, _ in asked} == {timm.models.get_pretrained_cfg(model).hf_hub_id}


def test_unknown_weights_are_smps_error():
    with pytest.raises(KeyError, match=r"Wrong pretrained weights `nonsense` for encoder `ife-resnet18`.*'ssl'"):
        smp.Unet(ife_encoder("resnet18"), encoder_weights="nonsense")


@pytest.mark.parametrize("score", ["curvature", "random"])
def test_saved_and_loaded(tmp_path, score):
    ife_encoder("tu-test_resnet", score, ratios=0.5)
    made = network("Unet", "ife-tu-test_resnet").eval()
    made.save_pretrained(tmp_path)
    again = smp.from_pretrained(tmp_path).eval()
    assert torch.equal(again(image()), made(image()))
    again.load_state_dict(made.state_dict(), strict=True)


def test_loads_into_no_other_options(tmp_path):
    """Of equal widths, so that nothing else would tell."""
    network("FPN", ife_encoder("tu-test_resnet", "entropy", ratios=0.5)).save_pretrained(tmp_path)
    del encoders["ife-tu-test_resnet"]
    ife_encoder("tu-test_resnet", "curvature", ratios=0.5)
    call = r"ife_encoder\('tu-test_resnet', score='entropy', stages=\(2, 3\), ratios=\(0.5, 0.5\)\)"
    for strict in (True, False):
        with pytest.raises(ValueError, match=f"saved encoder has .*score='entropy'.*registered with .*{call}"):
            smp.from_pretrained(tmp_path, strict=strict)


def test_frozen_by_smp():
    made = network("Unet", ife_encoder("tu-test_resnet"))
    made.freeze_encoder()
    assert not any(p.requires_grad for p in made.encoder.parameters())


def test_all_of_smps_table():
    own = list(encoders)
    names = register_ife_encoders("entropy")
    assert names == [f"ife-{name}" for name in own]
    assert encoders["ife-resnet34"]["params"]["ratios"] == (0.5, 0.5)
    assert register_ife_encoders("entropy") == names
    with pytest.raises(ValueError, match="'ife-resnet18' is registered with score='entropy'"):
        register_ife_encoders("curvature", ratios=0.5)
    assert register_ife_encoders("curvature", prefix="bent") == [f"bent-{name}" for name in own]
    assert len(encoders) == 3 * len(own)


def test_none_of_all_if_one_is_taken():
    ife_encoder("mit_b5", ratios=1)
    before = set(encoders)
    with pytest.raises(ValueError, match="'ife-mit_b5' is registered with ratios"):
        register_ife_encoders()
    assert set(encoders) == before


def test_timms_arguments_reach_timm():
    name = ife_encoder("tu-test_resnet", timm_arguments={"channels": (8, 16, 24, 32)})
    selected = [0, 0, 3 * 8 // 4, 16 // 2, 0, 0]
    plain = timm.create_model("test_resnet", features_only=True, channels=(8, 16, 24, 32)).feature_info.channels()
    assert get_encoder(name).out_channels == [c + k for c, k in zip([3, *plain], selected, strict=True)]


def test_a_name_that_begins_with_vgg_has_smps_center_block():
    with torch.device("meta"):
        plain, ours, named = (
            network("Unet", name) for name in ("vgg11", ife_encoder("vgg11"), ife_encoder("vgg11", name="vgg11-ife"))
        )
    assert parameters(named) - parameters(ours) == parameters(plain.decoder.center) > 0


def test_dpt_refuses_them():
    with pytest.raises(ValueError, match=r"must start with 'tu-', got ife-tu-test_vit"):
        smp.DPT(ife_encoder("tu-test_vit"), encoder_weights=None)


BAD = [
    (("resnet43",), {}, "'resnet43' is not an encoder of smp: did you mean resnet34"),
    (("tu-convnext_ato",), {}, "did you mean tu-convnext_atto"),
    (("timm-res2net50_26w_4s",), {}, "did you mean tu-res2net50_26w_4s"),
    (("resnet18", "curvatur"), {}, "score='curvatur': choose of curvature, entropy"),
    (("resnet18",), {"ratios": 1.5}, "ratio=1.5: the share of channels to select is 0 to 1"),
    (("resnet18",), {"ratios": (0.5, -0.1)}, "ratio=-0.1"),
    (("resnet18",), {"ratios": (0.5,)}, r"ratios=\(0.5,\) for stages=\(2, 3\): give one for each stage"),
    (("resnet18",), {"stages": (3,)}, r"ratios=\(0.75, 0.5\) for stages=\(3,\)"),
    (("resnet18",), {"stages": (0, 2)}, r"stages=\(0, 2\): name some of smp's features 1 to 5"),
    (("resnet18",), {"stages": (2, 6)}, r"stages=\(2, 6\)"),
    (("resnet18",), {"stages": (2, 2)}, "each once"),
    (("resnet18",), {"stages": ()}, r"stages=\(\)"),
    (("resnet18",), {"name": "resnet34"}, "name='resnet34' is smp's own encoder. Choose another, e.g. ife-resnet34"),
    (("resnet18",), {"name": "tu-resnet18"}, "smp looks names that begin with tu- or timm- up in timm"),
    (("resnet18",), {"timm_arguments": {"img_size": 64}}, "resnet18 is not of timm"),
]


@pytest.mark.parametrize(("given", "options", "message"), BAD, ids=[m[:30] for _, _, m in BAD])
def test_refused(given, options, message):
    before = set(encoders)
    with pytest.raises(ValueError, match=message):
        ife_encoder(*given, **options)
    assert set(encoders) == before


def test_the_same_name_with_other_options():
    assert ife_encoder("resnet18") == ife_encoder("resnet18", "curvature", stages=[2, 3]) == "ife-resnet18"
    with pytest.raises(ValueError, match=r"with stages=\(2, 3\), now with stages=\(1, 2\).*e.g. ife-resnet18-2"):
        ife_encoder("resnet18", stages=(1, 2))
    assert ife_encoder("resnet18", stages=(1, 2), name="ife-resnet18-2") == "ife-resnet18-2"
    with pytest.raises(ValueError, match="'ife-resnet18' is not an encoder of smp: did you mean resnet18"):
        ife_encoder("ife-resnet18")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), ids=["train", "register"])
def test_the_pages_examples_run(block):
    names: dict = {}
    exec(compile(block, "ife_in_segmentation_models_pytorch.md", "exec"), names)
    if "network" in names:
        assert names["loss"].isfinite()
        assert names["name"] == "ife-resnet34"
    else:
        assert {"ife-tu-convnext_atto", "ife-random-resnet34", "ife-entropy-resnet18"} <= set(encoders)
