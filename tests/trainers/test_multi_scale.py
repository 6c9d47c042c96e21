"""Training at several scales: sizes, resizing, one step a scale, statistics at the plan's own size."""

import json

import pytest
import torch

from nnunet_ext.architectures.published.slunet import MonaiUNetSpec, SLUNetSpec
from nnunet_ext.architectures.topology import Topology
from nnunet_ext.trainers.multi_scale import resize_batch, training_sizes
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.recipe import Recipe

SCALES = (0.75, 1.0, 1.25)


def topology(*patch):
    return Topology(2, patch, (4, 4), ((1, 1), (2, 2)), ((3, 3),) * 2, (1, 1), (1,))


@pytest.mark.parametrize(
    ("spec", "patch", "sizes"),
    [
        (SLUNetSpec(5, 1), (128, 192), [(96, 144), (128, 192), (160, 240)]),
        (MonaiUNetSpec(5, 2), (100, 128), [(80, 96), (100, 128), (128, 160)]),
        (SLUNetSpec(8, 2), (256, 256), [(256, 256)]),  # 192 and 320 are nearer to 256 than to other multiples of 128
        (SLUNetSpec(8, 2), (384, 512), [(256, 384), (384, 512), (512, 640)]),
        (None, (30, 30), [(22, 22), (30, 30), (38, 38)]),
    ],
    ids=str,
)
def test_sizes_fit_the_network(spec, patch, sizes):
    assert training_sizes(spec, topology(*patch), SCALES) == sizes


def test_images_are_resized_with_aligned_corners_and_labels_stay_labels():
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    target = torch.randint(-1, 3, (1, 1, 8, 8)).float()
    small = target[:, :, ::2, ::2]
    batch = {"data": ramp, "target": [target, small], "keys": ["a"]}
    out = resize_batch(batch, (12, 16))
    assert torch.allclose(out["data"][0, 0, 3], torch.linspace(0, 1, 16), atol=1e-6)
    assert out["target"][0].dtype == target.dtype
    assert [tuple(t.shape[2:]) for t in out["target"]] == [(12, 16), (6, 8)]
    assert set(out["target"][0].unique().tolist()) <= set(target.unique().tolist())
    assert out["keys"] == ["a"]
    assert resize_batch(batch, (8, 8)) is batch


@pytest.mark.parametrize("size", [(24, 24), (40, 40), (31, 57)])
def test_masks_stay_where_the_images_are(size):
    """A ramp along each axis, as image and as labels: they differ by rounding only, and not on average."""
    for axis in (2, 3):
        ramp = torch.arange(32.0).view(1, 1, *[-1 if a == axis else 1 for a in (2, 3)]).expand(1, 1, 32, 32)
        out = resize_batch({"data": ramp, "target": ramp}, size)
        shift = out["target"] - out["data"]
        assert shift.mean().abs() < 0.05  # a mask half a pixel aside has 0.3 and more
        assert shift.abs().max() <= 0.5 + 1e-4


def test_scales_without_the_plans_own_are_refused():
    with pytest.raises(ValueError, match=r"scales=\(0.75, 1.25\) lack 1"):
        Recipe(scales=(0.75, 1.25))


def test_each_batch_is_trained_once_a_scale_and_judged_at_its_own(make_trainer):
    trainer = make_trainer("nnUNetTrainerSLUNet_5L1Res_2epochs_2iters_paper", patch_size=[64, 64])
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    seen, steps = [], []
    trainer.network.register_forward_pre_hook(lambda m, a: seen.append(tuple(a[0].shape[2:])))
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    batch = next(trainer.dataloader_train)
    result = trainer.train_step(batch)
    assert seen == [(48, 48), (64, 64), (80, 80)]
    assert len(steps) == 3
    statistics = trainer.loss.method.statistics()
    assert statistics[-1] == len(batch["data"])  # each image once
    assert statistics[:-1].mean() / statistics[-1] == pytest.approx(float(result["loss"]), rel=1e-5)
    assert trainer.loss.method.recording


def test_the_plain_recipe_has_one_scale():
    assert resolve("nnUNetTrainerSLUNet").recipe.scales is None
    assert resolve("nnUNetTrainerSLUNet_paper").recipe.describe()["scales"] == SCALES


def test_the_manifest_tells_depth_selection_and_rule(make_trainer):
    trainer = make_trainer("nnUNetTrainerSLUNet_5L1Res_2epochs_2iters")
    trainer.run_training()
    with open(f"{trainer.output_folder}/nnunet_ext_manifest.json") as f:
        method = json.load(f)["method"]
    assert (method["depth"], method["n_selected"]) == (16, 5)
    assert "lowest mean training loss" in method["selection_rule"]
    assert method["selected"] == trainer.unwrapped_network.selection.selected.tolist()
    ranked = sorted(range(16), key=lambda d: method["mean_loss"][d])
    assert set(ranked[:5]) == set(method["selected"])
