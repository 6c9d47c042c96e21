"""What either stage is trained on: boxes of images and of targets that belong together, smaller targets by loops."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_ext.cascade.crops import crop, random_corners, shrink
from nnunet_ext.cascade.hosted import TwoStageNetSpec, enlarged_size
from nnunet_ext.cascade.hosted_loss import HostedLoss, shrink_labels, shrink_regions

SMALL = (4, 6, 8, 10, 12)


def difference(logits, target):
    return (logits - target).abs().max()


def echo(grid, factor, enlarged):
    """A network whose stages return what they see."""
    network = TwoStageNetSpec(grid, factor, SMALL).build(None, 2, 2, False).train()
    network.coarse, network.fine, network.enlarged = nn.Identity(), nn.Identity(), enlarged
    return network


@pytest.mark.parametrize("enlarged", [False, True])
@pytest.mark.parametrize(("size", "grid", "factor"), [((64, 96), 4, 4), ((61, 50), 3, 4)])
def test_both_stages_are_compared_with_their_own_part_of_the_target(size, grid, factor, enlarged):
    network, x = echo(grid, factor, enlarged), torch.randn(3, 2, *size)
    loss = HostedLoss(difference, shrink, partial(enlarged_size, factor=factor))
    output = network(x)
    assert output.extra["fine"].shape == (3, 2, *(-(-s // grid) for s in size))
    assert output.logits.shape == (3, 2, *(s // factor for s in size))
    assert loss(output.logits, x, **output.extra) == 0
    wrong = loss(output.logits, x.flip(-1), **output.extra)
    assert wrong > 1, "the target of another image is noticed"


def test_at_the_tested_scale_the_coarse_network_sees_the_whole_image():
    x = torch.randn(2, 2, 64, 64)
    output = echo(4, 8, False)(x)
    assert torch.equal(output.logits, shrink(x, (8, 8)))
    assert set(output.extra) == {"fine", "corners"}


def test_the_authors_sizes():
    """134, 89 and 44 pixels for images of 768, 512 and 256, and boxes of 96, 64 and 32."""
    assert [enlarged_size((hi, hi), 8)[0] for hi in (768, 512, 256)] == [134, 89, 44]
    output = echo(4, 8, True)(torch.randn(2, 2, 256, 512))
    assert output.logits.shape == (2, 2, 32, 64)
    assert (output.extra["coarse_corners"] <= torch.tensor([44 - 32, 89 - 64])).all()


def test_boxes_are_drawn_evenly_from_all_places_each_image_its_own():
    torch.manual_seed(0)
    corners = random_corners(torch.empty(4000, 1, 10, 7), (8, 7))
    assert corners.dtype == torch.float32
    assert not corners[:, 1].any()
    counts = Counter(corners[:, 0].tolist())
    assert set(counts) == {0, 1, 2}
    assert min(counts.values()) > 1200


def test_boxes_by_slices():
    x, corners = torch.randint(0, 99, (3, 2, 9, 8)), torch.tensor([[0.0, 3], [4, 0], [2, 1]])
    found = crop(x, corners, (5, 4))
    for b, (row, column) in enumerate(corners.int().tolist()):
        assert torch.equal(found[b], x[b, :, row : row + 5, column : column + 4])


def test_one_loss_gives_each_network_the_gradients_of_its_own():
    """With an optimiser that treats every parameter on its own, these are two trainings."""
    torch.manual_seed(0)
    network = TwoStageNetSpec(2, 2, SMALL).build(None, 2, 3, False).train()
    x, target = torch.randn(2, 2, 64, 64), torch.randint(0, 3, (2, 1, 64, 64))

    def single(z, t):
        return nn.functional.cross_entropy(z, t[:, 0])

    output = network(x)
    loss = HostedLoss(single, partial(shrink_labels, labels=3), partial(enlarged_size, factor=2))
    total = torch.autograd.grad(loss(output.logits, target, **output.extra), list(network.parameters()))
    corners, fine = output.extra["corners"], network.fine
    alone = single(fine(crop(x, corners, (32, 32))), crop(target, corners, (32, 32)))
    alone = alone + single(network.coarse(shrink(x, (32, 32))), shrink_labels(target, (32, 32), 3))
    for a, b in zip(total, torch.autograd.grad(alone, list(network.parameters())), strict=True):
        assert torch.allclose(a, b, atol=1e-7)
        assert a.any()


# ------------------------------------------------------------------------------------------------------ smaller targets


def boxes(size, small):
    for i, j in np.ndindex(*small):
        yield i, j, tuple(slice(k * s // t, -(-(k + 1) * s // t)) for k, s, t in zip((i, j), size, small, strict=True))


@pytest.mark.parametrize("small", [(4, 6), (5, 7)])
@pytest.mark.parametrize("ignore", [None, 3])
def test_labels_by_loops(small, ignore):
    target = torch.randint(0, 3 if ignore is None else 4, (2, 1, 12, 18), generator=torch.Generator().manual_seed(0))
    target[0, 0, :6] = torch.where(torch.rand(6, 18) < 0.5, 3 if ignore else 1, target[0, 0, :6])
    found = shrink_labels(target.to(torch.int16), small, 3, ignore)
    assert found.dtype == torch.int16
    for b in range(2):
        for i, j, box in boxes((12, 18), small):
            here = target[(b, 0, *box)].flatten().tolist()
            expected = max(range(3), key=here.count)
            if ignore and 2 * here.count(3) > len(here):
                expected = 3
            assert found[b, 0, i, j] == expected


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_regions_by_loops(ignore, dtype):
    torch.manual_seed(0)
    target = torch.rand(2, 3, 12, 18) > 0.5
    found = shrink_regions(target.to(dtype), (4, 6), ignore)
    assert found.dtype == dtype
    for b in range(2):
        for i, j, box in boxes((12, 18), (4, 6)):
            *masks, last = target[(b, slice(None), *box)].flatten(1).tolist()
            valid = [not v for v in last] if ignore else [True] * len(last)
            regions = masks if ignore else [*masks, last]
            for r, mask in enumerate(regions):
                expected = 2 * sum(m and v for m, v in zip(mask, valid, strict=True)) > sum(valid)
                assert found[b, r, i, j] == expected
            if ignore:
                assert found[b, -1, i, j] == (2 * sum(last) > len(last))


def test_the_smaller_target_is_what_the_smaller_image_shows():
    """A disk: its averaged image above one half is the averaged target, without a shift."""
    y, x = np.mgrid[:64, :64]
    disk = torch.from_numpy((y - 30) ** 2 + (x - 37) ** 2 < 20**2)[None, None]
    assert torch.equal(shrink_labels(disk.int(), (8, 8), 2) > 0, shrink(disk.float(), (8, 8)) > 0.5)
