"""How the OVeNet paper trains: SGD, sizes 0.5 to 2, horizontal flips, no labels outside of images, hard pixels."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from support import make_dataset_json, make_plans, write_preprocessed
from trainers.conftest import LABELS, construct

from nnunet_ext.losses.ohem import OhemCrossEntropy
from nnunet_ext.trainers.augmentation import flips_and_scales
from nnunet_ext.trainers.naming import resolve

NAME = "nnUNetTrainerOVeNet_paper"
NAMES = [NAME, "nnUNetTrainerHRNetW48_paper", "nnUNetTrainerOVeNet_HRNetW48OCR_paper"]


def test_optimiser_and_schedule(make_trainer):
    trainer = make_trainer(NAME)
    trainer.initialize()
    assert type(trainer.optimizer) is torch.optim.SGD
    (group,) = trainer.optimizer.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, False, 5e-4)
    assert {id(p) for p in group["params"]} == {id(p) for p in trainer.network.parameters()}
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (
        484,
        371,
        62,
    )
    for epoch in (0, 1, 242, 483):
        trainer.lr_scheduler.step(epoch)
        assert group["lr"] == pytest.approx(0.01 * (1 - epoch / 484) ** 0.9), epoch


@pytest.mark.parametrize("name", NAMES)
def test_every_trainer_of_the_paper_has_it(name):
    recipe = resolve(name).recipe
    assert (recipe.initial_lr, recipe.mirror_axes, recipe.margin, recipe.num_epochs) == (0.01, (-1,), 2.0, 484)
    assert recipe.padding_is_ignored
    assert recipe.describe()["loss"].endswith("ohem")
    assert getattr(getattr(recipe, "offset_loss", None), "normalise", None) == (False if "OVeNet" in name else None)


# ----------------------------------------------------------------------------------------------- what images go through


def draws(n, patch=(32, 32), region=(64, 64)):
    """`n` augmented patches of an image whose two channels are its rows and columns, 0 in the centre."""
    rows, columns = np.meshgrid(*(np.arange(s) - (s - 1) / 2 for s in region), indexing="ij")
    image = torch.from_numpy(np.stack([rows, columns]).astype(np.float32))
    pipeline = flips_and_scales(patch, (-3.14, 3.14), None, (1,), False)
    np.random.seed(0)
    torch.manual_seed(0)
    for _ in range(n):
        yield pipeline(image=image.clone(), segmentation=torch.zeros(1, *region, dtype=torch.int16))["image"]


def test_sizes_are_drawn_evenly_and_nothing_else_is_random():
    """Each patch is an enlargement about the centre, the same along both axes, flipped along the last one or not."""
    places = torch.arange(32) - 15.5
    sizes, flips = [], Counter()
    for rows, columns in draws(200):
        step = (rows[20, 16] - rows[12, 16]) / 8
        side = torch.sign(columns[16, 20] - columns[16, 12])
        assert torch.allclose(rows, (step * places)[:, None].expand(32, 32), atol=1e-3)
        assert torch.allclose(columns, (side * step * places).expand(32, 32), atol=1e-3)
        sizes.append(1 / step.item())
        flips[side.item()] += 1
    assert 0.5 <= min(sizes) < 0.53
    assert 1.95 < max(sizes) <= 2.001
    assert stats.kstest(sizes, stats.uniform(0.5, 1.5).cdf).pvalue > 0.01
    assert set(flips) == {-1, 1}
    assert min(flips.values()) > 70


def test_a_region_of_twice_the_patch_is_enough_for_half_the_size():
    assert all(image.abs().max() <= 31.5 and image.ne(0).all() for image in draws(50))


@pytest.mark.parametrize(
    ("plan", "region", "axes"),
    [
        ({"patch_size": [32, 48]}, (64, 96), (1,)),
        ({"patch_size": [16, 16, 16]}, (32, 32, 32), (2,)),
        ({"patch_size": [8, 32, 32], "anisotropic": True}, (8, 64, 64), (2,)),
    ],
)
def test_regions_and_mirror_axes(make_trainer, plan, region, axes):
    trainer = make_trainer(NAME, "labels_ignore", **plan)
    trainer.initialize()
    *_, size, mirrored = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert all(s >= r for s, r in zip(size, region, strict=True))
    assert mirrored == trainer.inference_allowed_mirroring_axes == axes
    training, validation = (next(loader) for loader in trainer.get_dataloaders())
    for batch in (training, validation):
        assert list(batch["data"].shape[2:]) == list(batch["target"][0].shape[2:]) == plan["patch_size"]


def test_the_slices_of_an_anisotropic_patch_are_those_of_the_image(make_trainer):
    """They are augmented one by one, so that as many come out as are taken."""
    trainer = make_trainer(NAME, patch_size=[8, 32, 32], anisotropic=True)
    *_, dummy_2d, size, _ = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert dummy_2d
    assert size[0] == 8


def test_a_checkpoint_mirrors_one_axis_at_inference(make_trainer):
    trainer = make_trainer(NAME)
    trainer.on_train_start()
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.save_checkpoint(path)
    assert torch.load(path, weights_only=False)["inference_allowed_mirroring_axes"] == (1,)


# ---------------------------------------------------------------------------------------------------- outside of images


@pytest.fixture
def small_images(nnunet_folders):
    """Returns `loaders(name, kind)`: of images of 24 pixels a side, smaller than the patch."""

    def loaders(name, kind):
        plans, (labels, n_labels, ignore) = make_plans([32, 32]), LABELS[kind]
        dataset = make_dataset_json(labels)
        write_preprocessed(nnunet_folders / "nnUNet_preprocessed", plans, dataset, (24, 24), 6, n_labels, ignore)
        trainer = construct(name, plans, dataset)
        trainer.initialize()
        return trainer.get_dataloaders()

    return loaders


@pytest.mark.parametrize(("kind", "outside"), [("labels_ignore", 3), ("labels", 0)])
def test_outside_of_images_nothing_is_labelled_where_the_dataset_can_say_so(small_images, kind, outside):
    for loader in small_images(NAME, kind):
        batches = [next(loader) for _ in range(4)]
        padded, within = [], []
        for batch in batches:
            beyond = (batch["data"] == 0).all(1, keepdim=True)  # images are noise, and padded with zeros
            target = batch["target"][0]
            padded.append(target[beyond])
            within.append(target[~beyond])
        padded, within = torch.cat(padded), torch.cat(within)
        assert len(padded) > 500
        assert set(padded.tolist()) == {outside}
        assert {1, 2} <= set(within.tolist()) <= {0, 1, 2, outside}


def test_without_the_recipe_the_outside_is_class_0(small_images):
    batch = next(small_images("nnUNetTrainerOVeNet", "labels_ignore")[1])
    beyond = (batch["data"] == 0).all(1, keepdim=True)
    assert beyond.sum() > 100
    assert not batch["target"][0][beyond].any()


# ----------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize(("kind", "ignore"), [("labels", None), ("labels_ignore", 3)])
def test_hard_pixels_know_the_ignore_label(make_trainer, kind, ignore):
    trainer = make_trainer(NAME, kind)
    trainer.initialize()
    found = [m for m in trainer.loss.modules() if isinstance(m, OhemCrossEntropy)]
    assert found
    assert {(m.ignore_label, m.threshold, m.min_kept) for m in found} == {(ignore, 0.9, 131072)}


@pytest.mark.parametrize("kind", ["regions", "regions_ignore"])
def test_regions_are_refused_before_a_folder_is_made(make_trainer, nnunet_folders, kind):
    message = r"nnUNetTrainerOVeNet_paper .*needs one class a voxel.*Train without _paper\."
    with pytest.raises(ValueError, match=message):
        make_trainer(NAME, kind)
    assert not list((nnunet_folders / "nnUNet_results").iterdir())


@pytest.mark.parametrize("plan", [{}, {"patch_size": [8, 32, 32], "anisotropic": True}])
def test_trains(make_trainer, plan):
    trainer = make_trainer("nnUNetTrainerOVeNet_1epochs_2iters_paper", "labels_ignore", **plan)
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert np.isfinite(log["train_losses"] + log["val_losses"]).all()
