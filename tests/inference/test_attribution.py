"""Against autograd and hand-written Grad-CAM, on a lifted network of two convolutions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.architectures.lifting.replicate import replicate
from nnunet_ext.architectures.padding import pad_to_multiple
from nnunet_ext.inference import attribution
from nnunet_ext.inference.attribution import (
    AttributionError,
    Target,
    choose_layer,
    grad_cam,
    layers,
    plain_volumes,
    require_captum,
    saliency,
    slice_scores,
)

DEPTH, CLASSES, MULTIPLE = 4, 2, (4, 4)


@pytest.fixture
def network():
    torch.manual_seed(0)
    solid = nn.Sequential(
        nn.Sequential(nn.Conv3d(3, 5, 3, stride=2, padding=1), nn.PReLU()), nn.ConvTranspose3d(5, CLASSES, 2, stride=2)
    )
    return LiftedNetwork(solid, DEPTH, 2, MULTIPLE, MULTIPLE).eval()


@pytest.fixture
def image():
    return torch.randn(1, 3, 8, 6, generator=torch.Generator().manual_seed(1))  # padded to 8 x 8 inside


@pytest.fixture
def target():
    return Target(1, torch.rand(8, 6, generator=torch.Generator().manual_seed(2)) > 0.5)


def score_by_hand(logits, target, d):
    """Mean over the target's pixels of the log of p / (1 - p) in slice d; logits: (K, D, H, W)."""
    p = logits.double().softmax(0)[target.output, d][target.pixels]
    return torch.log(p / (1 - p)).mean()


def test_scores_are_mean_log_odds(network, image, target):
    found = slice_scores(network, image, target)
    logits = network.slices(image)[0]
    expected = torch.stack([score_by_hand(logits, target, d) for d in range(DEPTH)])
    torch.testing.assert_close(found[0].double(), expected, atol=1e-5, rtol=0)


def test_scores_of_regions_are_mean_logits(network, image, target):
    network.selection.set_sigmoid(True)
    expected = network.slices(image)[0, 1][:, target.pixels].mean(1)
    torch.testing.assert_close(slice_scores(network, image, target)[0], expected)


def test_saliency_is_the_size_of_the_gradient(network, image, target):
    found = saliency(network, image, target)
    assert found.shape == (DEPTH, 8, 6)
    for d in range(DEPTH):
        x = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score_by_hand(network.slices(x)[0], target, d), x)
        torch.testing.assert_close(found[d], gradient[0].abs().amax(0), atol=1e-6, rtol=1e-4)
    assert not torch.equal(found[0], found[-1])


def cam_by_hand(network, image, target, d):
    """Grad-CAM at module "0" (5 channels at half the size), written out."""
    padded, (rows, columns) = pad_to_multiple(image, MULTIPLE, MULTIPLE)
    features = network.network[0](replicate(padded, DEPTH))
    logits = network.network[1](features)[0][..., rows, columns]
    (gradient,) = torch.autograd.grad(score_by_hand(logits, target, d), features)
    cam = sum(gradient[0, c].mean() * features[0, c] for c in range(features.shape[1])).clamp(min=0)
    return F.interpolate(cam[None, None], size=(DEPTH, *padded.shape[2:]), mode="trilinear")[0, 0, d][rows, columns]


def test_grad_cam_is_what_its_definition_gives(network, image, target):
    found = grad_cam(network, image, target)
    assert found.shape == (DEPTH, 8, 6)
    for d in range(DEPTH):
        torch.testing.assert_close(found[d], cam_by_hand(network, image, target, d), atol=1e-6, rtol=1e-3)
    assert found.max() > 0


def test_another_layer_gives_another_grad_cam(network, image, target):
    assert torch.equal(grad_cam(network, image, target, "0"), grad_cam(network, image, target))
    assert not torch.equal(grad_cam(network, image, target, "0.0"), grad_cam(network, image, target))


def test_layers_are_listed_in_the_order_of_use_and_chains_once(network, image):
    assert layers(network, image) == {"0.0": 5, "0": 5, "1": CLASSES}  # "0.1" is what "0" gives


def test_the_default_layer_is_the_last_with_other_channels_than_the_output(network, image):
    assert choose_layer(network, image, None) == "0"


def test_an_unknown_layer_is_answered_with_all(network, image):
    with pytest.raises(AttributionError, match=r"--layer 7: .*\n  0\.0 \(5 channels\)\n  0 \(5 channels\)\n  1 \(2"):
        choose_layer(network, image, "7")


def test_without_a_layer_of_features_one_has_to_be_chosen(image):
    bare = LiftedNetwork(nn.Conv3d(3, CLASSES, 1), DEPTH, 1, MULTIPLE, MULTIPLE).eval()
    with pytest.raises(AttributionError, match="Choose one with --layer"):
        choose_layer(bare, image, None)


def test_hooks_and_gradients_leave_nothing_behind(network, image, target):
    grad_cam(network, image, target)
    saliency(network, image, target)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert not image.requires_grad


def test_all_slices_are_computed_while_hooks_are_on(network):
    def fail_inside():
        with plain_volumes(network):
            assert network.form == "plain"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert network.form is None


@pytest.mark.parametrize("function", [saliency, grad_cam, lambda n, x, t: layers(n, x)])
def test_every_computation_is_on_plain_volumes(network, image, target, function):
    seen = []
    network.network.register_forward_hook(lambda *_: seen.append(network.form))
    function(network, image, target)
    assert seen
    assert set(seen) == {"plain"}


def test_a_missing_captum_is_answered_with_the_line_to_type(monkeypatch):
    monkeypatch.setattr(attribution.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AttributionError, match=r'captum is not installed\. Type: pip install "nnunet-ext\[inspect\]"'):
        require_captum()
