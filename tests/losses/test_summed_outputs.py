"""The loss of several outputs, each as the final one."""

import pytest
import torch
import torch.nn.functional as F
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss

from nnunet_ext.losses.summed_outputs import SummedOutputsLoss


def numbers(n=4):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 5, 6, generator=generator, requires_grad=True) for _ in range(n)]
    return maps, torch.randint(0, 3, (2, 1, 5, 6), generator=generator)


@pytest.mark.parametrize(("normalise", "divisor"), [(False, 1), (True, 4)])
def test_every_output_has_the_same_loss(normalise, divisor):
    (final, *others), target = numbers()
    loss = SummedOutputsLoss(RobustCrossEntropyLoss(), normalise)
    value = loss(final, target, **dict(zip(("s_g", "s_5", "s_4"), others, strict=True)))
    value.backward()
    expected = sum(F.cross_entropy(m.detach(), target[:, 0]).item() for m in (final, *others))
    assert value.item() == pytest.approx(expected / divisor, rel=1e-6)
    for m in (final, *others):
        share = (m.detach().softmax(1) - F.one_hot(target[:, 0], 3).movedim(-1, 1)) / 60 / divisor
        torch.testing.assert_close(m.grad, share)


def test_by_default_it_is_the_mean_and_of_a_single_output_its_own_loss():
    (final, other), target = numbers(2)
    ce = RobustCrossEntropyLoss()
    loss = SummedOutputsLoss(ce)
    assert loss(final, target).item() == ce(final, target).item()
    assert loss(final, target, other=final).item() == pytest.approx(ce(final, target).item())
    assert loss(final, [target], other=other).item() == loss(final, target, other=other).item()
