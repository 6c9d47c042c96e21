"""Write a small 3D dataset in nnU-Net raw format: bright ellipsoids in noise, to train 3D plans without downloads.

    python benchmarks/made_volumes.py --id 950 --cases 12 --size 24 64 64 --spacing 3 1 1

Two classes, told apart by brightness; a third of the ellipsoids are as dark as neither. Voxels of slices are finer than
the slices are apart, so that nnU-Net plans an anisotropic network. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json


def volume(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(D, H, W) float32 image and uint8 labels 0, 1, 2."""
    grid = np.indices(size, dtype=np.float32)
    image, labels = rng.normal(0, 1, size).astype(np.float32), np.zeros(size, np.uint8)
    for i in range(6):
        centre = [rng.uniform(0.15, 0.85) * s for s in size]
        radii = [max(1.5, rng.uniform(0.08, 0.22) * s) for s in size]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        kind = i % 3  # 0 is a distractor
        image[inside] += (-2.0, 2.0, 4.0)[kind]
        labels[inside] = kind
    return image, labels


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--id", type=int, required=True, help="dataset id")
    p.add_argument("--cases", type=int, default=12, help="training cases; a third as many test cases are added")
    p.add_argument("--size", type=int, nargs=3, default=(24, 64, 64), help="voxels, slices first")
    p.add_argument("--spacing", type=float, nargs=3, default=(3.0, 1.0, 1.0), help="mm, slices first")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    folder = Path(os.environ["nnUNet_raw"]) / f"Dataset{args.id:03d}_MadeVolumes"
    rng = np.random.default_rng(args.seed)
    for part, n in (("Tr", args.cases), ("Ts", max(1, args.cases // 3))):
        for kind in ("images", "labels"):
            (folder / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
        for i in range(n):
            image, labels = (sitk.GetImageFromArray(a) for a in volume(rng, tuple(args.size)))
            for item, name in ((image, f"images{part}/v{part}{i:02d}_0000"), (labels, f"labels{part}/v{part}{i:02d}")):
                item.SetSpacing(args.spacing[::-1])
                sitk.WriteImage(item, str(folder / f"{name}.nii.gz"))
    generate_dataset_json(str(folder), {0: "MR"}, {"background": 0, "bright": 1, "brighter": 2}, args.cases, ".nii.gz")
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
