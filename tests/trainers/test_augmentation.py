"""The paper's augmentation: flips and quarter turns, nothing else."""

import pytest
import torch

from nnunet_ext.trainers.augmentation import flips_and_quarter_turns, flips_and_scales, flips_and_small_turns


def draws(patch, initial, n=60):
    """`n` augmented copies of one image whose pixels are all different, with the segmentation alike."""
    pipeline = flips_and_quarter_turns(patch, (-3.14, 3.14), None, (0, 1), False, regions=None, ignore_label=None)
    image = torch.arange(float(initial[0] * initial[1])).view(1, *initial)
    for _ in range(n):
        out = pipeline(image=image.clone(), segmentation=image.clone().to(torch.int16))
        yield out["image"], out["segmentation"], image


@pytest.mark.parametrize(("patch", "variants"), [((8, 8), 8), ((8, 12), 4)])
def test_every_draw_is_a_flip_or_turn_of_the_centre(patch, variants):
    initial = (patch[0] + 4, patch[1] + 4)
    seen = set()
    for image, segmentation, whole in draws(patch, initial):
        centre = whole[:, 2 : 2 + patch[0], 2 : 2 + patch[1]]
        assert image.shape == centre.shape
        assert sorted(image.flatten().tolist()) == sorted(centre.flatten().tolist())
        assert torch.equal(image.to(torch.int16), segmentation)
        seen.add(tuple(image.flatten().tolist()))
    assert len(seen) == variants


def test_deep_supervision_and_ignored_borders_are_kept():
    pipeline = flips_and_quarter_turns((8, 8), (0, 0), [[1, 1], [0.5, 0.5]], (0, 1), False)
    out = pipeline(image=torch.zeros(3, 8, 8), segmentation=torch.full((1, 8, 8), -1, dtype=torch.int16))
    assert [tuple(s.shape) for s in out["segmentation"]] == [(1, 8, 8), (1, 4, 4)]
    assert not out["segmentation"][0].any()  # -1, outside of the image, is background


def test_a_cascades_corruption_of_the_previous_labels_stays():
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    arguments = ((8, 8, 8), (0, 0), None, (0, 1, 2), False)
    cascade = {"is_cascaded": True, "foreground_labels": [1, 2]}
    pipelines = [f(*arguments, **cascade) for f in (flips_and_quarter_turns, flips_and_small_turns, flips_and_scales)]
    for pipeline in pipelines:
        kept = [type(t.transform).__name__ for t in pipeline.transforms if isinstance(t, RandomTransform)]
        assert kept == [
            "ApplyRandomBinaryOperatorTransform",
            "RemoveRandomConnectedComponentFromOneHotEncodingTransform",
        ]
