"""Prediction at several scales: the mean of probabilities by hand, nnU-Net's own result at scale 1, refusals."""

import re
import weakref

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from nnunet_ext.inference import scales as module
from nnunet_ext.inference.report import QualityReport
from nnunet_ext.inference.scales import Scales, ScalesError
from nnunet_ext.inference.table import QualityError

N_OUTPUTS = {"binary": 2, "three": 4, "regions": 2}


class Pixelwise(nn.Module):
    """Logits are linear in each pixel's channels."""

    channels = 3

    def __init__(self, dims, n_outputs, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(3, n_outputs, 1)
        nn.init.normal_(self.layer.weight, std=1.5)

    def forward(self, x):
        return self.layer(x)


def resize_by_hand(values, size):
    """Sample `(C, *S)` at the centres of new pixels, linear, in float64."""
    old = values.shape[1:]
    places = [(np.arange(n) + 0.5) * o / n - 0.5 for n, o in zip(size, old, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    return np.stack([ndimage.map_coordinates(v, grid, order=1, mode="nearest") for v in values])


def logits_by_hand(network, image, factor, axes):
    """One scale's logits at the image's size."""
    values = image.double().numpy()
    size = values.shape[1:]
    scaled = [*size[: 3 - axes], *(round(factor * s) for s in size[3 - axes :])]
    weight = network.layer.weight.detach().double().numpy().reshape(network.layer.out_channels, -1)
    bias = network.layer.bias.detach().double().numpy()
    logits = np.einsum("kc,czyx->kzyx", weight, resize_by_hand(values, scaled)) + bias[:, None, None, None]
    return resize_by_hand(logits, size)


def probabilities(logits, regions):
    if regions:
        return 1 / (1 + np.exp(-logits))
    exp = np.exp(logits - logits.max(0))
    return exp / exp.sum(0)


@pytest.mark.parametrize("labels", ["binary", "three", "regions"])
@pytest.mark.parametrize(
    ("patch", "size"), [((16, 16), (2, 20, 26)), ((8, 8, 8), (9, 8, 12))], ids=["planes", "volume"]
)
@torch.inference_mode()
def test_the_softmax_is_the_mean_over_scales(predictor_of, labels, patch, size):
    factors, regions, axes = (0.5, 1.0, 1.75), labels == "regions", len(patch)
    network = Pixelwise(axes, N_OUTPUTS[labels])
    image = torch.randn(3, *size)
    # nnU-Net's Gaussian weights in a corner are almost 0, which half precision does not hold
    options = {"mirror_axes": (0, 1), "use_gaussian": False}
    ours = predictor_of([network], patch, labels, scales=Scales(factors), **options)
    found = ours.label_manager.apply_inference_nonlin(ours.predict_logits_from_preprocessed_data(image))
    expected = [probabilities(logits_by_hand(network, image, f, axes), regions) for f in factors]
    np.testing.assert_allclose(found.numpy(), np.mean(expected, 0), atol=2e-3)  # windows are half precision
    assert np.abs(expected[0] - expected[1]).max() > 0.2  # else the comparison would be empty


@torch.inference_mode()
def test_folds_are_averaged_by_nnunet(predictor_of):
    networks = [Pixelwise(2, 4, seed) for seed in range(2)]
    image = torch.randn(3, 1, 16, 16)
    ours = predictor_of(networks, (16, 16), "three", scales=Scales((0.75, 1.25)))
    found = ours.predict_logits_from_preprocessed_data(image).double().numpy()
    logs = [
        np.log(np.mean([probabilities(logits_by_hand(n, image, f, 2), False) for f in (0.75, 1.25)], 0))
        for n in networks
    ]
    np.testing.assert_allclose(found, np.mean(logs, 0), atol=2e-2, rtol=2e-3)


@torch.inference_mode()
def test_exp_is_the_logarithm_of_the_sum_of_exponentials(predictor_of):
    network, image = Pixelwise(2, 4), torch.randn(3, 1, 16, 24)
    ours = predictor_of([network], (16, 16), "three", scales=Scales((0.5, 1.5), "exp"))
    found = ours.predict_logits_from_preprocessed_data(image).double().numpy()
    each = [logits_by_hand(network, image, f, 2) for f in (0.5, 1.5)]
    np.testing.assert_allclose(found, np.log(np.exp(each[0]) + np.exp(each[1])), atol=1e-2)


@pytest.mark.parametrize("total", ["mean", "exp"])
@torch.inference_mode()
def test_scale_1_alone_is_nnunets_own_result(predictor_of, total):
    network, image = Pixelwise(2, 2), torch.randn(3, 2, 20, 24)
    stock = predictor_of([network], (16, 16), "binary", stock=True, mirror_axes=(0, 1))
    ours = predictor_of([network], (16, 16), "binary", scales=Scales((1.0,), total), mirror_axes=(0, 1))
    expected = stock.predict_logits_from_preprocessed_data(image)
    found = ours.predict_logits_from_preprocessed_data(image)
    assert found.dtype == expected.dtype == torch.half
    assert torch.equal(found, expected)
    assert ours.scales is None


@pytest.mark.parametrize("regions", [False, True])
def test_large_logits_stay_finite(regions):
    logits = torch.tensor([60000.0, -60000, 0], dtype=torch.half).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    found = Scales((0.5, 1.0)).predict(lambda x: logits[..., : x.shape[2], : x.shape[3]], torch.zeros(1, 1, 4, 4), 2,
                                       regions)  # fmt: skip
    expected = [87, -87, 0] if regions else [0, -87, -87]
    assert found.dtype == torch.float32
    assert found[:, 0, 0, 0].tolist() == expected


def test_a_device_without_memory_leaves_the_sum_to_the_cpu(monkeypatch):
    image, attempts, plain = torch.randn(2, 1, 8, 8), [], module.F.log_softmax
    expected = Scales((0.5, 1.0, 2.0)).predict(lambda x: x, image, 2, False)

    def fail_once(*args):
        attempts.append(1)
        if len(attempts) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*args)

    monkeypatch.setattr(module.F, "log_softmax", fail_once)
    assert torch.equal(Scales((0.5, 1.0, 2.0)).predict(lambda x: x, image, 2, False), expected)
    assert len(attempts) == 4


def test_one_scale_is_held_at_a_time():
    given = []

    def network(x):
        assert [r for r in given if r() is not None] == []
        logits = torch.zeros(2, *x.shape[1:])
        given.append(weakref.ref(logits))
        return logits

    Scales((0.5, 1.0, 1.5)).predict(network, torch.zeros(1, 1, 8, 8), 2, False)
    assert len(given) == 3


def test_masks_of_an_earlier_stage_stay_masks():
    seen = []
    image = torch.cat([torch.rand(1, 5, 7, 6), (torch.rand(2, 5, 7, 6) > 0.5).float()])

    def network(x):
        seen.append(x)
        return x[:2]

    Scales((0.6, 1.7)).predict(network, image, 3, False, n_masks=2)
    assert [tuple(x.shape) for x in seen] == [(3, 3, 4, 4), (3, 8, 12, 10)]
    for x in seen:
        assert set(x[1:].unique().tolist()) == {0, 1}
        assert len(x[0].unique()) > 10


def test_tiny_images_keep_a_pixel():
    sizes = []
    Scales((0.01, 1.0)).predict(lambda x: sizes.append(x.shape) or x, torch.zeros(2, 3, 8, 9), 2, False)
    assert [tuple(s) for s in sizes] == [(2, 3, 1, 1), (2, 3, 8, 9)]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ((), "type for example --scales 0.5"),
        ((1.0, 0.0), r"--scales 1 0: each is above 0, up to 8"),
        ((float("nan"),), "above 0"),
        ((9.0,), "up to 8"),
        ((1.0, 0.5, 1.0), "name each scale once; type --scales 1 0.5"),
    ],
)
def test_wrong_scales_are_refused(factors, message):
    with pytest.raises(ScalesError, match=message):
        Scales(factors)


def test_the_sum_of_exponentials_is_refused_for_regions(predictor_of):
    with pytest.raises(ScalesError, match=r"--scales-sum exp .*regions.* Leave --scales-sum out"):
        predictor_of([Pixelwise(2, 2)], (16, 16), "regions", scales=Scales((0.5, 1.0), "exp"))


@torch.inference_mode()
def test_a_lifted_network_predicts_without_a_score_and_says_so(make_predictors, tmp_path):
    said = []
    report = QualityReport(say=said.append)
    stock, ours, _, _ = make_predictors(listener=report, scales=Scales((0.5, 1.0)), use_mirroring=False)
    assert said == ["no quality.csv: a quality score compares the slices of one scale; --scales 0.5 1 has others."]
    ours._manage_input_and_output_lists([["case_0000.png"]], str(tmp_path))
    image = torch.randn(3, 1, 16, 16)
    found = ours.predict_logits_from_preprocessed_data(image)
    assert found.shape == (2, 1, 16, 16)
    one = torch.log_softmax(stock.predict_logits_from_preprocessed_data(image).float(), 0)
    assert not torch.allclose(found, one, atol=1e-2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "flag"), [({"min_quality": 0.5}, "--min-quality"), ({"pictures": True}, "--pictures")]
)
def test_quality_at_several_scales_is_refused(make_predictors, options, flag):
    message = f"{flag} compares the slices of one scale; --scales 0.5 1 has others. Leave {flag} out"
    with pytest.raises(QualityError, match=re.escape(message)):
        make_predictors(listener=QualityReport(**options), scales=Scales((0.5, 1.0)))
