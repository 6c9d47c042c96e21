"""DeepLabV3+ of the IFE paper: timm's ImageNet weights in its encoder, its pyramid's rates, how logits are enlarged."""

import ast
import copy
import inspect
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from lively import lively
from scipy import ndimage
from timm.models import _builder
from torch import nn

from nnunet_ext.architectures.encoders.pretrained import load_pretrained
from nnunet_ext.architectures.published import deeplabv3plus
from nnunet_ext.architectures.published.deeplabv3plus import DeepLabV3PlusSpec
from nnunet_ext.weights import FOLDER, WeightsError

SMALL = DeepLabV3PlusSpec(encoder="resnet18", width=8)
NAME, INSTEAD = "resnet18.tv_in1k", "-tr Something_scratch"


def build(channels=3, spec=SMALL):
    torch.manual_seed(0)
    return spec.build(None, channels, 2, False)


@pytest.fixture(scope="module")
def classifier():
    """timm's model whose running statistics are not those of a new one."""
    return trained(NAME)


def trained(name):
    torch.manual_seed(1)
    model = timm.create_model(name)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


def stages(model, x):
    """timm's maps up to stride 16; of the last stage strides differ."""
    x = model.act1(model.bn1(model.conv1(x)))
    found = [x]
    x = model.maxpool(x)
    for layer in (model.layer1, model.layer2, model.layer3):
        x = layer(x)
        found.append(x)
    return found


@pytest.mark.parametrize("encoder", ["resnet18", pytest.param("resnet101", marks=pytest.mark.slow)])
@pytest.mark.parametrize("channels", [3, 1])
def test_with_timms_weights_the_encoder_gives_timms_maps(classifier, encoder, channels):
    model = classifier if encoder == "resnet18" else trained(f"{encoder}.tv_in1k")
    network = build(channels, replace(SMALL, encoder=encoder)).eval()
    network.take(model.state_dict())
    x = torch.randn(2, channels, 64, 96)
    with torch.no_grad():
        ours, theirs = network.encoder(x)[1:-1], stages(model, x.expand(-1, 3, -1, -1))
    assert len(ours) == len(theirs) == 4
    for a, b in zip(ours, theirs, strict=True):
        assert b.std() > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def test_every_tensor_of_timms_resnet101_but_the_classifiers_is_taken():
    with torch.device("meta"):
        network = DeepLabV3PlusSpec().build(None, 3, 1, False)
        theirs = timm.create_model("resnet101.tv_in1k").state_dict()
    assert network.name == "resnet101.tv_in1k"
    assert (network.mean, network.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    own = {k.removeprefix("encoder."): v.shape for k, v in network.state_dict().items() if k.startswith("encoder.")}
    assert own == {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")}
    network.take(theirs)


@pytest.mark.parametrize("file", [f"{NAME}.pth", f"{NAME}-5c106cde.safetensors"])
def test_a_file_of_the_user_gives_weights_into_the_tensors_that_an_optimiser_holds(
    classifier, file, tmp_path, monkeypatch
):
    from safetensors.torch import save_file

    state = classifier.state_dict()
    save_file(state, tmp_path / file) if file.endswith("safetensors") else torch.save(state, tmp_path / file)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    network = build(4)
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    rest = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith("encoder.")}
    told = load_pretrained(network, INSTEAD)
    assert told == f"{NAME} from {tmp_path / file}, adapted from 3 to 4 input channels"
    assert all(t is held[k] for k, t in [*network.named_parameters(), *network.named_buffers()])
    turns = state["conv1.weight"][:, [0, 1, 2, 0]] * (3 / 4)
    assert torch.allclose(network.encoder.conv1.weight, turns)
    assert torch.equal(network.encoder.layer4[1].bn2.running_var, state["layer4.1.bn2.running_var"])
    assert rest
    assert all(torch.equal(network.state_dict()[k], v) for k, v in rest.items())


def test_timm_downloads_where_there_is_no_file(classifier, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    asked = []
    monkeypatch.setattr(
        _builder, "load_state_dict_from_hf", lambda name, *_, **__: asked.append(name) or dict(classifier.state_dict())
    )
    network = build()
    assert load_pretrained(network, INSTEAD) == f"{NAME} from timm {timm.__version__}"
    assert asked == [f"timm/{NAME}"]
    assert torch.equal(network.encoder.conv1.weight, classifier.conv1.weight)


def test_weights_of_another_model_are_refused_and_nothing_is_copied(classifier, tmp_path, monkeypatch):
    network, state = build(), classifier.state_dict()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(WeightsError, match=rf"weights of timm's {NAME}: .*1 are missing, e\.g\. layer4\.0\.bn1\.bias"):
        network.take({k: v for k, v in state.items() if k != "layer4.0.bn1.bias"})
    torch.save({k: v for k, v in state.items() if k != "fc.bias"}, tmp_path / f"{NAME}.pth")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(WeightsError, match=rf"does not hold timm's {NAME} \(1 tensors missing, e\.g\. fc\.bias\)"):
        load_pretrained(network, INSTEAD)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_the_pyramid_is_of_plain_convolutions_at_the_papers_rates():
    wide = [m for m in build().aspp.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [(m.dilation, m.groups) for m in wide] == [((r, r), 1) for r in (6, 12, 18)]
    assert [m.p for m in build().modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5, 0.1]


def test_logits_are_enlarged_with_corners_aligned():
    network, seen = lively(build()), []
    network.head.register_forward_hook(lambda _, __, outputs: seen.append(outputs[0]))
    with torch.no_grad():
        found = network(torch.randn(1, 3, 64, 96))[0].numpy()
    assert seen[0].shape == (1, 2, 16, 24)
    for logits, small in zip(found, seen[0][0].numpy(), strict=True):
        enlarged = ndimage.zoom(small, 4, order=1, mode="nearest", grid_mode=False)
        np.testing.assert_allclose(logits, enlarged, atol=1e-4 * np.abs(enlarged).max())


def test_its_library_is_imported_when_a_network_is_built_and_not_before():
    tree = ast.parse(inspect.getsource(deeplabv3plus))
    imported = [n.module for n in tree.body if isinstance(n, ast.ImportFrom)]
    assert "nnunet_ext.architectures.published.enhanced" in imported
    assert not [m for m in imported if m.startswith(("segmentation_models_pytorch", "timm"))]
