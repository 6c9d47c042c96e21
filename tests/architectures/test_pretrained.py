"""timm encoders: shapes, weights from files and from timm, input channels, files that do not fit."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import _builder

from nnunet_ext.architectures.encoders.pretrained import TimmEncoder, load_pretrained
from nnunet_ext.weights import FOLDER, WeightsError

TINY, INSTEAD = "test_resnet", "-tr Something_scratch"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def whole(name=TINY, seed=1):
    """A classifier of timm whose running statistics are not those of a new one."""
    torch.manual_seed(seed)
    model = timm.create_model(name)
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 64, 64))
    return model.eval()


def encoder(channels=3, **arguments):
    torch.manual_seed(0)
    return TimmEncoder(TINY, channels, **arguments).eval()


def save(model, path):
    state = model if isinstance(model, dict) else model.state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


def test_maps_are_as_published():
    network = encoder()
    maps = network(torch.randn(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == network.out_channels == [32, 32, 48, 192, 96]
    assert [[64 // m.shape[2], 96 // m.shape[3]] for m in maps] == network.strides
    some = encoder(out_indices=(1, 3))
    assert (some.out_channels, some.strides) == ([32, 192], [[4, 4], [16, 16]])
    assert len(some(torch.randn(1, 3, 64, 64))) == 2


@pytest.mark.parametrize("file", [f"{TINY}.pth", f"{TINY}-1a2b3c.pt", f"{TINY}.r160_in1k.safetensors"])
def test_a_file_of_the_user_gives_the_classifiers_features(folder, file):
    model, network = whole(), encoder()
    save(model, folder / file)
    assert load_pretrained(network, INSTEAD) == f"{TINY} from {folder / file}"
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(x)[-1], model.forward_features(x))
    for key, value in network.model.state_dict().items():  # running statistics too
        assert torch.equal(value, model.state_dict()[key]), key


def test_weights_are_copied_into_the_tensors_that_an_optimiser_holds(folder):
    save(whole(), folder / f"{TINY}.pth")
    network = encoder().train()
    held = list(network.parameters()) + list(network.buffers())
    before = [t.clone() for t in held]
    torch.manual_seed(5)
    load_pretrained(network, INSTEAD)
    assert all(a is b for a, b in zip(held, [*network.parameters(), *network.buffers()], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(held, before, strict=True))
    assert all(p.requires_grad for p in network.parameters())
    assert network.training


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_input_channels_adapt_the_first_convolution(folder, channels):
    model, network = whole(), encoder(channels)
    save(model, folder / f"{TINY}.pth")
    assert load_pretrained(network, INSTEAD).endswith(f", adapted from 3 to {channels} input channels")
    colour, ours = model.conv1[0].weight, network.model.conv1[0].weight
    turns = [i % 3 for i in range(channels)]
    expected = colour.sum(1, keepdim=True) if channels == 1 else colour[:, turns] * (3 / channels)
    assert torch.allclose(ours, expected)
    assert torch.equal(network.model.layer4[0].conv1.weight, model.layer4[0].conv1.weight)
    if channels == 1:  # a grey image gives what the same image in three equal colours gives
        x = torch.randn(1, 1, 64, 64)
        with torch.no_grad():
            assert torch.allclose(network(x)[-1], model.forward_features(x.expand(-1, 3, -1, -1)), atol=1e-4)


def test_the_published_backbones_file_of_the_authors_layout(folder):
    """Res2Net's own `res2net50_v1b_26w_4s`: timm's names, the classifier included."""
    model = timm.create_model("res2net50d")
    network = TimmEncoder("res2net50d", 3)
    save(model, folder / "res2net50d-v1b_26w_4s.pth")
    load_pretrained(network, INSTEAD)
    state = model.state_dict()
    assert set(state) - set(network.model.state_dict()) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(v, state[k]) for k, v in network.model.state_dict().items())


def test_a_file_of_another_model_is_refused(folder):
    with torch.device("meta"):
        shapes = timm.create_model("res2net50_26w_4s").state_dict()
    save({k: torch.zeros(()).expand(v.shape) for k, v in shapes.items()}, folder / "res2net50d.pth")
    with torch.device("meta"):
        network = TimmEncoder("res2net50d", 3)
    with pytest.raises(WeightsError) as error:
        load_pretrained(network, INSTEAD)
    message = str(error.value)
    assert "does not hold timm's res2net50d" in message
    assert "tensors missing, e.g. conv1.0.weight" in message
    assert "1 tensors unknown, e.g. conv1.weight" in message
    assert message.endswith(INSTEAD)
    assert len(message) < 1000  # torch lists every tensor


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("layer3.0.bn2.running_var"), r"1 tensors missing, e\.g\. layer3\.0\.bn2\.running_var\)"),
        (lambda s: s.update(more=torch.zeros(1)), r"1 tensors unknown, e\.g\. more\)"),
        (
            lambda s: s.update({"conv1.0.weight": torch.zeros(24, 1, 3, 3)}),
            r"1 tensors of another shape, e\.g\. conv1\.0\.weight\)",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_refused_and_nothing_is_loaded(folder, change, told):
    state = dict(whole().state_dict())
    change(state)
    save(state, folder / f"{TINY}.pth")
    network = encoder()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(WeightsError, match=told):
        load_pretrained(network, INSTEAD)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_timm_downloads_where_there_is_no_file(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    model, network, asked = whole(), encoder(1), []

    def download(name, *_, **__):
        asked.append(name)
        return dict(model.state_dict())

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", download)
    assert load_pretrained(network, INSTEAD).startswith(f"{TINY} from timm {timm.__version__}, adapted")
    assert asked == ["timm/test_resnet.r160_in1k"]
    assert torch.equal(network.model.layer4[0].conv1.weight, model.layer4[0].conv1.weight)
    assert torch.allclose(network.model.conv1[0].weight, model.conv1[0].weight.sum(1, keepdim=True))


def test_an_unreachable_hub_is_an_error_that_says_what_to_type(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", fail)
    network = encoder()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"from timm \(OSError: no route to host\).*{FOLDER}.*{INSTEAD}$"):
        load_pretrained(network, INSTEAD)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_building_loads_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(_builder, "load_pretrained", lambda *_, **__: asked.append(1))
    encoder()
    assert not asked
