"""What lifted networks cost: the forms of computing them beside each other and beside the 2D UNet, in one process.

    OMP_NUM_THREADS=1 python benchmarks/lifting.py --repeats 15

Counts first (multiply-accumulates of convolutions, memory kept for the backward pass): they are exact and the same on
every machine. Then times, as ratios: all candidates run in turns, and each ratio is taken within a turn, so that what
else the machine does falls on both; shown are the median and the quartiles of the turns. On the CPU the clock is
process time, on a GPU the time between synchronisations. `plain, contiguous` is what MONAI's network does with the
copied image; `plain` is the same in channels_last_3d; `distinct` and `stacked` compute equal slices once
(docs/methods/spatial_lifting.md). The form with the least time of a device belongs into `LiftedNetwork.FASTEST`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.complexity import count_macs
from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.architectures.lifting.replicate import replicate
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.slunet import MonaiUNetSpec, SLUNetSpec
from nnunet_ext.machine import hardware, versions

CONFIGURATIONS = ((5, 1), (5, 2), (8, 1), (8, 2))


def main() -> int:
    args = parser().parse_args()
    print(
        f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}; {args.outputs} output(s)"
    )
    counts(args)
    memory(args)
    for training, batch in ((False, 1), (False, 2), (True, 2)):
        times(args, training, batch)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    p.add_argument("--repeats", type=int, default=15)
    p.add_argument("--size", type=int, default=256, help="side of the image for counts and times")
    p.add_argument("--memory-size", type=int, default=512, help="side of the image for the memory")
    p.add_argument("--outputs", type=int, default=1, help="classes; the paper's tables have 1")
    p.add_argument("--amp", action="store_true", help="under autocast, as nnU-Net trains on a GPU")
    return p


def counts(args: argparse.Namespace) -> None:
    print(f"\n| multiply-accumulates, M, at {args.size} x {args.size} | whole volume (plain) "
          "| equal slices once (distinct) | saved | stacked, zeros included |\n|---|---|---|---|---|")  # fmt: skip
    for levels, units in CONFIGURATIONS:
        found = []
        for form in ("plain", "distinct", "stacked"):
            network = SLUNetSpec(levels, units).build(None, 3, args.outputs, False)
            network.form = form
            found.append(count_macs(network, (3, args.size, args.size)) / 1e6)
        print(f"| SL-UNet {levels}L{units}Res | {found[0]:.2f} | {found[1]:.2f} | {1 - found[1] / found[0]:.1%} "
              f"| {found[2]:.2f} |")  # fmt: skip


def saved(network: nn.Module, x: Tensor) -> float:
    """MiB that autograd keeps for the backward pass, parameters and input left out; each storage once."""
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = network(x)
    known = {t.untyped_storage().data_ptr() for t in [x, *network.parameters(), *network.buffers()]}
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    del output
    return sum(size for pointer, size in sizes.items() if pointer not in known) / 2**20


def memory(args: argparse.Namespace) -> None:
    print(f"\n| kept for the backward pass, MiB, batch 1, {args.memory_size} x {args.memory_size} "
          "| 2D UNet | plain | distinct | stacked |\n|---|---|---|---|---|")  # fmt: skip
    x = torch.randn(1, 3, args.memory_size, args.memory_size, device=args.device)
    for levels, units in CONFIGURATIONS:
        unet = MonaiUNetSpec(levels, units).build(None, 3, args.outputs, False).to(args.device).train()
        row = [saved(unet, x)]
        lifted = SLUNetSpec(levels, units).build(None, 3, args.outputs, False).to(args.device).train()
        for lifted.form in ("plain", "distinct", "stacked"):
            row.append(saved(lifted, x))
        print(f"| {levels}L{units}Res | " + " | ".join(f"{v:.1f}" for v in row) + " |")


class Contiguous(nn.Module):
    """MONAI's network on the copied image, as it comes."""

    def __init__(self, lifted: LiftedNetwork) -> None:
        super().__init__()
        self.network, self.depth = lifted.network.to(memory_format=torch.contiguous_format), lifted.depth

    def forward(self, x: Tensor) -> Tensor:
        return self.network(replicate(x, self.depth).contiguous())


def candidates(args: argparse.Namespace) -> dict[str, nn.Module]:
    def lifted(form: str | None = None) -> LiftedNetwork:
        network = SLUNetSpec(5, 1).build(None, 3, args.outputs, False)
        network.form = form
        return network

    made = {
        "2D UNet": MonaiUNetSpec(5, 1).build(None, 3, args.outputs, False),
        "plain, contiguous": Contiguous(lifted()),
    }
    made |= {form: lifted(form) for form in ("plain", "distinct", "stacked")}
    return {name: network.to(args.device) for name, network in made.items()}


def step(args: argparse.Namespace, network: nn.Module, x: Tensor) -> Callable[[], None]:
    """One forward pass; with a backward pass if the network is in training mode."""

    def run() -> None:
        with torch.autocast(args.device, enabled=args.amp), torch.set_grad_enabled(network.training):
            # slices only: fusing them costs the same in every form and has no counterpart in the UNet
            output = network.slices(x) if isinstance(network, LiftedNetwork) else network(x)
            output = output.logits if isinstance(output, TrainingOutput) else output
        if network.training:
            output.backward(torch.ones_like(output))
            network.zero_grad(set_to_none=True)

    return run


def clock(args: argparse.Namespace) -> float:
    if args.device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if args.device == "cpu" else time.perf_counter()


def times(args: argparse.Namespace, training: bool, batch: int) -> None:
    x = torch.randn(batch, 3, args.size, args.size, device=args.device)
    runs = {name: step(args, network.train(training), x) for name, network in candidates(args).items()}
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(args.repeats + 2):
        for name in runs if turn % 2 else reversed(runs):
            start = clock(args)
            runs[name]()
            if turn > 1:
                measured[name].append(clock(args) - start)
    what = "training step (forward and backward)" if training else "inference"
    print(f"\n| 5L1Res, {what}, batch {batch}, {args.size} x {args.size} | ms, median | times the 2D UNet "
          "| plain, contiguous, over it | plain over it |\n|---|---|---|---|---|")  # fmt: skip
    for name, values in measured.items():
        cells = [f"{1e3 * statistics.median(values):.1f}", ratio(values, measured["2D UNet"])]
        cells += [ratio(measured[other], values) for other in ("plain, contiguous", "plain")]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def ratio(above: list[float], below: list[float]) -> str:
    """Median and quartiles of the turns' ratios."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
