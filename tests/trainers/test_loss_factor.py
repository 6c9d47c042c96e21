"""`nnUNetTrainerLossScaled`: nnU-Net, its loss times 2."""

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from trainers.conftest import LABELS, stock_loss

NAME = "nnUNetTrainerLossScaled"


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("n_stages", [2, 3])
def test_twice_nnunets_loss_and_gradients(make_trainer, kind, n_stages):
    trainer = make_trainer(NAME, kind, n_stages=n_stages)
    trainer.initialize()
    batch = next(trainer.get_dataloaders()[0])
    gradients, values = [], []
    for loss in (trainer.loss, stock_loss(trainer)):
        trainer.network.zero_grad()
        values.append(loss(trainer.network(batch["data"]), batch["target"]))
        values[-1].backward()
        gradients.append({k: p.grad.clone() for k, p in trainer.network.named_parameters() if p.grad is not None})
    ours, stock = gradients
    assert values[0].item() == 2 * values[1].item()
    assert ours.keys() == stock.keys()
    assert any(g.abs().max() > 1e-3 for g in stock.values())
    assert all(torch.equal(ours[k], 2 * g) for k, g in stock.items()), "a factor of 2 is exact"


def test_network_and_checkpoint_are_nnunets(make_trainer):
    trainer = make_trainer(NAME)
    trainer.initialize()
    arguments = trainer.plans_manager, trainer.configuration_manager, 3, 3, True
    torch.manual_seed(0)
    ours = type(trainer).build_network_architecture(*arguments)
    torch.manual_seed(0)
    stock = nnUNetTrainer.build_network_architecture(*arguments)
    assert type(ours) is type(stock) is type(trainer.network)
    assert list(ours.state_dict()) == list(stock.state_dict()) == list(trainer.network.state_dict())
    assert all(torch.equal(v, stock.state_dict()[k]) for k, v in ours.state_dict().items())


def test_an_added_loss_is_not_multiplied(make_trainer, vgg_weights):
    trainer = make_trainer(f"{NAME}_LossNet")
    trainer.initialize()
    output = [torch.randn(2, 3, s, s) for s in (32, 16)]
    target = [torch.randint(0, 3, (2, 1, s, s)).float() for s in (32, 16)]
    expected = 2 * stock_loss(trainer)(output, target) + 0.1 * trainer.loss.added.loss(output[0], target[0])
    assert trainer.loss(output, target).item() == pytest.approx(expected.item(), rel=1e-6)
