"""The IFE paper's augmentation: brightness, contrast, local contrast, flips, turns by any angle; labels go along."""

import math
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from scipy import stats
from skimage.exposure import equalize_adapthist

from nnunet_ext.trainers.augmentation_ife import (
    BrightnessAndContrast,
    LocalContrast,
    contrast_flips_and_turns,
    room_to_turn,
)


def pipeline_of(patch, mirror_axes=(), dummy_2d=False, *, turns=True, contrast=True, **kwargs):
    """The augmentation, without the chance of turns or of other contrast if so wished."""
    pipeline = contrast_flips_and_turns(patch, (-0.3, 0.3), None, mirror_axes, dummy_2d, **kwargs)
    if not contrast:
        pipeline.transforms = [t for t in pipeline.transforms if not isinstance(t, RandomTransform)]
    for transform in pipeline.transforms:
        if isinstance(transform, SpatialTransform) and not turns:
            transform.p_rotation = 0
    np.random.seed(0)
    torch.manual_seed(0)
    return pipeline


def coordinates(*region):
    """`(dims, *region)`: of every voxel its place along each axis, 0 in the centre."""
    axes = np.meshgrid(*(np.arange(s) - (s - 1) / 2 for s in region), indexing="ij")
    return torch.from_numpy(np.stack(axes).astype(np.float32))


def labels(*shape, value=0):
    return torch.full(shape, value, dtype=torch.int16)


# --------------------------------------------------------------------------------------------------- turns and flips


def test_every_second_image_is_turned_by_whole_degrees_from_minus_90_to_89():
    """Each patch is the image about the centre, turned; unturned ones begin at a whole pixel of the odd region."""
    pipeline, image = pipeline_of((16, 16), contrast=False), coordinates(23, 23)
    rows, columns = coordinates(16, 16)
    angles = []
    for _ in range(500):
        out = pipeline(image=image.clone(), segmentation=labels(1, 23, 23))["image"]
        if not torch.equal(out, image[:, 3:19, 3:19]):
            angle = math.atan2(out[0, 8, 4] - out[0, 8, 12], out[0, 12, 8] - out[0, 4, 8])
            sine, cosine = math.sin(angle), math.cos(angle)
            turned = torch.stack([cosine * rows - sine * columns, sine * rows + cosine * columns])
            assert torch.allclose(out, turned, atol=1e-3)
            angles.append(math.degrees(angle))
    assert stats.binomtest(len(angles), 500, 0.5).pvalue > 0.01
    assert np.allclose(angles, np.round(angles), atol=0.01)
    assert set(np.round(angles)) <= set(range(-90, 90))
    assert stats.kstest(angles, stats.uniform(-90, 180).cdf).pvalue > 0.01


def test_labels_are_turned_and_flipped_with_the_image():
    pipeline, image = pipeline_of((16, 16), (0, 1), contrast=False), coordinates(24, 24)
    segmentation = (image[:1] + 0.5 * image[1:] > 0).to(torch.int16)
    for _ in range(60):
        out = pipeline(image=image.clone(), segmentation=segmentation.clone())
        height = out["image"][0] + 0.5 * out["image"][1]
        sure = height.abs() > 1.5  # beyond the pixels in which the border is rounded
        assert torch.equal((out["segmentation"][0] > 0)[sure], (height > 0)[sure])


def test_each_flip_has_every_second_image():
    pipeline, image = pipeline_of((4, 4), (0, 1), turns=False, contrast=False), coordinates(4, 4)
    flips = Counter()
    for _ in range(400):
        out = pipeline(image=image.clone(), segmentation=labels(1, 4, 4))["image"]
        flips[bool(out[0, 0, 0] > 0), bool(out[1, 0, 0] > 0)] += 1
    assert len(flips) == 4
    assert stats.chisquare(list(flips.values())).pvalue > 0.01


@pytest.mark.parametrize("patch", [(16, 16), (12, 30), (30, 13)])
def test_in_its_room_a_patch_turns_without_a_border(patch):
    region = room_to_turn(patch)
    assert region == (math.ceil(math.hypot(*patch)),) * 2
    pipeline = pipeline_of(patch, contrast=False)
    for _ in range(60):
        out = pipeline(image=torch.ones(1, *region), segmentation=labels(1, *region, value=1))
        assert out["image"].min() > 0.999
        assert out["segmentation"].min() == 1


def test_beyond_the_region_are_zeros():
    pipeline = pipeline_of((16, 16), contrast=False)
    corners = [
        pipeline(image=torch.ones(1, 16, 16), segmentation=labels(1, 16, 16))["image"][0, 0, 0] for _ in range(40)
    ]
    assert min(corners) == 0


@pytest.mark.parametrize("dummy_2d", [False, True])
def test_volumes_are_turned_about_their_first_axis(dummy_2d):
    pipeline, image = pipeline_of((4, 16, 16), (1, 2), dummy_2d, contrast=False), coordinates(4, 23, 23)
    turned = 0
    for _ in range(30):
        out = pipeline(image=image.clone(), segmentation=labels(1, 4, 23, 23))["image"]
        assert torch.allclose(out[0], image[0, :, :16, :16], atol=1e-4)
        assert torch.allclose(out[1:], out[1:, :1], atol=1e-4)  # all slices alike
        turned += bool((out[1, 0, 0] - out[1, 0, 0, 0]).abs().max() > 0.1)
    assert 5 < turned < 25


# ---------------------------------------------------------------------------------------------- how often, and where


def test_how_often_contrast_is_changed(monkeypatch):
    """0.9 x (1/2 one, 1/2 the other)."""
    done = []
    for change in (BrightnessAndContrast, LocalContrast):
        monkeypatch.setattr(change, "_apply_to_image", lambda self, img, **_: (done.append(type(self)), img)[1])
    pipeline, seen = pipeline_of((4, 4), turns=False), Counter()
    for _ in range(800):
        done.clear()
        pipeline(image=torch.randn(1, 4, 4), segmentation=labels(1, 4, 4))
        seen[tuple(done)] += 1
    one, other = (BrightnessAndContrast,), (LocalContrast,)
    assert set(seen) == {(), one, other, one + other}
    assert stats.chisquare([seen[one], seen[other], seen[one + other], seen[()]],
                           [180, 180, 180, 260]).pvalue > 0.01  # fmt: skip


def test_contrast_does_not_touch_labels_or_padding():
    """An image of noise in a corner of a larger patch; outside it is 0 and labelled -1, which becomes background."""
    torch.manual_seed(1)
    image, segmentation = torch.zeros(2, 24, 24), labels(1, 24, 24, value=-1)
    image[:, :16, :20], segmentation[:, :16, :20] = torch.randn(2, 16, 20) + 3, 1
    segmentation[:, 4:9, 3:12] = 2
    image[:, 20:, 20:] = -2.5  # of the image, and black: nnU-Net labels it -1, too
    pipeline, changed = pipeline_of((24, 24), turns=False), 0
    for _ in range(60):
        out = pipeline(image=image.clone(), segmentation=segmentation.clone())
        assert torch.equal(out["segmentation"], segmentation.clamp(min=0))
        assert not out["image"][:, :16, 20:].any()
        assert not out["image"][:, 16:, :20].any()
        assert out["image"][:, 20:, 20:].all()
        changed += not torch.equal(out["image"], image)
    assert changed > 20


@pytest.mark.parametrize("dummy_2d", [False, True])
def test_a_cascades_labels_are_turned_with_the_image_and_stay_0_or_1(dummy_2d):
    region = (4, 24, 24)
    cascade = {"is_cascaded": True, "foreground_labels": [1, 2]}
    pipeline, image = pipeline_of((4, 16, 16), (1, 2), dummy_2d, **cascade), torch.randn(1, *region)
    pipeline.transforms[-2].apply_probability = pipeline.transforms[-1].apply_probability = 0  # nnU-Net's corruption
    before = (coordinates(*region)[1:2] > 0).to(torch.int16) + (coordinates(*region)[2:] > 3).to(torch.int16)
    for _ in range(20):
        out = pipeline(image=image.clone(), segmentation=torch.cat([before, before]))
        assert out["image"].shape == (3, 4, 16, 16)
        for channel, label in ((1, 1), (2, 2)):
            assert torch.equal(out["image"][channel], (out["segmentation"][0] == label).float())


@pytest.mark.parametrize("dummy_2d", [False, True])
def test_a_volumes_channel_has_one_brightness_and_its_own_padding(dummy_2d):
    """Slices of constant values: local contrast leaves them, brightness does not; the last one is padding."""
    image = torch.arange(1.0, 5.0).view(1, 4, 1, 1).expand(1, 4, 8, 8).clone()
    segmentation = labels(1, 4, 8, 8)
    image[:, 3], segmentation[:, 3] = 0, -1
    pipeline = pipeline_of((4, 8, 8), (), dummy_2d, turns=False)
    outs = [pipeline(image=image.clone(), segmentation=segmentation.clone())["image"] for _ in range(30)]
    assert 5 < sum(not torch.equal(out, image) for out in outs) < 25
    assert all(not out[:, 3].any() for out in outs)


def test_masks_regions_and_coarser_targets_are_kept():
    image, segmentation = torch.randn(1, 16, 16), labels(1, 16, 16, value=-1)
    segmentation[:, 4:12, 4:12], segmentation[:, 6:8, 6:8] = 1, 2
    pipeline = contrast_flips_and_turns((16, 16), (-0.3, 0.3), [[1, 1], [0.5, 0.5]], (0, 1), False,
                                        use_mask_for_norm=[True], regions=[(1, 2), (2,)])  # fmt: skip
    for _ in range(10):
        out = pipeline(image=image.clone(), segmentation=segmentation.clone())
        fine, coarse = out["segmentation"]
        assert (tuple(fine.shape), tuple(coarse.shape)) == ((2, 16, 16), (2, 8, 8))
        assert not out["image"][0][fine[0] == 0].any()  # not of the image: set to 0


# ------------------------------------------------------------------------------------------ brightness and contrast


def test_brightness_and_contrast_are_shares_of_each_channels_range():
    """Worked out by hand: a x + b on the range from 0 to 1, cut off there."""
    image = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[-1.0, -1.0], [-2.0, 6.0]], [[7.0, 7.0], [7.0, 7.0]]])
    change = BrightnessAndContrast()
    darker = change.apply({"image": image.clone()}, contrast=0.8, brightness=-0.1)["image"]
    assert torch.allclose(darker[0], torch.tensor([[0.0, 0.4], [1.2, 2.8]]))
    assert torch.allclose(darker[1], torch.tensor([[-2.0, -2.0], [-2.0, 3.6]]))
    brighter = change.apply({"image": image.clone()}, contrast=1.2, brightness=0.2)["image"]
    assert torch.allclose(brighter[0], torch.tensor([[0.8, 2.0], [3.2, 4.0]]))
    assert torch.equal(darker[2], image[2])
    assert torch.equal(brighter[2], image[2])


def test_brightness_and_contrast_are_drawn_evenly():
    np.random.seed(0)
    drawn = [BrightnessAndContrast().get_parameters() for _ in range(400)]
    for name, low in (("contrast", 0.8), ("brightness", -0.2)):
        values = [parameters[name] for parameters in drawn]
        assert stats.kstest(values, stats.uniform(low, 0.4).cdf).pvalue > 0.01
    assert abs(np.corrcoef([p["contrast"] for p in drawn], [p["brightness"] for p in drawn])[0, 1]) < 0.15


# -------------------------------------------------------------------------------------------------- local contrast


@pytest.mark.parametrize(("shape", "tile"), [((2, 250, 320), (32, 40)), ((2, 3, 50, 40), (7, 5))])
def test_local_contrast_is_scikit_images_of_each_slice(shape, tile):
    image = torch.from_numpy(np.random.default_rng(0).normal(3, 2, shape).cumsum(-1).astype(np.float32))
    out = LocalContrast()(image=image.clone())["image"]
    assert out.shape == image.shape
    assert out.dtype == torch.float32
    for before, after in zip(image.view(-1, *shape[-2:]).numpy(), out.view(-1, *shape[-2:]).numpy(), strict=True):
        low, high = before.min(), before.max()
        expected = equalize_adapthist((before - low) / (high - low), kernel_size=tile, clip_limit=1.5 / 256, nbins=256)
        assert np.allclose(after, low + expected * (high - low), atol=1e-4)
        assert (after.min(), after.max()) == pytest.approx((low, high), rel=1e-5)
        assert not np.allclose(after, before, atol=0.1)


def test_local_contrast_shows_a_faint_texture_beside_a_bright_field():
    texture = torch.arange(64) // 2 % 2 * 0.1
    image = torch.where(torch.arange(64)[:, None] < 32, 10.0, 0.0) + texture.expand(64, 64)
    out = LocalContrast()(image=image[None].clone())["image"][0]
    assert out[50].std() > 1.5 * image[50].std()


def test_constant_channels_stay_as_they_are():
    image = torch.stack([torch.full((32, 32), 0.3), torch.randn(32, 32), torch.zeros(32, 32)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # e.g. of a division by 0
        out = LocalContrast()(image=image.clone())["image"]
    assert torch.equal(out[::2], image[::2])
    assert out.isfinite().all()
    assert not torch.equal(out[1], image[1])
