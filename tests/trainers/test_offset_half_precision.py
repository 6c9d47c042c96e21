"""Offset vectors in half precision, as nnU-Net trains on a GPU: autocast around network and loss."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from nnunet_ext.architectures.network import TrainingOutput

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
PLANS = pytest.mark.parametrize("plan", [{}, {"patch_size": [16, 16, 8]}], ids=["2d", "3d"])


def prepared(make_trainer, plan, kind="labels_ignore"):
    """A trainer whose offsets are pixels long, and smooth images: in noise, a hair's breadth is another value."""
    torch.manual_seed(0)
    np.random.seed(0)
    trainer = make_trainer("nnUNetTrainerOVeNet", kind, **plan)
    trainer.initialize()
    network = trainer.network.train()
    with torch.no_grad():
        network.offset_branch.seg_layers[-1].weight.normal_(0, 0.5)
    batch = next(trainer.get_dataloaders()[1])
    smooth = torch.randn(2, 3, *[s // 4 for s in batch["data"].shape[2:]])
    mode = "bilinear" if smooth.ndim == 4 else "trilinear"
    return trainer, network, batch | {"data": interpolate(smooth, scale_factor=4, mode=mode)}


def distance(found, expected):
    """Root of the mean square, relative to the spread."""
    return ((found.float() - expected).square().mean().sqrt() / expected.std()).item()


@HALF
@PLANS
def test_forward_agrees_with_single_precision(make_trainer, plan, dtype):
    _, network, batch = prepared(make_trainer, plan)
    with torch.no_grad():
        expected = network(batch["data"])
        with torch.autocast("cpu", dtype):
            found = network(batch["data"])
    assert isinstance(found, TrainingOutput)
    assert expected.extra["offsets"].abs().max() > 1
    limit = 0.05 if dtype is torch.bfloat16 else 0.01
    assert 0 < distance(found.extra["initial"], expected.extra["initial"]) < limit
    assert distance(found.logits[0], expected.logits[0]) < limit
    assert distance(found.logits[1], expected.logits[1]) < limit
    assert found.logits[1].dtype is dtype, "the network around the refinement is in half precision"
    for name, value in {"fused": found.logits[0], **found.extra}.items():
        assert value.dtype is torch.float32, name


@HALF
@PLANS
@pytest.mark.parametrize("kind", ["labels_ignore", "regions_ignore"])
def test_loss_and_gradients_are_finite_and_agree(make_trainer, plan, dtype, kind):
    trainer, network, batch = prepared(make_trainer, plan, kind)
    values, gradients = [], []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype, enabled=half):
            loss = trainer.loss(network(batch["data"]), batch["target"])
        loss.backward()
        values.append(loss.item())
        gradients.append({k: p.grad for k, p in network.named_parameters() if p.grad is not None})
    assert values[1] == pytest.approx(values[0], rel=0.03)
    single, half = gradients
    assert single.keys() == half.keys()
    assert all(torch.isfinite(g).all() for g in half.values())
    limit = 0.85 if dtype is torch.bfloat16 else 0.97
    for part in ("encoder", "decoder", "head", "offset_branch"):
        a, b = (torch.cat([g.flatten() for k, g in grads.items() if k.startswith(part)]) for grads in gradients)
        assert torch.cosine_similarity(a, b, 0) > limit, part


def test_a_scaled_loss_has_scaled_gradients(make_trainer):
    """nnU-Net multiplies by 65536 before going backward in float16."""
    trainer, network, batch = prepared(make_trainer, {})
    gradients = []
    for scale in (1, 65536):
        network.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = trainer.loss(network(batch["data"]), batch["target"])
        (scale * loss).backward()
        gradients.append(torch.cat([p.grad.flatten() / scale for p in network.offset_branch.parameters()]))
    assert torch.isfinite(gradients[1]).all()
    assert np.corrcoef(torch.stack(gradients).numpy())[0, 1] > 0.99
