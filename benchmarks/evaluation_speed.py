"""What evaluation costs: `evaluate_folders` on several cores beside a plain loop over MONAI's metrics in one process.

    OMP_NUM_THREADS=1 python benchmarks/evaluation_speed.py -n 5000 --repeats 3 --workers 2

Made pairs of 512 x 512 PNG masks, one to three blobs that cover 5 to 30 % of the reference; a prediction is its
reference with a moved and roughened border, and sometimes a blob too many or too few. Both ways read the same files and
compute TP, FP, FN, TN, the Hausdorff distance and the average symmetric surface distance of each. Ours reads with
nnU-Net's reader, checks what `nnunet_ext evaluate` checks, computes Dice, averages over cases and writes its files; the
loop reads with Pillow, calls `get_confusion_matrix`, `compute_hausdorff_distance` and
`compute_average_surface_distance`, and writes a CSV. They run in turns in one process; which is first changes from
repeat to repeat. Shown are all times, medians, and the ratios of pairs, in time and in CPU time of all processes: on a
busy machine several processes may get no more of it than one, and only CPU times are steady. Then the peak memory of a
fresh process with its workers, for a tenth of the cases and for all.

Says so and ends with 1 if a count or distance differs between the two.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SIDE = 512
METRICS = ("dice", "hd", "assd_pooled")


def main() -> int:
    args = parser().parse_args()
    if args.memory_of:
        with ResidentMemory() as memory:
            run(args.memory_of, Path(args.folder), args.n, args.workers)
        print(f"MEMORY {memory.peak:.0f}")
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        make(Path(folder), args.n)
        return measure(args, Path(folder))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=5000, help="pairs")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--folder", help="where the made files go (default: the system's temporary folder)")
    p.add_argument("--memory-of", choices=("ours", "monai"), help=argparse.SUPPRESS)
    return p


def make(folder: Path, n: int) -> None:
    """Write `r/case_00000.png`, `p/case_00000.png`, ... with 0 and 1."""
    from PIL import Image

    shares = []
    for part in ("r", "p"):
        (folder / part).mkdir()
    labels = {"labels": {"background": 0, "object": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(labels))
    for index in range(n):
        pair = blobs(np.random.default_rng(index))
        shares.append(pair[0].mean())
        for part, mask in zip("rp", pair, strict=True):
            Image.fromarray(mask.astype(np.uint8)).save(folder / part / f"case_{index:05}.png")
    low, middle, high = np.quantile(shares, [0.05, 0.5, 0.95])
    print(f"{n} pairs of {SIDE} x {SIDE}; foreground {middle:.1%}, in nine of ten {low:.1%} to {high:.1%}", flush=True)


def blobs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a reference of 5 to 30 % foreground and a prediction."""
    share, count = rng.uniform(0.05, 0.30), int(rng.integers(1, 4))
    reference, prediction = np.zeros((2, SIDE, SIDE), bool)
    for _ in range(count):
        radius = SIDE * np.sqrt(share / count / np.pi)
        centre = rng.uniform(radius, SIDE - radius, 2)
        waves = rng.normal(0, 0.06, 4)
        reference |= blob(centre, radius, waves)
        if rng.random() > 0.05:
            moved = centre + rng.normal(0, 0.06 * radius, 2)
            rough = np.concatenate([waves + rng.normal(0, 0.03, 4), rng.normal(0, 0.02, 8)])
            prediction |= blob(moved, radius * rng.normal(1, 0.05), rough)
    if rng.random() < 0.1 or not prediction.any():
        prediction |= blob(rng.uniform(0, SIDE, 2), rng.uniform(5, 40), rng.normal(0, 0.06, 4))
    return reference, prediction


def blob(centre: np.ndarray, radius: float, waves: np.ndarray) -> np.ndarray:
    """Return a disc whose radius varies with the angle."""
    angles = np.linspace(-np.pi, np.pi, 2048)
    border = radius * (1 + sum(size * np.cos((k + 2) * angles + k) for k, size in enumerate(waves)))
    low, high = (np.clip(centre + sign * border.max(), 0, SIDE).astype(int) for sign in (-1, 1))
    mask = np.zeros((SIDE, SIDE), bool)
    y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
    y, x = y - centre[0], x - centre[1]
    at = ((np.arctan2(y, x) / np.pi + 1) * 1023.5).astype(int)
    mask[low[0] : high[0], low[1] : high[1]] = y**2 + x**2 < border[at] ** 2
    return mask


def run(which: str, folder: Path, n: int, workers: int) -> dict[str, tuple[float, ...]]:
    """Evaluate the first n cases; return case -> TP, FP, FN, TN, HD, ASSD."""
    return ours(folder, n, workers) if which == "ours" else monai(folder, n)


def ours(folder: Path, n: int, workers: int) -> dict[str, tuple[float, ...]]:
    from nnunet_ext.evaluation.folders import evaluate_folders

    dataset = folder / "dataset.json"
    folders = first(folder, n, "r"), first(folder, n, "p")
    found = evaluate_folders(*folders, dataset_json=dataset, metrics=METRICS, workers=workers)
    assert not found.problems, found.problems[:3]
    found.write(folder / "ours")
    columns = ["TP", "FP", "FN", "TN", "hd", "assd_pooled"]
    table = found.per_case.set_index("case")[columns]
    return {str(case): tuple(map(float, row)) for case, row in zip(table.index, table.to_numpy(), strict=True)}


def first(folder: Path, n: int, part: str) -> Path:
    """Return a folder with links to the first n files."""
    links = folder / f"{part}{n}"
    if not links.exists():
        links.mkdir()
        for path in sorted((folder / part).iterdir())[:n]:
            os.link(path, links / path.name)
    return links


def monai(folder: Path, n: int) -> dict[str, tuple[float, ...]]:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, get_confusion_matrix
    from PIL import Image

    torch.set_num_threads(1)
    rows = {}
    for path in sorted((folder / "r").iterdir())[:n]:
        reference, prediction = (
            torch.from_numpy(np.array(Image.open(folder / part / path.name)))[None, None] for part in "rp"
        )
        tp, fp, tn, fn = get_confusion_matrix(prediction, reference)[0, 0].tolist()
        hd = compute_hausdorff_distance(prediction, reference, include_background=True)
        assd = compute_average_surface_distance(prediction, reference, include_background=True, symmetric=True)
        rows[path.stem] = (tp, fp, fn, tn, float(hd), float(assd))
    with (folder / "monai.csv").open("w", newline="") as file:
        csv.writer(file).writerows((case, *row) for case, row in rows.items())
    return rows


def measure(args: argparse.Namespace, folder: Path) -> int:
    from nnunet_ext.machine import hardware, versions

    print(f"{hardware('cpu')}; {versions()}; {args.workers} processes of ours, 1 of the loop", flush=True)
    times: dict[str, list[float]] = {"ours": [], "monai": []}
    busy: dict[str, list[float]] = {"ours": [], "monai": []}
    found = {}
    for which in times:  # warms up, imports included
        run(which, folder, min(args.n, 20), 1)
    for repeat in range(args.repeats):
        for which in list(times)[:: 1 if repeat % 2 else -1]:
            start, busy_before = time.perf_counter(), sum(os.times()[:4])
            found[which] = run(which, folder, args.n, args.workers)
            times[which].append(time.perf_counter() - start)
            busy[which].append(sum(os.times()[:4]) - busy_before)
            print(f"repeat {repeat}: {which:5} {times[which][-1]:8.1f} s, {busy[which][-1]:8.1f} s of CPU", flush=True)
    for name, of in (("time", times), ("CPU time", busy)):
        ratios = sorted(b / a for a, b in zip(of["ours"], of["monai"], strict=True))
        a, b = (1e3 * statistics.median(of[which]) / args.n for which in ("ours", "monai"))
        print(f"{name} a case: ours {a:.2f} ms, monai {b:.2f} ms", end="; ")
        print(f"monai / ours: median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)
    equal = same(found["ours"], found["monai"])
    for which in times:
        small, large = (peak(which, folder, n, args.workers) for n in (max(1, args.n // 10), args.n))
        print(f"peak memory of {which}: {small} MiB for a tenth of the cases, {large} MiB for all", flush=True)
    return 0 if equal else 1


def same(a: dict[str, tuple[float, ...]], b: dict[str, tuple[float, ...]]) -> bool:
    """Return whether counts are equal and distances agree to MONAI's single precision; say where they do not."""
    wrong = [case for case in a.keys() | b.keys() if case not in a or case not in b or a[case][:4] != b[case][:4]]
    wrong += [case for case in a.keys() & b.keys() if not np.allclose(a[case], b[case], rtol=1e-5)]
    print(f"equal: {len(wrong) == 0}" + "".join(f"\n{case}: {a.get(case)} {b.get(case)}" for case in wrong[:5]))
    return not wrong


def peak(which: str, folder: Path, n: int, workers: int) -> int:
    """Return MiB at most resident, of a fresh process and its workers together."""
    command = [sys.executable, __file__, "--memory-of", which, "--folder", str(folder), "-n", str(n)]
    done = subprocess.run([*command, "--workers", str(workers)], capture_output=True, text=True, check=True)
    return next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("MEMORY "))


class ResidentMemory:
    """Looks every 0.1 s how much memory this process and its children hold; `peak` in MiB."""

    def __enter__(self) -> ResidentMemory:
        self.peak, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            self.peak = max(self.peak, sum(resident(pid) for pid in (os.getpid(), *children)))


def resident(pid: int | str) -> float:
    """Return MiB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    sys.exit(main())
