"""The made data set: files, exact ground truth, determinism, and that a threshold does not solve it."""

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.dataset_conversion.convert import convert
from nnunet_ext.dataset_conversion.synthetic import SIDES, synthetic_pair, write_synthetic_dataset
from nnunet_ext.dataset_conversion.synthetic_shapes import draw_cells, draw_vessels


@pytest.fixture(scope="module")
def pairs():
    return [synthetic_pair(index) for index in range(20)]


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    return 2 * np.count_nonzero(prediction & reference) / (np.count_nonzero(prediction) + np.count_nonzero(reference))


def test_files_and_conversion(tmp_path):
    write_synthetic_dataset(tmp_path / "made", n_train=5, n_test=2, seed=3)
    train, test = tmp_path / "made/train", tmp_path / "made/test"
    assert [p.name for p in sorted((test / "masks").iterdir())] == ["cells_005_mask.png", "vessels_006_mask.png"]
    for mask_file in (train / "masks").iterdir():
        mask = Image.open(mask_file)
        image = Image.open(train / "images" / mask_file.name.replace("_mask", ""))
        assert (mask.mode, image.mode) == ("L", "RGB")
        assert mask.size == image.size
        assert set(np.unique(np.asarray(mask))) == {0, 255}
    result = convert(
        train / "images",
        train / "masks",
        7,
        "Made",
        tmp_path / "raw",
        mask_suffix="_mask",
        test_images=test / "images",
        test_masks=test / "masks",
    )
    assert (result.n_train, result.n_test, result.n_test_labels, result.image_mode) == (5, 2, 2, "RGB")
    assert result.notes == ()


def test_same_seed_same_bytes(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic_dataset(tmp_path / folder, n_train=2, n_test=1, seed=seed)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="n_test is -1; allowed are 0 and above"):
        write_synthetic_dataset(tmp_path, n_test=-1)


def test_sizes_kinds_and_foreground(pairs):
    shapes = {image.shape[:2] for _, image, _ in pairs}
    assert {side for shape in shapes for side in shape} == set(SIDES)
    assert any(height != width for height, width in shapes)
    assert [kind for kind, _, _ in pairs] == ["vessels", "cells"] * 10
    for _, image, mask in pairs:
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        assert 0.02 < np.mean(mask > 0) < 0.4


def test_no_global_threshold_solves_it(pairs):
    best = 0.0
    for channel in range(3):
        for threshold in range(5, 255, 10):
            above = [(image[..., channel] > threshold, mask > 0) for _, image, mask in pairs]
            best = max(best, np.mean([dice(a, m) for a, m in above]), np.mean([dice(~a, m) for a, m in above]))
    assert best < 0.6


def test_objects_are_visible(pairs):
    """Inside and just outside differ: the task can be learned from the pixels."""
    from scipy import ndimage

    for _, image, mask in pairs:
        ring = ndimage.binary_dilation(mask > 0, iterations=4) & ~ndimage.binary_dilation(mask > 0, iterations=1)
        step = image[mask > 0].astype(float).mean(axis=0) - image[ring].astype(float).mean(axis=0)
        assert np.abs(step).max() > 8


def test_cells_do_not_touch():
    from scipy import ndimage

    instances = draw_cells((128, 160), np.random.default_rng(5))
    n = int(instances.max())
    assert 10 < n < 40
    assert ndimage.label(instances > 0, np.ones((3, 3)))[1] >= n  # a cell may be cut, two are never joined


def test_vessels_are_connected():
    from scipy import ndimage

    for seed in range(3):
        mask, origin = draw_vessels((160, 128), np.random.default_rng(seed))
        parts, n = ndimage.label(mask, np.ones((3, 3)))
        assert n == 1
        assert parts[int(origin[0]), int(origin[1])] == 1
