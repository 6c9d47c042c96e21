"""A made data set of 2D image and mask pairs that looks like fundus photographs and cell microscopy.

It is for demonstrations and tests: small, free of rights, exact in its ground truth, and not solved by a threshold.
Half of the images show vessels, half cells (stained tissue and fluorescence in turn). Specks, blurred shadows,
uneven light and noise are in the images but not in the masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from nnunet_ext.dataset_conversion.synthetic_shapes import draw_cells, draw_vessels

SIDES = (128, 160, 192)


@dataclass(frozen=True)
class _Look:
    """Colours and strengths of one kind of image; RGB in 0 to 1."""

    background: tuple[float, float, float]
    shade: tuple[float, float, float]  # what the texture and the blurred shadows mix in
    objects: tuple[float, float, float]
    speck: tuple[float, float, float]
    texture: float
    contrast: tuple[float, float]  # opacity of the objects, from faint to strong


FUNDUS = _Look((0.80, 0.43, 0.22), (0.50, 0.20, 0.10), (0.44, 0.12, 0.09), (0.98, 0.85, 0.55), 0.35, (0.30, 0.90))
STAINED = _Look((0.93, 0.82, 0.90), (0.80, 0.52, 0.72), (0.42, 0.27, 0.58), (1.00, 0.98, 0.95), 0.60, (0.50, 0.95))
FLUORESCENCE = (
    _Look((0.05, 0.06, 0.14), (0.12, 0.18, 0.38), (0.36, 0.55, 1.00), (0.85, 0.92, 1.00), 0.45, (0.30, 0.90)),
    _Look((0.04, 0.09, 0.06), (0.10, 0.30, 0.16), (0.38, 0.92, 0.45), (0.90, 1.00, 0.80), 0.45, (0.30, 0.90)),
)


def write_synthetic_dataset(folder: Path, *, n_train: int = 32, n_test: int = 8, seed: int = 0) -> None:
    """Write ``train`` and ``test``, each with ``images/<case>.png`` and ``masks/<case>_mask.png``.

    Images are 8-bit RGB with sides of 128, 160 or 192 pixels, not always square. Masks have the same size, one
    channel, 0 background and 255 foreground (vessels or cells). Case names are unique over both parts. The same
    arguments give the same pixels; files of the same name are overwritten.

    Args:
        folder: created if it does not exist.
        n_train: number of training pairs.
        n_test: number of test pairs.
        seed: non-negative seed.

    Raises:
        ValueError: a negative number.
    """
    for argument, value in (("n_train", n_train), ("n_test", n_test), ("seed", seed)):
        if value < 0:
            raise ValueError(f"{argument} is {value}; allowed are 0 and above")
    for index in range(n_train + n_test):
        part = Path(folder) / ("train" if index < n_train else "test")
        kind, image, mask = synthetic_pair(index, seed)
        _save(image, part / "images" / f"{kind}_{index:03d}.png")
        _save(mask, part / "masks" / f"{kind}_{index:03d}_mask.png")


def synthetic_pair(index: int, seed: int = 0) -> tuple[str, np.ndarray, np.ndarray]:
    """Make one pair; even indices show vessels, odd ones cells.

    Args:
        index: number of the pair, 0 and above; pairs do not depend on each other.
        seed: non-negative seed.

    Returns:
        Kind ("vessels" or "cells"), image (H, W, 3) uint8, mask (H, W) uint8 with 0 and 255.
    """
    rng = np.random.default_rng([seed, index])
    size = (int(rng.choice(SIDES)), int(rng.choice(SIDES)))
    if index % 2 == 0:
        kind, look = "vessels", FUNDUS
        mask, origin = draw_vessels(size, rng)
        canvas = _background(size, look, rng)
        canvas = _blend(canvas, (1.0, 0.86, 0.55), 0.75 * _blurred_disc(size, origin, 11.0))
        opacity = _opacity(mask, look, 0.7, rng)
    else:
        kind, look = "cells", STAINED if index % 4 == 1 else FLUORESCENCE[int(rng.integers(2))]
        instances = draw_cells(size, rng)
        mask = instances > 0
        canvas = _background(size, look, rng)
        opacity = _opacity(mask, look, 1.0, rng) * _cell_texture(instances, rng)
    canvas = _with_shadows(canvas, look, rng)
    canvas = _blend(canvas, look.objects, opacity)
    return kind, _photograph(_with_specks(canvas, look, rng), rng), np.where(mask, 255, 0).astype(np.uint8)


def _noise(size: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Smoothed noise (H, W), mean 0, standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(size), sigma, mode="reflect")
    return (field - field.mean()) / field.std()


def _blend(canvas: np.ndarray, colour: tuple[float, float, float], opacity: np.ndarray) -> np.ndarray:
    alpha = np.clip(opacity, 0.0, 1.0)[..., None]
    return canvas * (1.0 - alpha) + np.asarray(colour) * alpha


def _background(size: tuple[int, int], look: _Look, rng: np.random.Generator) -> np.ndarray:
    texture = np.zeros(size)
    for sigma, weight in ((1.2, 0.15), (4, 0.3), (14, 0.5)):
        texture += weight * _noise(size, sigma, rng)
    canvas = np.ones((*size, 3)) * np.asarray(look.background)
    return _blend(canvas, look.shade, look.texture * (0.45 + texture))


def _opacity(mask: np.ndarray, look: _Look, blur: float, rng: np.random.Generator) -> np.ndarray:
    """Soft-edged objects whose contrast changes slowly over the image."""
    low, high = look.contrast
    share = 1.0 / (1.0 + np.exp(-1.5 * _noise((mask.shape[0], mask.shape[1]), 16, rng)))
    return ndimage.gaussian_filter(mask.astype(float), blur) * (low + (high - low) * share)


def _cell_texture(instances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Factor (H, W) around 1: each cell has its own strength and a grainy inside."""
    strength = rng.uniform(0.55, 1.1, int(instances.max()) + 1)
    own = ndimage.gaussian_filter(strength[instances], 1.0)
    grain = _noise((instances.shape[0], instances.shape[1]), 1.3, rng)
    return own * (1.0 + 0.16 * grain)


def _blurred_disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return 1.0 / (1.0 + np.exp((distance - radius) / (0.18 * radius)))


def _with_shadows(canvas: np.ndarray, look: _Look, rng: np.random.Generator) -> np.ndarray:
    """Out-of-focus blobs in the objects' colour: larger, blurred, faint, and not in the mask."""
    size = (canvas.shape[0], canvas.shape[1])
    for _ in range(int(rng.integers(4, 8))):
        centre = (rng.uniform(0, size[0]), rng.uniform(0, size[1]))
        rows, columns = np.ogrid[: size[0], : size[1]]
        sigma = rng.uniform(6, 14)
        blob = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * sigma**2))
        canvas = _blend(canvas, look.objects, rng.uniform(0.2, 0.5) * blob)
    return canvas


def _with_specks(canvas: np.ndarray, look: _Look, rng: np.random.Generator) -> np.ndarray:
    """Bright dust of one to three pixels."""
    size = (canvas.shape[0], canvas.shape[1])
    dots = np.zeros(size)
    n = int(rng.integers(8, 20))
    dots[rng.integers(0, size[0], n), rng.integers(0, size[1], n)] = rng.uniform(4, 14, n)
    return _blend(canvas, look.speck, np.minimum(ndimage.gaussian_filter(dots, rng.uniform(0.8, 1.3)), 0.9))


def _photograph(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, colour jitter and sensor noise; (H, W, 3) uint8."""
    height, width = canvas.shape[:2]
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.1, 0.3) * (np.cos(angle) * rows + np.sin(angle) * columns)
    light = 1.0 + slope - rng.uniform(0.08, 0.2) * (rows**2 + columns**2)
    jitter = rng.uniform(0.75, 1.1) * rng.uniform(0.9, 1.1, 3)
    exposed = np.clip(canvas * light[..., None] * jitter, 0, 1) ** rng.uniform(0.85, 1.2)
    noisy = exposed + rng.standard_normal(canvas.shape) * (0.012 + 0.03 * np.sqrt(exposed))
    return np.round(np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
