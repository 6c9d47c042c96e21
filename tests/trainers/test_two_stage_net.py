"""Training of the two-stage networks, narrow: targets of every kind, the paper's recipe, what predicts, refusals."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from scipy import stats
from support import make_dataset_json, make_plans
from trainers.conftest import LABELS, construct, stock_loss

from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.two_stage_unet import TwoStageUNetSpec
from nnunet_ext.architectures.topology import UnsupportedPlanError
from nnunet_ext.cascade.hosted import TwoStageNetSpec
from nnunet_ext.losses.focal_dice import FocalDiceLoss
from nnunet_ext.trainers import naming
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.two_stage_net import flips_contrast_and_whole_turns

NET, UNET = "nnUNetTrainerTwoStageNet", "nnUNetTrainerTwoStageUNet"
SMALL = (4, 6, 8, 10, 12)
SPECS = {NET: TwoStageNetSpec(2, 2, SMALL), UNET: TwoStageUNetSpec(SMALL)}


@pytest.fixture
def make(make_trainer, monkeypatch):
    """Returns `make(name, kind)`, which constructs the trainer with a narrow network for patches of 64 pixels."""

    def construct_narrow(name=NET, kind="labels", **plan):
        spec = SPECS[name.split("_")[0]]
        narrow = type(name, (resolve(name),), {"spec": spec, "__module__": naming.__name__})
        monkeypatch.setitem(naming._resolved, name, narrow)
        torch.manual_seed(0)
        return make_trainer(name, kind, **{"patch_size": [64, 64]} | plan)

    return construct_narrow


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("paper", [False, True])
def test_every_parameter_learns_and_validation_is_of_the_whole(make, kind, paper):
    trainer = make(f"{NET}_paper" if paper else NET, kind)
    trainer.initialize()
    before = {k: p.detach().clone() for k, p in trainer.network.named_parameters()}
    training, validation = trainer.get_dataloaders()
    trainer.network.train()
    assert np.isfinite(trainer.train_step(next(training))["loss"])
    assert not [k for k, p in trainer.network.named_parameters() if torch.equal(p, before[k])]
    batch = next(validation)
    labels = trainer.label_manager
    single = FocalDiceLoss(labels.has_regions, labels.ignore_label) if paper else stock_loss(trainer)
    with torch.no_grad():
        logits = trainer.network.eval()(batch["data"])
        expected = single(logits, batch["target"].clone())
        assert logits.shape[2:] == batch["target"].shape[2:]
        assert trainer.validation_step(batch)["loss"] == pytest.approx(expected.item(), rel=1e-5)
    total = logits.sigmoid() if labels.has_regions else logits.exp().sum(1)
    assert labels.has_regions == bool(trainer.network.uses_sigmoid)
    assert labels.has_regions or torch.allclose(total, torch.ones_like(total), atol=1e-4)


@pytest.mark.parametrize("kind", ["labels_ignore", "regions"])
def test_the_loss_is_the_sum_of_both_stages(make, kind):
    trainer = make(NET, kind)
    trainer.initialize()
    single, (training, _) = stock_loss(trainer), trainer.get_dataloaders()
    batch = next(training)
    target = batch["target"]
    output = trainer.network.train()(batch["data"])
    assert isinstance(output, TrainingOutput)
    small = trainer.loss.method.shrunk(target, (32, 32))
    parts = [single(output.logits, small)]
    boxes = [target[b, :, i : i + 32, j : j + 32] for b, (i, j) in enumerate(output.extra["corners"].int().tolist())]
    parts.append(single(output.extra["fine"], torch.stack(boxes)))
    found = trainer.loss(output, target)
    assert found.item() == pytest.approx(sum(parts).item(), rel=1e-5)
    assert trainer.describe_method() == {"np": 2, "budget": 0.5, "factor": 2}


def test_only_the_paper_trains_the_coarse_network_at_another_scale(make):
    for name, enlarged in ((NET, False), (f"{NET}_paper", True)):
        trainer = make(name)
        trainer.initialize()
        assert ("coarse_corners" in trainer.network.train()(torch.randn(1, 3, 64, 64)).extra) == enlarged
        assert trainer.recipe.describe()["enlarged_coarse"] == enlarged


# ----------------------------------------------------------------------------------------------------------- the recipe


@pytest.mark.parametrize("name", [NET, UNET])
def test_optimiser_schedule_and_length(make, name):
    trainer = make(f"{name}_paper")
    trainer.initialize()
    assert type(trainer.optimizer) is torch.optim.Adam
    (group,) = trainer.optimizer.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.999), 0)
    for epoch in (0, 1, 100, 199):
        trainer.lr_scheduler.step(epoch)
        assert group["lr"] == 1e-4
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (200, 77, 15)
    assert any(isinstance(m, FocalDiceLoss) for m in trainer.loss.modules())
    assert not trainer.enable_deep_supervision
    assert trainer.recipe.enlarged_coarse == (name == NET), "the baseline has no coarse network"


@pytest.mark.parametrize("name", [NET, UNET])
def test_the_paper_flips_in_training_and_does_not_mirror_to_predict(make, name):
    trainer = make(f"{name}_paper")
    trainer.on_train_start()
    *_, region, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes == (1,)
    assert min(region) >= math.ceil(64 * math.sqrt(2))
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.save_checkpoint(path)
    assert torch.load(path, weights_only=False)["inference_allowed_mirroring_axes"] is None


def test_by_default_it_mirrors_as_nnunet_does(make):
    trainer = make()
    trainer.on_train_start()
    assert trainer.inference_allowed_mirroring_axes == (0, 1)


def test_what_images_go_through():
    """Every second is turned, by any angle; every second flipped; every second changed by a x + b."""
    rows, columns = np.meshgrid(*[np.arange(24) - 11.5] * 2, indexing="ij")
    image = torch.from_numpy(np.stack([rows, columns]).astype(np.float32))
    pipeline = flips_contrast_and_whole_turns((16, 16), (-0.3, 0.3), None, (1,), False)
    np.random.seed(0)
    torch.manual_seed(0)
    found, angles = Counter(), []
    for _ in range(300):
        out = pipeline(image=image.clone(), segmentation=torch.zeros(1, 24, 24, dtype=torch.int16))["image"]
        down, right = ((out[:, 9, 8] - out[:, 7, 8]) / 2).tolist(), ((out[:, 8, 9] - out[:, 8, 7]) / 2).tolist()
        found["flipped"] += down[0] * right[1] - down[1] * right[0] < 0
        angle = math.degrees(math.atan2(down[1], down[0]))
        if abs(angle) > 1e-3:
            angles.append(angle)
        scale = math.hypot(*down)
        found["changed"] += abs(scale - 1) > 1e-4 or abs(float(out[0, 7:9, 7:9].mean())) > 1e-3
        assert 0.899 < scale < 1.101
    for count in (found["flipped"], found["changed"], len(angles)):
        assert stats.binomtest(count, 300, 0.5).pvalue > 0.01
    assert stats.kstest(angles, stats.uniform(-180, 360).cdf).pvalue > 0.01


def test_padding_stays_padding():
    """Where nnU-Net's data is 0 and labelled -1, brightness changes nothing."""
    pipeline = flips_contrast_and_whole_turns((16, 16), (-0.3, 0.3), None, (), False)
    image, labels = torch.rand(1, 24, 24) + 1, torch.zeros(1, 24, 24, dtype=torch.int16)
    image[..., :12], labels[..., :12] = 0, -1
    for transform in pipeline.transforms:
        if hasattr(transform, "p_rotation"):
            transform.p_rotation = 0
    changed = 0
    for _ in range(20):
        out = pipeline(image=image.clone(), segmentation=labels.clone())["image"]
        assert not out[..., :8].any()
        changed += not torch.equal(out, image[..., 4:20, 4:20])
    assert changed > 3


# ---------------------------------------------------------------------------------------------- what predicts, refusals


@pytest.mark.parametrize("kind", ["labels", "regions"])
def test_nnunets_own_predictor_gives_what_the_network_does(make, kind):
    trainer = make(NET, kind)
    trainer.on_train_start()
    path = f"{trainer.output_folder}/checkpoint_final.pth"
    trainer.save_checkpoint(path)
    weights = torch.load(path, weights_only=False)["network_weights"]
    outputs = trainer.label_manager.num_segmentation_heads
    bare = trainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 3, outputs, False)
    predictor = nnUNetPredictor(use_gaussian=False, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        bare, trainer.plans_manager, trainer.configuration_manager, [weights], trainer.dataset_json, NET, None
    )
    x = torch.randn(3, 1, 64, 64)
    found = predictor.predict_logits_from_preprocessed_data(x)
    with torch.no_grad():
        expected = trainer.network.eval()(x[:, 0][None])[0]
    assert torch.allclose(found[:, 0].float(), expected, atol=2e-3), "summed in half precision"
    p = found.float().sigmoid() if kind == "regions" else found.float().exp()
    assert p.min() > 0
    assert p.max() < 1.02


@pytest.mark.parametrize(
    ("name", "patch", "message"),
    [
        (f"{NET}_Np16", [256, 256], r"TwoStageNet_Np16 .*16 x 16.*have \[16, 16\].*another Np.*\[512, 512\]"),
        (NET, [128, 512], r"TwoStageNet .*8 times smaller, have \[16, 64\].*TwoStageUNet.*\[256, 512\]"),
        (NET, [16, 16, 16], r"3D.*2D only"),
    ],
)
def test_plans_that_do_not_fit_are_refused_before_a_folder_is_made(nnunet_folders, name, patch, message):
    with pytest.raises(UnsupportedPlanError, match=message):
        construct(name, make_plans(patch), make_dataset_json())
    assert not list((nnunet_folders / "nnUNet_results").iterdir())


def test_whole_maps_have_no_added_loss(nnunet_folders):
    with pytest.raises(ValueError, match=rf"LossNet.*Type: -tr {NET}_5epochs$"):
        construct(f"{NET}_LossNet_5epochs", make_plans([256, 256]), make_dataset_json())


def test_np_of_each_name():
    for n in (2, 4, 8, 16):
        assert resolve(f"{NET}_Np{n}").spec == TwoStageNetSpec(grid=n, factor=8)
    assert resolve(NET).spec == resolve(f"{NET}_Np4").spec
