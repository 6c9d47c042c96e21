"""How fast `nnunet_ext convert` is: its whole conversion beside a loop that only reads, decodes and encodes, in turns.

    OMP_NUM_THREADS=1 python benchmarks/conversion.py --work FOLDER --pairs 5000 --repeats 3

Pairs of 512 x 512 are made in FOLDER (about 0.4 MB a pair, twice that while they are converted) and removed at the
end: `ready`, which nnU-Net can use as they are, and `recode`, JPEG images and masks with 0 and 255. The loop opens,
decodes and saves image and mask with Pillow's defaults, in one process, and checks nothing. Ours finds the pairs,
decodes all of them, checks, counts, hashes, looks for duplicates, makes folds, and writes the data set. Each turn runs
all of them, the next turn in the opposite order; ratios are taken within a turn. Before each, what is still to be
written goes to the disk; the files that are read are in the system's cache. "CPU ms" is what all processes of one way
compute for a pair, which changes least with what else the machine does.

Then the peak memory of the parent and of the larger of its workers for two numbers of pairs; and the time that nnU-Net
takes to list the cases of a data set of empty files, without and with the map that `convert` writes into dataset.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from made_pairs import KINDS, make_pairs
from PIL import Image, features

from nnunet_ext.machine import hardware, versions

POLL = 0.05  # s
PARTS = ("speed", "memory", "listing")


def main() -> int:
    args = parser().parse_args()
    if args.memory_of:
        print(json.dumps(peak_memory(args.memory_of, args.work)))
        return 0
    if "memory" in args.only and max(args.memory_pairs) > args.pairs:
        parser().error(f"--memory-pairs {max(args.memory_pairs)} needs as many --pairs; there are {args.pairs}")
    print(f"{hardware('cpu')}; {versions()}, Pillow {Image.__version__}, zlib {zlib()}", flush=True)
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        work = Path(folder)
        for kind in args.kinds if {"speed", "memory"} & set(args.only) else ():
            source = make_pairs(work / kind, args.pairs, kind)
            if "speed" in args.only:
                found[f"speed {kind}"] = speed(args, kind, source, work)
            if "memory" in args.only:
                found[f"memory {kind}"] = memory(args, kind, source, work)
            shutil.rmtree(source)
        if "listing" in args.only:
            found["listing"] = [listing(n, args.repeats, work) for n in args.listed]
    if args.json:
        args.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, help="folder for the files (default: the system's for temporary files)")
    p.add_argument("--pairs", type=int, default=5000)
    p.add_argument("--repeats", type=int, default=3, help="turns")
    p.add_argument("--kinds", nargs="+", choices=KINDS, default=tuple(KINDS))
    p.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    p.add_argument("--memory-pairs", type=int, nargs=2, default=(500, 5000), metavar=("FEW", "MANY"))
    p.add_argument("--listed", type=int, nargs="+", default=(5000, 20000), help="numbers of empty files to list")
    p.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    p.add_argument("--json", type=Path, help="file for all times, in seconds")
    p.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    return p


def zlib() -> str:
    return f"{features.version('zlib')}{'-ng' if features.check('zlib_ng') else ''}"


def plain_loop(source: Path, target: Path) -> None:
    """Decode and encode every file; nothing else."""
    for sub, new in (("images", "imagesTr"), ("masks", "labelsTr")):
        (target / new).mkdir(parents=True)
        for path in sorted((source / sub).iterdir()):
            with Image.open(path) as image:
                image.save(target / new / f"{path.stem}.png")


def ours(source: Path, target: Path, workers: int, link: bool) -> dict[str, float]:
    """Convert; return the seconds of looking and of writing."""
    # imported here, as by the command: workers import the main module, and have no use for this one
    from nnunet_ext.dataset_conversion.convert import Options, Target, diagnose
    from nnunet_ext.dataset_conversion.sources import FolderSource

    pairs = FolderSource({"train": (source / "images", source / "masks")})
    start = time.perf_counter()
    diagnosis = diagnose(pairs, Target(501, "Made", target), Options(workers=workers, link=link))
    looked = time.perf_counter()
    diagnosis.write()
    return {"look": looked - start, "write": time.perf_counter() - looked}


def candidates(args: argparse.Namespace, kind: str) -> dict[str, Callable[[Path, Path], dict[str, float] | None]]:
    ways: dict[str, Callable] = {"plain loop, 1 process": plain_loop}
    for workers in args.workers:
        for link in (False, True) if kind == "ready" else (False,):
            name = f"convert{' --link' if link else ''}, {workers} worker{'s' if workers > 1 else ''}"
            ways[name] = lambda source, target, workers=workers, link=link: ours(source, target, workers, link)
    return ways


def speed(args: argparse.Namespace, kind: str, source: Path, work: Path) -> dict[str, list[dict[str, float]]]:
    ways = candidates(args, kind)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    warm = subset(source, min(100, args.pairs), work / "few")
    for way in ways.values():  # imports what is imported once
        way(warm, work / "raw")
        shutil.rmtree(work / "raw")
    for turn in range(args.repeats):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            times[name].append(timed(ways[name], source, work / "raw"))
            print(f"turn {turn}, {name}: {times[name][-1]}", file=sys.stderr, flush=True)
    show_speed(kind, args.pairs, times)
    return times


def timed(way: Callable[[Path, Path], dict[str, float] | None], source: Path, target: Path) -> dict[str, float]:
    os.sync()
    start, computed = time.perf_counter(), cpu_seconds()
    parts = way(source, target) or {}
    took, computed = time.perf_counter() - start, cpu_seconds() - computed
    status = [path.stat() for path in target.rglob("*.png")]
    size = sum(file.st_size for file in status if file.st_nlink == 1)
    shutil.rmtree(target)
    return {"seconds": took, "cpu": computed, "bytes": size, **parts}


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def show_speed(kind: str, n: int, times: dict[str, list[dict[str, float]]]) -> None:
    plain = next(iter(times.values()))
    print(
        f"\n| {kind}, {n} pairs | times faster (range) | pairs a second | of it looking | CPU ms a pair | MB written |"
    )
    print("|---|---|---|---|---|---|")
    for name, turns in times.items():
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(plain, turns, strict=True)]
        rate = n / statistics.median(turn["seconds"] for turn in turns)
        share = statistics.median(turn.get("look", 0) / turn["seconds"] for turn in turns)
        looking = f"{share:.0%}" if "look" in turns[0] else ""
        cpu = 1e3 * statistics.median(turn["cpu"] for turn in turns) / n
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        written = turns[0]["bytes"] / 1e6
        print(f"| {name} | {spread} | {rate:.0f} | {looking} | {cpu:.1f} | {written:.0f} |", flush=True)


def subset(source: Path, n: int, folder: Path) -> Path:
    """Hard links to the first ``n`` pairs."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for path in sorted((source / part).iterdir())[:n]:
            os.link(path, folder / part / path.name)
    return folder


def memory(args: argparse.Namespace, kind: str, source: Path, work: Path) -> list[dict[str, float]]:
    rows = []
    for n in args.memory_pairs:
        few = subset(source, n, work / "few")
        command = [sys.executable, __file__, "--memory-of", str(few), "--work", str(work / "raw")]
        rows.append({"pairs": n, **json.loads(subprocess.run(command, check=True, capture_output=True).stdout)})
        shutil.rmtree(work / "raw")
    few, many = rows
    print(f"\n| {kind}, 2 workers | {few['pairs']} pairs | {many['pairs']} pairs | more for each pair |")
    print("|---|---|---|---|")
    for who in ("parent", "worker"):
        each = 1024 * (many[who] - few[who]) / (many["pairs"] - few["pairs"])
        print(f"| {who}, peak | {few[who]:.0f} MiB | {many[who]:.0f} MiB | {each:.1f} KiB |", flush=True)
    return rows


def peak_memory(source: Path, target: Path) -> dict[str, float]:
    """Convert with 2 workers and return the highest resident memory of this process and of a child, in MiB."""
    highest, done = {"worker": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            highest["worker"] = max([highest["worker"], *map(high_water, children())])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ours(source, target, 2, link=False)
    finally:
        done.set()
        watcher.join()
    return {"parent": high_water(os.getpid()), **highest}


def children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def high_water(process: int) -> float:
    """Peak resident memory in MiB of this program alone; getrusage's figure starts with the parent's."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def listing(n: int, repeats: int, work: Path) -> dict[str, object]:
    """Seconds that nnU-Net takes to list ``n`` cases, as it does before planning and before preprocessing."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets as listed

    folder = work / "raw" / "Dataset501_Made"
    names = [f"case{i:05d}" for i in range(n)]
    for sub, end in (("imagesTr", "_0000.png"), ("labelsTr", ".png")):
        (folder / sub).mkdir(parents=True)
        for name in names:
            (folder / sub / f"{name}{end}").touch()
    cases = {i: {"images": [f"imagesTr/{i}_0000.png"], "label": f"labelsTr/{i}.png"} for i in names}
    content = {"without": {"file_ending": ".png"}, "with": {"file_ending": ".png", "dataset": cases}}
    times: dict[str, list[float]] = {"without": [], "with": []}
    for turn in range(repeats):
        for which in list(times)[:: 1 if turn % 2 == 0 else -1]:
            (folder / "dataset.json").write_text(json.dumps(content[which], indent=4), encoding="utf-8")
            start = time.perf_counter()
            assert len(listed(str(folder))) == n
            times[which].append(time.perf_counter() - start)
    shutil.rmtree(work / "raw")
    without, with_map = (statistics.median(times[which]) for which in ("without", "with"))
    spread = f"{min(times['without']):.1f} to {max(times['without']):.1f}"
    print(
        f"\nnnU-Net's list of {n} cases: {without:.1f} s without the map ({spread}), {with_map:.3f} s with it",
        flush=True,
    )
    return {"cases": n, **times}


if __name__ == "__main__":
    sys.exit(main())
