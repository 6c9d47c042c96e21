"""Training of SINetV2 with a small encoder: the loss of its four outputs, a step, what validation sees, its weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from trainers.conftest import LABELS, stock_loss

from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.sinetv2 import SINetV2Spec
from nnunet_ext.losses.structure import StructureLoss
from nnunet_ext.trainers import naming
from nnunet_ext.trainers.method_losses import structure_loss
from nnunet_ext.trainers.recipe import Recipe
from nnunet_ext.trainers.sinetv2 import SINetV2Trainer, SummedRecipe
from nnunet_ext.weights import FOLDER

BACKBONE = "test_resnet"


class nnUNetTrainerSmallSINetV2(SINetV2Trainer):
    spec = SINetV2Spec("curvature", backbone=BACKBONE)
    pretrained = False


@pytest.fixture
def make(make_trainer, monkeypatch):
    """Returns `make(kind, **attributes)`, which constructs the trainer with other class attributes."""

    def construct(kind="labels", **attributes):
        trainer = type("nnUNetTrainerSmallSINetV2", (nnUNetTrainerSmallSINetV2,), attributes)
        monkeypatch.setitem(naming._resolved, trainer.__name__, trainer)  # as if it were a preset
        torch.manual_seed(0)
        return make_trainer(trainer.__name__, kind, patch_size=[64, 64])

    return construct


def output_of(trainer, kind):
    """An output of training and nnU-Net's target, 16 pixels a side."""
    generator = torch.Generator().manual_seed(5)
    heads = trainer.label_manager.num_segmentation_heads
    labels = torch.randint(0, 4 if "ignore" in kind else 3, (2, 1, 16, 16), generator=generator)
    target = labels.float()
    if "regions" in kind:
        masks = [(labels == 1) | (labels == 2), labels == 2, *([labels == 3] if "ignore" in kind else [])]
        target = torch.cat(masks, 1)
    maps = [torch.randn(2, heads, 16, 16, generator=generator) for _ in range(4)]
    return TrainingOutput(maps[3], dict(zip(("s_g", "s_5", "s_4"), maps, strict=False))), maps, target


@pytest.mark.parametrize("kind", LABELS)
def test_with_nnunets_recipe_the_loss_is_the_mean_of_nnunets_over_the_outputs(make, kind):
    trainer = make(kind)
    trainer.initialize()
    single = stock_loss(trainer)
    output, maps, target = output_of(trainer, kind)
    expected = sum(single(m, target.clone()).item() for m in maps) / 4
    assert trainer.loss(output, target).item() == pytest.approx(expected, rel=1e-6)
    assert trainer.loss(maps[3], target).item() == pytest.approx(single(maps[3], target).item(), rel=1e-6), "validation"


def test_with_the_papers_recipe_it_is_the_sum_of_structure_losses(make):
    trainer = make(recipe=SummedRecipe(loss=structure_loss, normalise=False))
    trainer.initialize()
    output, maps, target = output_of(trainer, "labels")
    single = StructureLoss(patch_size=[64, 64], spacing=[1.0, 1.0])
    expected = sum(single(m, target).item() for m in maps)
    assert trainer.loss(output, target).item() == pytest.approx(expected, rel=1e-5)


def test_a_recipe_that_does_not_say_is_normalised(make):
    trainer = make(recipe=Recipe(initial_lr=0.1))
    trainer.initialize()
    output, maps, target = output_of(trainer, "labels")
    found = trainer.loss(output, target).item()
    assert found == pytest.approx(np.mean([trainer.loss.plain(m, target).item() for m in maps]), rel=1e-6)


def test_takes_a_step_and_validates_on_one_output(make):
    trainer = make("labels_ignore")
    trainer.initialize()
    before = {k: p.detach().clone() for k, p in trainer.network.named_parameters()}
    training, validation = trainer.get_dataloaders()
    trainer.network.train()
    assert np.isfinite(trainer.train_step(next(training))["loss"])
    still = [k for k, p in trainer.network.named_parameters() if torch.equal(p, before[k])]
    assert all(k.startswith("encoder.model.layer") for k in still), "timm starts residual branches at zero"
    batch = next(validation)
    with torch.no_grad():
        logits = trainer.network.eval()(batch["data"])
        expected = stock_loss(trainer)(logits, batch["target"].clone())
        assert trainer.validation_step(batch)["loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_a_new_training_begins_at_the_encoders_weights(make, tmp_path, monkeypatch):
    model = timm.create_model(BACKBONE)
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(model.state_dict(), folder / f"{BACKBONE}.pth")
    monkeypatch.setenv(FOLDER, str(folder))
    trainer = make(pretrained=True)
    trainer.initialize()
    for key, value in trainer.network.encoder.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    assert trainer.describe_method()["pretrained"] == f"{BACKBONE} from {folder / BACKBONE}.pth"
    assert json.dumps(trainer.recipe.describe())
    assert Path(trainer.output_folder).is_relative_to(tmp_path)
