"""What the channel selection of IFE costs: beside the way its authors compute it, and in a training step.

    OMP_NUM_THREADS=1 python benchmarks/channel_selection.py --repeats 15
    OMP_NUM_THREADS=1 python benchmarks/channel_selection.py --only step --patch 256 --repeats 7

Times are ratios: all candidates run in turns, and each ratio is taken within a turn, so that what else the machine does
falls on both; shown are the median and the quartiles of the turns, and the ratio of the least times of all turns. On
the CPU the clock is process time, on a GPU the time between synchronisations.

- `selection`: forward and backward of `ChannelSelection`, ratio 0.5, on smooth features as after a ReLU. The authors'
  code (yezi-66/IFE) has no licence and is not here. What is compared with is written from a description of it: one
  convolution over batch x channels planes of one channel for the curvature; for the entropies unfold, and then
  `torch.histc` or `torch.unique` of one channel of one image after another; `torch.topk`; and one index_select an
  image. Their histogram has one range for the whole batch, and so has ours in this comparison (`entropy_batch`); that
  of each channel, which trainers use, is shown beside it. Selected sets are compared before anything is timed.
- `step`: forward, loss, backward and SGD of nnU-Net's own network, and the same with IFE on its skips.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection
from nnunet_ext.machine import hardware, versions
from nnunet_ext.trainers.describe import example_plans
from nnunet_ext.trainers.naming import resolve

SHAPES = ((2, 64, 128, 128), (4, 256, 32, 32), (2, 512, 16, 16))
STENCIL = [[-1 / 16, 5 / 16, -1 / 16], [5 / 16, -1, 5 / 16], [-1 / 16, 5 / 16, -1 / 16]]
TRAINERS = ("nnUNetTrainerIFECurvature", "nnUNetTrainerIFEEntropy", "nnUNetTrainerIFERandom")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--repeats", type=int, default=15)
    p.add_argument("--only", nargs="+", choices=("selection", "step"), default=("selection", "step"))
    p.add_argument("--patch", type=int, default=256, help="side of the patch of the training step")
    p.add_argument("--batch", type=int, default=2, help="of the training step")
    p.add_argument("--amp", action="store_true", help="the training step under autocast, as nnU-Net trains on a GPU")
    args = p.parse_args()
    print(f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}")
    if "selection" in args.only:
        for shape in SHAPES:
            selections(args, shape)
    if "step" in args.only:
        steps(args)
    return 0


# ---------------------------------------------------------------- selection


def features(shape: tuple[int, ...]) -> Tensor:
    """Smooth, after a ReLU, each channel with a gain of its own."""
    generator = torch.Generator().manual_seed(0)
    x = F.avg_pool2d(torch.randn(shape, generator=generator), 3, 1, 1).relu()
    return x * (0.2 + torch.rand(shape[1], generator=generator)).view(1, -1, 1, 1)


def one_by_one_curvature(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    response = F.conv2d(x.reshape(b * c, 1, h, w), x.new_tensor(STENCIL)[None, None])
    return response.abs().sum((1, 2, 3)).view(b, c)


def one_by_one_entropy(x: Tensor, exact: bool) -> Tensor:
    b, c, h, w = x.shape
    windows = F.unfold(x.reshape(b * c, 1, h, w), 3, padding=1)
    centre = windows[:, 4]
    s = 100 * centre + (windows.sum(1) - centre) / 8
    low, high = s.min().item(), s.max().item()
    scores = []
    for row in s:
        counts = torch.unique(row, return_counts=True)[1] if exact else torch.histc(row, 256, low, high)
        p = (counts / ((h + 2) * (w + 2))).clamp(min=1e-40)
        scores.append(-(p * p.log2()).sum())
    return torch.stack(scores).view(b, c)


def one_by_one(scores: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        chosen = torch.topk(scores(x.detach()), x.shape[1] // 2, 1).indices
    return torch.cat([x, torch.stack([image.index_select(0, c) for image, c in zip(x, chosen, strict=True)])], 1)


def selections(args: argparse.Namespace, shape: tuple[int, ...]) -> None:
    x = features(shape).to(args.device).requires_grad_()
    theirs: dict[str, Callable[[Tensor], Tensor]] = {
        "curvature": one_by_one_curvature,
        "entropy_batch": partial(one_by_one_entropy, exact=False),
        "entropy_unique": partial(one_by_one_entropy, exact=True),
    }
    makers: dict[str, Callable[[], Tensor]] = {}
    for name, scores in theirs.items():
        ours = ChannelSelection(shape[1], 0.5, name)
        print(f"{shape} {name}: {differences(ours, scores, x)}", flush=True)
        makers[f"{name}, one by one"] = partial(one_by_one, scores, x)
        makers[f"{name}, ours"] = partial(ours, x)
    makers["entropy, ours"] = partial(ChannelSelection(shape[1], 0.5, "entropy"), x)
    beside = {name: name.replace("ours", "one by one") for name in makers} | {
        "entropy, ours": "entropy_batch, one by one"
    }
    runs = {name: partial(differentiate, make) for name, make in makers.items()}
    compare(args, f"selection, {shape}, forward and backward", runs, beside)


def differences(ours: ChannelSelection, scores: Callable[[Tensor], Tensor], x: Tensor) -> str:
    """Say how many channels are selected that the others do not select."""
    mine = ours.choose(ours.scores(x))
    other = torch.topk(scores(x.detach()), ours.k, 1).indices
    n = sum(len(set(a.tolist()) - set(b.tolist())) for a, b in zip(mine, other, strict=True))
    return f"{n} of {mine.numel()} selected channels differ"


def differentiate(make: Callable[[], Tensor]) -> None:
    make().sum().backward()


# ---------------------------------------------------------------- training step


def steps(args: argparse.Namespace) -> None:
    made = {name: step(args, name) for name in ("nnU-Net", "nnU-Net again", *TRAINERS)}
    title = f"training step, {args.patch} x {args.patch}, batch {args.batch}"
    compare(args, title, made, dict.fromkeys(made, "nnU-Net"))


def step(args: argparse.Namespace, name: str) -> Callable[[], None]:
    plans, dataset = example_plans()
    plans["configurations"]["2d"]["patch_size"] = [args.patch] * 2
    manager = PlansManager(plans)
    settings = manager.get_configuration("2d")
    trainer: Any = resolve(name if name.startswith("nnUNet") else "nnUNetTrainer_1epochs")
    network = trainer.build_network_architecture(manager, settings, 3, len(dataset["labels"]), True).to(args.device)
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
    weights = np.array([1 / 2**i for i in range(len(settings.pool_op_kernel_sizes) - 1)])
    weights[-1] = 0
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss = DeepSupervisionWrapper(DC_and_CE_loss(dice, {}), weights / weights.sum())
    x = torch.randn(args.batch, 3, args.patch, args.patch, device=args.device)
    with torch.no_grad():
        targets = [torch.randint(0, 2, (len(x), 1, *o.shape[2:]), device=args.device).float() for o in network(x)]

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(args.device, enabled=args.amp):
            value = loss(network(x), targets)
        value.backward()
        optimiser.step()

    return run


# ---------------------------------------------------------------- timing


def seconds(args: argparse.Namespace, run: Callable[[], None]) -> float:
    if args.device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    args: argparse.Namespace, title: str, candidates: dict[str, Callable[[], None]], beside: dict[str, str]
) -> None:
    """Print each candidate's time as a multiple of that of the one named in `beside`."""
    for run in candidates.values():
        run()  # warm
    turns = [{name: seconds(args, run) for name, run in candidates.items()} for _ in range(args.repeats)]
    print(f"\n## {title}\n\n| | ms, least | times as long as | median (quartiles) | least |\n|---|---|---|---|---|")
    for name in candidates:
        other = beside[name]
        ratios = [t[name] / t[other] for t in turns]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        least = min(t[name] for t in turns)
        print(
            f"| {name} | {1e3 * least:.2f} | {other} | {middle:.3f} ({low:.3f} to {high:.3f}) "
            f"| {least / min(t[other] for t in turns):.3f} |",
            flush=True,
        )
    print()


if __name__ == "__main__":
    sys.exit(main())
