"""What surface distances cost: `surface_distances` beside MONAI's Hausdorff and average surface distance.

    OMP_NUM_THREADS=1 python benchmarks/metrics_speed.py --repeats 20

Both run in one process, on one thread, in turns; which is first changes from repeat to repeat. The masks are made:
discs (a good prediction), smooth blobs, small lesions far apart, noise (the worst case: half of all pixels are border)
and balls in 3D. MONAI computes the two distances in two calls, as its users do; ours measures once and gives HD, HD95,
both ASSD and NSD. Shown are the medians of process time, the median and the quartiles of the pairs' ratios (ours /
MONAI's), and the peak of what Python and NumPy allocate in our call, in bytes a pixel.

Says so and ends with 1 if the two disagree, or if a ratio's median is above 1.5 at 512 x 512 pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy.ndimage import gaussian_filter

from nnunet_ext.evaluation.metrics import (
    assd_mean_of_means,
    assd_pooled,
    hausdorff,
    hausdorff_percentile,
    surface_dice,
    surface_distances,
)
from nnunet_ext.machine import hardware, versions

LIMIT = 1.5
Masks = tuple[np.ndarray, np.ndarray]


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repeats", type=int, default=20)
    p.add_argument("--size", type=int, default=512, help="pixels of an image's side; a volume's is a sixth of it")
    args = p.parse_args()
    torch.set_num_threads(1)
    print(f"{hardware('cpu')}; one thread; {versions()}")
    print(f"{'masks':>22} {'MONAI ms':>9} {'ours ms':>8} {'ratio (quartiles)':>22} {'bytes/pixel':>12} equal")
    fine = [measure(name, masks, args.repeats) for name, masks in cases(args.size).items()]
    return 0 if all(fine) else 1


def cases(size: int) -> dict[str, Masks]:
    rng = np.random.default_rng(0)
    flat, solid = (size, size), (size // 6,) * 3
    lesions = disc(flat, 0.02, 0.2) | disc(flat, 0.03, 0.8), disc(flat, 0.02, 0.21) | disc(flat, 0.02, 0.5)
    return {
        f"discs {size}²": (disc(flat, 0.3, 0.5), disc(flat, 0.28, 0.51)),
        f"blobs {size}²": (blobs(flat, rng), blobs(flat, rng)),
        f"lesions {size}²": lesions,
        f"noise {size}²": (rng.random(flat) < 0.5, rng.random(flat) < 0.5),
        f"balls {size // 6}³": (disc(solid, 0.35, 0.5), disc(solid, 0.33, 0.52)),
    }


def disc(shape: tuple[int, ...], radius: float, centre: float) -> np.ndarray:
    return ((np.indices(shape) - centre * shape[0]) ** 2).sum(0) < (radius * shape[0]) ** 2


def blobs(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    field = gaussian_filter(rng.normal(size=shape), shape[0] / 40)
    return field > 0.5 * field.std()


def ours(reference: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    d = surface_distances(reference, prediction)
    hausdorff_percentile(d), assd_mean_of_means(d), surface_dice(d, 2)
    return hausdorff(d), assd_pooled(d)


def monais(reference: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    y, y_pred = (torch.from_numpy(mask)[None, None].float() for mask in (reference, prediction))
    hd = compute_hausdorff_distance(y_pred, y, include_background=True)
    asd = compute_average_surface_distance(y_pred, y, include_background=True, symmetric=True)
    return hd.item(), asd.item()


def measure(name: str, masks: Masks, repeats: int) -> bool:
    times: dict[Callable, list[float]] = {monais: [], ours: []}
    found = {run: run(*masks) for run in times}  # warms up, too
    for repeat in range(repeats):
        for run in sorted(times, key=lambda run: (run is ours) == bool(repeat % 2)):
            start = time.process_time()
            run(*masks)
            times[run].append(time.process_time() - start)
    ratios = [b / a for a, b in zip(times[monais], times[ours], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    equal = np.allclose(found[monais], found[ours], rtol=1e-5)
    a, b = (1000 * statistics.median(times[run]) for run in (monais, ours))
    spread = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    print(f"{name:>22} {a:>9.1f} {b:>8.1f} {spread:>22} {peak(*masks) / masks[0].size:>12.1f} {equal}", flush=True)
    return bool(equal) and (middle <= LIMIT or masks[0].ndim == 3)


def peak(reference: np.ndarray, prediction: np.ndarray) -> int:
    tracemalloc.start()
    ours(reference, prediction)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


if __name__ == "__main__":
    raise SystemExit(main())
