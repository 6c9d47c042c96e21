"""Write 2D pairs of images and masks whose files are as large, and as slow to encode, as those of photographs.

    python benchmarks/made_pairs.py --out FOLDER --pairs 500 --kind ready

Images are 512 x 512, RGB: smooth textures, darker objects, sensor noise; about 0.39 MB as PNG, or 0.05 MB as JPEG.
`ready`: images PNG, masks PNG with 0 and 1, which nnU-Net can use as they are. `recode`: images JPEG, masks PNG with 0
and 255. The same seed gives the same pixels.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nnunet_ext.parallel import in_order, usable_cores

SIDE = 512
KINDS = {"ready": (".png", 1), "recode": (".jpg", 255)}  # ending of the images, value of the foreground
GRIDS = {5: 90.0, 17: 40.0, 61: 18.0}  # cells a side of the texture -> its strength in grey values
NOISE = 2.5  # grey values


def made_pair(index: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 image and (H, W) bool mask."""
    rng = np.random.default_rng([seed, index])
    canvas = np.full((SIDE, SIDE, 3), 125.0, np.float32)
    for cells, strength in GRIDS.items():
        canvas += strength * np.stack([smooth(rng, cells) for _ in range(3)], axis=2)
    mask = smooth(rng, 7) > rng.uniform(0.1, 0.3)
    canvas[mask] -= rng.uniform(20, 60, 3).astype(np.float32)
    canvas += NOISE * rng.standard_normal(canvas.shape, np.float32)
    return canvas.clip(0, 255).astype(np.uint8), mask


def smooth(rng: np.random.Generator, cells: int) -> np.ndarray:
    """(H, W) float32 in about -0.5 to 0.5, drawn on a coarse grid and enlarged."""
    grid = Image.fromarray(rng.random((cells, cells), np.float32) - 0.5)
    return np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Maker:
    """Writes one pair; picklable."""

    folder: Path
    kind: str
    seed: int = 0

    def __call__(self, index: int) -> None:
        ending, foreground = KINDS[self.kind]
        image, mask = made_pair(index, self.seed)
        options = {"quality": 92} if ending == ".jpg" else {}
        Image.fromarray(image).save(self.folder / "images" / f"case{index:05d}{ending}", **options)
        Image.fromarray(mask * np.uint8(foreground)).save(self.folder / "masks" / f"case{index:05d}.png")


def make_pairs(folder: Path, n: int, kind: str, seed: int = 0) -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for _ in in_order(Maker(folder, kind, seed), range(n), usable_cores(), "made", None):
        pass
    return folder


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="folder that does not exist yet")
    p.add_argument("--pairs", type=int, default=500)
    p.add_argument("--kind", choices=KINDS, default="ready")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    print(make_pairs(args.out, args.pairs, args.kind, args.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
