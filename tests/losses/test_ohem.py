"""OHEM against reference vectors, a plain sort and nnU-Net's cross-entropy."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from losses.conftest import Waits, agree, leaf
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from support import pickled

from nnunet_ext.losses.ohem import OhemCrossEntropy

IGNORE = 255
EVERYTHING = {"threshold": 1.0}  # every pixel is less probable than 1


def kept_pixels(gradient):
    return int(gradient.any(1).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", range(9))
def test_values_and_gradients_agree_with_the_reference(ovenet, case, dtype):
    z = leaf(ovenet["ohem.logits"].to(dtype))
    weight = ovenet["ohem.class_weight"].tolist() if ovenet["ohem.weighted"][case] else None
    thresh, min_kept = ovenet["ohem.thresh"][case].item(), ovenet["ohem.min_kept"][case].item()
    value = OhemCrossEntropy(IGNORE, thresh, min_kept, weight)(z, ovenet["ohem.target"])
    value.backward()
    assert value.item() == pytest.approx(ovenet["ohem.value"][case].item(), rel=1e-5)
    assert agree(z.grad, ovenet["ohem.grad"][case])
    assert kept_pixels(z.grad) == ovenet["ohem.n_kept"][case]


def test_logits_may_be_upsampled_before(ovenet):
    z, target = leaf(ovenet["ohemup.logits"]), ovenet["ohemup.target"]
    loss = OhemCrossEntropy(IGNORE, ovenet["ohemup.thresh"].item(), ovenet["ohemup.min_kept"].item())
    large = F.interpolate(z, size=target.shape[1:], mode="bilinear", align_corners=False)
    large.retain_grad()
    value = loss(large, target)
    value.backward()
    assert value.item() == pytest.approx(ovenet["ohemup.value"].item(), rel=1e-5)
    assert agree(z.grad, ovenet["ohemup.grad"])
    assert kept_pixels(large.grad) == ovenet["ohemup.n_kept"]


def test_a_threshold_of_1_is_cross_entropy(ovenet):
    z, theirs = leaf(ovenet["ohem.logits"]), leaf(ovenet["ohem.logits"])
    value = OhemCrossEntropy(IGNORE, **EVERYTHING)(z, ovenet["ohem.target"])
    value.backward()
    assert value.item() == pytest.approx(ovenet["ce.value"].item(), rel=1e-5)
    assert agree(z.grad, ovenet["ce.grad"])
    nnunet = RobustCrossEntropyLoss(ignore_index=IGNORE)(theirs, ovenet["ohem.target"][:, None].float())
    assert value.item() == pytest.approx(nnunet.item(), rel=1e-12)


def test_class_weights_are_pytorchs_but_for_the_division(ovenet):
    z, target, weight = leaf(ovenet["ohem.logits"]), ovenet["ohem.target"], ovenet["ohem.class_weight"]
    labels = target[target != IGNORE]
    ours = OhemCrossEntropy(IGNORE, **EVERYTHING, class_weight=weight.tolist())(z, target)
    value = ours * len(labels) / weight[labels].sum()
    value.backward()
    assert value.item() == pytest.approx(ovenet["ce.value_weighted"].item(), rel=1e-5)
    assert agree(z.grad, ovenet["ce.grad_weighted"])


def test_a_single_confident_pixel_counts_where_the_code_has_nan(ovenet):
    assert math.isnan(ovenet["ohem.one_confident_value"])
    z, target = leaf(ovenet["ohem.one_confident_logits"].view(1, 5, 1, 1)), torch.zeros(1, 1, 1, 1)
    value = OhemCrossEntropy(IGNORE, 0.9, 10)(z, target)
    value.backward()
    assert value.item() == pytest.approx(ovenet["ohem.one_confident_ce"].item(), rel=1e-5)
    assert z.grad.abs().sum() > 0


# everywhere: a plain sort


def plain_ohem(z, target, ignore, threshold, min_kept, weight):
    """Of `(B, K, *S)` and `(B, *S)`, pixel by pixel."""
    pixels = []
    for b, *where in itertools.product(*(range(n) for n in target.shape)):
        label = int(target[(b, *where)])
        if label != ignore:
            scores = [math.exp(z[(b, k, *where)]) for k in range(z.shape[1])]
            pixels.append((scores[label] / sum(scores), label))
    if not pixels:
        return 0.0
    pixels.sort()
    t = max(pixels[min(max(1, min_kept), len(pixels) - 1)][0], threshold)
    kept = [(p, c) for p, c in pixels if p < t] or pixels
    return sum(-math.log(p) * (1 if weight is None else weight[c]) for p, c in kept) / len(kept)


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 0.0, 1.3]])
@pytest.mark.parametrize("shape", [(7, 9), (3, 4, 5)])
@pytest.mark.parametrize("min_kept", [0, 1, 20, 60, 1000])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.7, 1.0])
def test_equals_a_plain_sort(threshold, min_kept, shape, weight):
    z, target = 2 * torch.randn(2, 4, *shape), torch.randint(0, 5, (2, *shape))
    for ignored in (target == 4, torch.ones_like(target) > 0, torch.rand(target.shape) < 0.9):
        labels = torch.where(ignored, 4, target % 4)
        value = OhemCrossEntropy(4, threshold, min_kept, weight)(z, labels)
        expected = plain_ohem(z.double(), labels, 4, threshold, min_kept, weight)
        assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("min_kept", [0, 30, 1000])
def test_without_an_ignore_label_every_pixel_counts(min_kept):
    z, target = torch.randn(2, 3, 6, 5), torch.randint(0, 3, (2, 6, 5))
    expected = plain_ohem(z.double(), target, None, 0.6, min_kept, None)
    assert OhemCrossEntropy(None, 0.6, min_kept)(z, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.uint8, torch.float32, torch.float16])
def test_targets_come_in_every_type_with_and_without_a_channel(dtype):
    z, target = torch.randn(2, 3, 6, 5), torch.randint(0, 4, (2, 6, 5))
    loss = OhemCrossEntropy(3, 0.6, 10)
    values = [loss(z, t) for t in (target, target.to(dtype), target.to(dtype)[:, None])]
    assert values[0] > 0
    assert values[0] == values[1] == values[2]


def test_all_ignored_is_0_with_a_gradient_of_zeros():
    z = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = OhemCrossEntropy(3)(z, torch.full((2, 1, 4, 4), 3))
    value.backward()
    assert value.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_ignored_pixels_have_no_influence_and_no_gradient():
    z, target = torch.randn(1, 3, 6, 5), torch.randint(0, 3, (1, 6, 5))
    target[..., :2] = 3
    loss = OhemCrossEntropy(3, 0.5, 5)
    changed = z.clone()
    changed[..., :2] *= -9
    changed.requires_grad_()
    value = loss(changed, target)
    value.backward()
    assert value.item() == loss(z, target).item()
    assert not changed.grad[..., :2].any()


def test_not_a_number_is_not_hidden():
    z, target = torch.randn(1, 3, 6, 5), torch.randint(0, 3, (1, 6, 5))
    z[0, 0, 0, 0] = torch.nan
    assert OhemCrossEntropy(None, 0.5, 5)(z, target).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    z, target = (8 * torch.randn(2, 3, 9, 7)).to(dtype), torch.randint(0, 4, (2, 9, 7))
    loss = OhemCrossEntropy(3, 0.9, 10, [0.3, 1.7, 1.1])
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(z, target)
    assert value.dtype == torch.float32
    assert value == loss(z, target) == loss(z.float(), target)


def test_nothing_waits_for_values():
    z, target = torch.randn(2, 3, 9, 7, requires_grad=True), torch.randint(0, 4, (2, 1, 9, 7))
    with Waits() as ours:
        OhemCrossEntropy(3, 0.9, 10, [0.3, 1.7, 1.1])(z, target).backward()
    with Waits() as others:
        z[:, 0][target[:, 0] == 3].sum().backward()
        (target == 3).any().item()
    assert z.grad.any()
    assert not ours.seen
    assert others.seen == ["index", "_local_scalar_dense"]


def test_it_pickles_and_has_nothing_to_save():
    z, target = torch.randn(1, 2, 6, 5), torch.randint(0, 2, (1, 6, 5))
    loss = OhemCrossEntropy(None, 0.6, 4, [0.3, 1.7])
    assert pickled(loss)(z, target) == loss(z, target)
    assert not loss.state_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.5}, r"threshold is a probability in \[0, 1\], not 1\.5"),
        ({"threshold": math.nan}, "not nan"),
        ({"min_kept": -3}, "0 or more, not -3"),
        ({"class_weight": [1.0, -2.0]}, r"not negative, unlike \[1\.0, -2\.0\]"),
        ({"class_weight": [1.0, math.inf]}, "finite"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OhemCrossEntropy(**arguments)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 4), (1, 4, 4), (2, 1, 4, 5)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"not \(2, 3, 4, 4\) with "):
        OhemCrossEntropy()(torch.randn(2, 3, 4, 4), torch.zeros(shape))


def test_another_number_of_class_weights_is_refused():
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        OhemCrossEntropy(class_weight=[1, 2])(torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4))
