"""The confidence loss against reference vectors and loops over pixels."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from losses.conftest import Waits, agree, ignoring, leaf

from nnunet_ext.losses.offset_confidence import confidence_loss, look_up_nearest, pixel_codes

IGNORE = 255
LABELS = {"regions": False, "ignore_label": IGNORE}
KINDS = list(itertools.product([False, True], [None, 3]))
kinds = pytest.mark.parametrize(("regions", "ignore"), KINDS)


def probability(ovenet, key):
    """F as a leaf in float64, and its logit."""
    f = leaf(ovenet[key])
    return f, torch.logit(f)


def holds(value, f, expected, gradient):
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert agree(f.grad, gradient)


# reference vectors


def test_authors_value_and_gradient(ovenet):
    f, logit = probability(ovenet, "conf.confidence")
    value = confidence_loss(logit, ovenet["conf.disp"], ovenet["conf.target"][:, None], **LABELS, authors=True)
    holds(value, f, ovenet["conf.value_authors"], ovenet["conf.grad_authors"])


def test_masked_mean_value_and_gradients(ovenet):
    f, logit = probability(ovenet, "conf.confidence")
    logit.retain_grad()
    value = confidence_loss(logit, ovenet["conf.disp"], ovenet["conf.target"][:, None], **LABELS)
    holds(value, f, ovenet["conf.value_masked_mean"], ovenet["conf.grad_masked_mean"])
    assert agree(logit.grad, ovenet["conf.grad_masked_mean_logit"])


def test_float32_is_as_close(ovenet):
    _, logit = probability(ovenet, "conf.confidence")
    z, o = leaf(logit.detach().float()), ovenet["conf.disp"].float()
    value = confidence_loss(z, o, ovenet["conf.target"][:, None].float(), **LABELS)
    assert value.dtype == torch.float32
    holds(value, z, ovenet["conf.value_masked_mean"], ovenet["conf.grad_masked_mean_logit"])


@pytest.mark.parametrize(("authors", "equal"), [(False, "equal_masked"), (True, "equal_authors")])
def test_pixels_looked_up_are_the_references(ovenet, authors, equal):
    codes = pixel_codes(ovenet["conf.target"][:, None], **LABELS)
    codes = codes.clamp(min=0) if authors else codes
    there = look_up_nearest(codes, ovenet["conf.disp"])
    assert torch.equal(codes == there, ovenet[f"conf.{equal}"])
    if not authors:
        looked_up = ovenet["conf.looked_up"]
        assert torch.equal(there, torch.where(looked_up == IGNORE, -1, looked_up))
        assert torch.equal((codes >= 0) & (there >= 0), ovenet["conf.valid"])


@pytest.mark.parametrize("authors", [True, False])
def test_confidence_of_smaller_maps_is_upsampled_before(ovenet, authors):
    f, target = leaf(ovenet["confup.confidence"]), ovenet["confup.target"][:, None]
    large = F.interpolate(f, size=target.shape[2:], mode="bilinear", align_corners=False)
    value = confidence_loss(torch.logit(large), ovenet["confup.disp_full"], target, **LABELS, authors=authors)
    if authors:
        holds(value, f, ovenet["confup.value_authors"], ovenet["confup.grad_authors"])
    assert value.item() == pytest.approx(
        ovenet["confup.value_authors" if authors else "confup.value_masked_mean"].item(), rel=1e-5
    )


def test_all_ignored_is_one_class_to_the_authors_and_nothing_to_us(ovenet):
    f, logit = probability(ovenet, "confign.confidence")
    disp, target = ovenet["confign.disp"], torch.full_like(f, IGNORE)
    authors = confidence_loss(logit, disp, target, **LABELS, authors=True)
    assert authors.item() == pytest.approx(ovenet["confign.value_authors"].item(), rel=1e-5)
    ours = confidence_loss(logit, disp, target, **LABELS)
    ours.backward()
    assert ours.item() == 0
    assert not f.grad.any()


def test_volumes(ovenet):
    f, logit = probability(ovenet, "conf3d.confidence")
    value = confidence_loss(logit, ovenet["conf3d.disp"], ovenet["conf3d.target"][:, None], **LABELS)
    holds(value, f, ovenet["conf3d.value_masked_mean"], ovenet["conf3d.grad_masked_mean"])
    codes = pixel_codes(ovenet["conf3d.target"][:, None], **LABELS)
    there = look_up_nearest(codes, ovenet["conf3d.disp"])
    valid = ovenet["conf3d.valid"]
    assert torch.equal((codes >= 0) & (there >= 0), valid)
    assert torch.equal((codes == there)[valid], ovenet["conf3d.equal"][valid])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_regions(ovenet, dtype):
    f, logit = probability(ovenet, "conf.confidence")
    target = torch.cat([ovenet["confreg.regions"], ovenet["confreg.ignore"][:, None]], 1).to(dtype)
    codes = pixel_codes(target, True, IGNORE)
    assert torch.equal(torch.where(codes < 0, IGNORE, codes), ovenet["confreg.code"])
    value = confidence_loss(logit, ovenet["conf.disp"], target, regions=True, ignore_label=IGNORE)
    holds(value, f, ovenet["confreg.value_masked_mean"], ovenet["confreg.grad_masked_mean"])


# everywhere: loops over pixels


def plain_confidence_loss(logit, offsets, target, regions, ignore):
    """The mean over pixels; classes and sets of regions are compared as they are."""
    shape, losses = target.shape[2:], []
    for b, *where in itertools.product(range(len(target)), *(range(n) for n in shape)):
        there = []
        for a, i in enumerate(where):
            position = min(max(i + float(offsets[(b, a, *where)]), 0), shape[a] - 1)
            there.append(round(position))
        here, other = (target[(b, slice(None), *at)].tolist() for at in (where, there))
        if ignore is not None and (1 in (here[-1], other[-1]) if regions else ignore in (here[0], other[0])):
            continue
        f = 1 / (1 + math.exp(-logit[(b, 0, *where)]))
        losses.append(-math.log(f if here == other else 1 - f))
    return sum(losses) / len(losses)


@kinds
@pytest.mark.parametrize("shape", [(8, 11), (4, 6, 7)])
def test_equals_a_plain_loop(regions, ignore, shape):
    _, target, _ = ignoring(regions, shape)
    if ignore is None:
        target = target[:, :-1] if regions else target % 3
    logit, offsets = torch.randn(2, 1, *shape), 3 * torch.randn(2, len(shape), *shape)
    offsets[:, :, :3] = offsets[:, :, :3].round() + 0.5  # ties, rounded to even
    value = confidence_loss(logit, offsets, target, regions=regions, ignore_label=ignore)
    assert value.item() == pytest.approx(plain_confidence_loss(logit, offsets, target, regions, ignore), rel=1e-5)


@kinds
def test_offsets_get_no_gradient(regions, ignore):
    _, target, _ = ignoring(regions, (6, 7))
    if ignore is None and regions:
        target = target[:, :-1]
    logit, offsets = torch.randn(2, 1, 6, 7, requires_grad=True), torch.randn(2, 2, 6, 7, requires_grad=True)
    confidence_loss(logit, offsets, target, regions=regions, ignore_label=ignore).backward()
    assert offsets.grad is None
    assert logit.grad.any()


@pytest.mark.parametrize("regions", [False, True])
def test_ignored_pixels_have_no_influence_and_no_gradient(regions):
    _, target, other = ignoring(regions, (6, 12))
    logit, offsets = torch.randn(2, 1, 6, 12), 4 * torch.randn(2, 2, 6, 12)
    options = {"regions": regions, "ignore_label": 3}
    changed = logit.clone()
    changed[..., :5] *= -7
    changed.requires_grad_()
    value = confidence_loss(changed, offsets, other, **options)
    value.backward()
    assert value.item() == confidence_loss(logit, offsets, target, **options).item()
    assert not changed.grad[..., :5].any()
    assert changed.grad[..., 5:].any()


@pytest.mark.parametrize("size", [1, 3])
def test_the_mean_does_not_grow_with_the_batch_as_the_authors_sum_does(size):
    _, target, _ = ignoring(False, (6, 7), batch=1)
    logit, offsets = torch.randn(1, 1, 6, 7), torch.randn(1, 2, 6, 7)
    alone, authors_alone = (confidence_loss(logit, offsets, target, **LABELS, authors=a) for a in (False, True))
    repeated = [v.repeat(size, 1, 1, 1) for v in (logit, offsets, target)]
    ours, authors = (confidence_loss(*repeated, **LABELS, authors=a) for a in (False, True))
    assert ours.item() == pytest.approx(alone.item(), rel=1e-5)
    assert authors.item() == pytest.approx(size * authors_alone.item(), rel=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_offset_of_1_is_the_next_voxel_of_its_axis(axis):
    codes = torch.arange(4 * 5 * 6).view(1, 4, 5, 6)
    offsets = torch.zeros(1, 3, 4, 5, 6)
    offsets[:, axis] = 1
    last = codes.shape[axis + 1] - 1
    expected = torch.cat([codes.narrow(axis + 1, 1, last), codes.narrow(axis + 1, last, 1)], axis + 1)
    assert torch.equal(look_up_nearest(codes, offsets), expected)


@pytest.mark.parametrize(("value", "found"), [(math.inf, 19), (-math.inf, 0), (math.nan, 0), (1e30, 19)])
def test_no_offset_points_outside_of_the_array(value, found):
    codes = torch.arange(20).view(1, 2, 5, 2)
    assert (look_up_nearest(codes, torch.full((1, 3, 2, 5, 2), value)) == found).all()


def test_certain_confidence_has_a_finite_loss():
    logit, target = torch.full((1, 1, 4, 4), 200.0), torch.arange(16).view(1, 1, 4, 4)
    offsets = torch.ones(1, 2, 4, 4)
    value = confidence_loss(logit, offsets, target, **LABELS)
    assert value.item() == pytest.approx(200 * 15 / 16)  # the last pixel meets itself
    for sign, wrong in ((1, 15 / 16), (-1, 1 / 16)):  # of the authors' logarithm, the least is log(1e-7)
        value = confidence_loss(sign * logit.double(), offsets, target, **LABELS, authors=True)
        assert value.item() == pytest.approx(-math.log(1e-7) * wrong, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("authors", [True, False])
def test_half_precision_is_computed_in_float32(dtype, authors):
    _, target, _ = ignoring(False, (6, 7))
    logit, offsets = torch.randn(2, 1, 6, 7).to(dtype), torch.randn(2, 2, 6, 7).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        value = confidence_loss(logit, offsets, target, **LABELS, authors=authors)
    assert value.dtype == torch.float32
    assert value == confidence_loss(logit.float(), offsets.float(), target, **LABELS, authors=authors)


@kinds
def test_nothing_waits_for_values(regions, ignore):
    logit, offsets = torch.randn(2, 1, 6, 7, requires_grad=True), torch.randn(2, 2, 6, 7)
    _, target, _ = ignoring(regions, (6, 7))
    with Waits() as ours:
        confidence_loss(logit, offsets, target, regions=regions, ignore_label=ignore).backward()
    assert logit.grad.any()
    assert not ours.seen


def test_63_regions_have_codes_of_their_own_and_64_are_refused():
    target = torch.eye(63).view(1, 63, 63, 1)
    assert pixel_codes(target, True, None).flatten().tolist() == [2**r for r in range(63)]
    with pytest.raises(ValueError, match="at most 63 regions, and the target has 64"):
        pixel_codes(torch.zeros(1, 64, 2, 2), True, None)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 1, 6, 7), (2, 3, 6, 7), (2, 1, 6, 7)],
        [(2, 1, 4, 6, 7), (2, 2, 4, 6, 7), (2, 1, 4, 6, 7)],
        [(2, 1, 6, 7), (2, 2, 6, 7), (2, 1, 12, 14)],
        [(2, 1, 3, 7), (2, 2, 6, 7), (2, 1, 6, 7)],
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match=r"offsets \(B, n, \*S\) of as many channels as S has axes") as error:
        confidence_loss(*(torch.zeros(s) for s in shapes), **LABELS)
    assert all(str(s) in str(error.value) for s in shapes)
