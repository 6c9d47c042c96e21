"""What the two-stage paper saves: its network on whole images beside both stages in one network, in one process.

    OMP_NUM_THREADS=1 python benchmarks/two_stage_net.py --repeats 15

Of an image, the paper's cost in multiply-accumulates is 1/64 + 1/Np of its U-Net's; the first table counts them. Then
times, as ratios: all candidates run in turns, and each ratio is taken within a turn, so that what else the machine does
falls on both; shown are the median and the quartiles of the turns. On the CPU the clock is process time, on a GPU the
time between synchronisations. `coarse` is the first stage with its enlargement, `one by one` the second stage as the
authors run it, a cell at a time. Networks are as they are initialised: time does not depend on what they have learnt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.complexity import count_macs
from nnunet_ext.architectures.published.two_stage_unet import STRIDE, TwoStageUNet
from nnunet_ext.cascade.hosted import FACTOR, TwoStageNetSpec
from nnunet_ext.machine import hardware, versions

GRIDS = (2, 4, 8, 16)


def main() -> int:
    args = parser().parse_args()
    print(f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}; batch {args.batch}")
    counts(args)
    for size in args.sizes:
        times(args, size)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    p.add_argument("--repeats", type=int, default=15)
    p.add_argument("--sizes", type=int, nargs="+", default=(768, 512), help="sides of the image")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--one-by-one", action="store_true", help="also time the second stage a cell at a time")
    p.add_argument("--amp", action="store_true", help="under autocast, as nnU-Net predicts on a GPU")
    return p


def grids(size: int) -> list[int]:
    """Np of which the cells are whole and the network takes them without padding, as in the paper."""
    return [n for n in GRIDS if size % (n * STRIDE) == 0]


def share(grid: int) -> float:
    return 1 / FACTOR**2 + 1 / grid


def counts(args: argparse.Namespace) -> None:
    print("\n| G multiply-accumulates | U-Net | " + " | ".join(f"Np = {n}" for n in GRIDS) + " |")
    print("|---|---|" + "---|" * len(GRIDS))
    for size in args.sizes:
        whole = count_macs(TwoStageUNet(3, 1), (3, size, size))
        cells = []
        for grid in GRIDS:
            found = None
            if grid in grids(size):
                found = count_macs(TwoStageNetSpec(grid).build(None, 3, 1, False), (3, size, size))
            cells.append("-" if found is None else f"{found / 1e9:.3f} ({found / whole:.4f})")
        print(f"| {size} x {size} | {whole / 1e9:.3f} | " + " | ".join(cells) + " |")


class OneByOne(nn.Module):
    """A network that is given the images of a batch one after the other."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.network(image[None]) for image in x])


class Coarse(nn.Module):
    """The first stage alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.coarse_probabilities(x)


def candidates(args: argparse.Namespace, size: int) -> dict[str, tuple[nn.Module, float]]:
    """Networks and the share of multiply-accumulates that each has of the U-Net's."""
    made: dict[str, tuple[nn.Module, float]] = {"U-Net": (TwoStageUNet(3, 1), 1.0)}
    for grid in grids(size):
        network = TwoStageNetSpec(grid).build(None, 3, 1, False)
        network.set_sigmoid(True)  # type: ignore[operator]  # one output, as the paper's
        made[f"Np = {grid}"] = network, share(grid)
        if args.one_by_one:
            single = TwoStageNetSpec(grid).build(None, 3, 1, False)
            single.set_sigmoid(True)  # type: ignore[operator]
            single.fine = OneByOne(single.fine)  # type: ignore[arg-type]
            made[f"Np = {grid}, one by one"] = single, share(grid)
    made["coarse"] = Coarse(network), 1 / FACTOR**2
    return {name: (network.to(args.device).eval(), cost) for name, (network, cost) in made.items()}


def clock(args: argparse.Namespace) -> float:
    if args.device != "cpu":
        getattr(torch, args.device).synchronize()
    return time.process_time() if args.device == "cpu" else time.perf_counter()


def times(args: argparse.Namespace, size: int) -> None:
    x = torch.randn(args.batch, 3, size, size, device=args.device)
    networks = candidates(args, size)
    measured: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(args.repeats + 2):
        for name in networks if turn % 2 else reversed(networks):
            with torch.inference_mode(), torch.autocast(args.device, enabled=args.amp):
                start = clock(args)
                networks[name][0](x)
                taken = clock(args) - start
            if turn > 1:
                measured[name].append(taken)
    print(f"\n| {size} x {size} | ms, median | times the U-Net (quartiles) | multiply-accumulates | time over them |")
    print("|---|---|---|---|---|")
    for name, values in measured.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(values, measured["U-Net"], strict=True)], n=4)
        cost = networks[name][1]
        print(f"| {name} | {1e3 * statistics.median(values):.1f} | {middle:.3f} ({low:.3f} to {high:.3f}) "
              f"| {cost:.3f} | {middle / cost:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
