"""What multi-scale subtraction costs: its fixed filters beside other ways to compute them, and a training step.

    OMP_NUM_THREADS=1 python benchmarks/multiscale_subtraction.py --repeats 15
    OMP_NUM_THREADS=1 python benchmarks/multiscale_subtraction.py --only step --repeats 5

Times are ratios: all candidates run in turns, and each ratio is taken within a turn, so that what else the machine does
falls on both; shown are the median and the quartiles of the turns. On the CPU the clock is process time, on a GPU the
time between synchronisations. The memory is what autograd keeps for the backward pass, each storage once.

- `filters`: the unit without its convolution, from two maps to one, forward and backward. `dense + norm` is what the
  authors' code computes (all-ones filters over all channels of both maps, batch norm, ReLU), `both, pooling` the
  paper's equation as it stands, `pooling` and `depthwise` the same on the difference, by avg_pool and by autograd's
  depthwise convolution; `ours` is `multi_scale_difference`.
- `filter`: one filter alone, side 5, forward and backward.
- `step`: forward, loss, backward and SGD of nnU-Net's own network and of M2SNet on nnU-Net's plan for 512 x 512 RGB
  images, without and with LossNet (whose weights are random here: what they are costs no time).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn
from torchvision.models import vgg16

from nnunet_ext.architectures.decoders.box_filter import box_filter, multi_scale_difference
from nnunet_ext.losses.lossnet import LossNet, LossNetLoss
from nnunet_ext.machine import hardware, versions
from nnunet_ext.trainers.describe import example_plans
from nnunet_ext.trainers.method_losses import LOSSNET_WEIGHT, Weighted
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.training_loss import TrainingLoss, finest_scale

SHAPES = {2: (4, 64, 88, 88), 3: (1, 32, 32, 64, 64)}
SCALES = (3, 5)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    p.add_argument("--repeats", type=int, default=15)
    p.add_argument("--only", nargs="+", choices=("filters", "filter", "step"), default=("filters", "filter", "step"))
    p.add_argument("--patch", type=int, default=512, help="side of the patch of the training step")
    p.add_argument("--batch", type=int, default=1, help="of the training step")
    p.add_argument("--amp", action="store_true", help="the training step under autocast, as nnU-Net trains on a GPU")
    args = p.parse_args()
    print(f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}")
    for dims in SHAPES:
        if "filters" in args.only:
            compare(args, f"unit without its convolution, {SHAPES[dims]}", filters(args, dims), "ours")
        if "filter" in args.only:
            compare(args, f"one filter of side 5, {SHAPES[dims]}", one_filter(args, dims), "ours")
    if "step" in args.only:
        compare(args, f"training step, {args.patch} x {args.patch}, batch {args.batch}", steps(args), "nnU-Net")
    return 0


def pooling(x: Tensor, k: int) -> Tensor:
    pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
    return pool(x, k, 1, k // 2, divisor_override=1)


def convolution(x: Tensor, k: int, dense: bool) -> Tensor:
    c, convolve = x.shape[1], F.conv2d if x.ndim == 4 else F.conv3d
    ones = x.new_ones((c, c if dense else 1, *[k] * (x.ndim - 2)))
    return convolve(x, ones, padding=k // 2, groups=1 if dense else c)


def filters(args: argparse.Namespace, dims: int) -> dict[str, Callable[[], Tensor]]:
    """Each candidate returns what is to be differentiated."""
    a, b = (torch.randn(SHAPES[dims], device=args.device, requires_grad=True) for _ in range(2))
    norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    norms = [norm(SHAPES[dims][1]).to(args.device) for _ in SCALES]
    sizes = [[k] * dims for k in (1, *SCALES)]

    def dense(x: Tensor, i: int) -> Tensor:
        return F.relu(norms[i](convolution(x, SCALES[i], dense=True)))

    def on_difference(box: Callable[[Tensor, int], Tensor]) -> Tensor:
        d = a - b
        return d.abs() + sum(box(d, k).abs() for k in SCALES)

    return {
        "dense + norm": lambda: (a - b).abs() + sum((dense(a, i) - dense(b, i)).abs() for i in range(len(SCALES))),
        "both, pooling": lambda: (a - b).abs() + sum((pooling(a, k) - pooling(b, k)).abs() for k in SCALES),
        "pooling": lambda: on_difference(pooling),
        "depthwise": lambda: on_difference(lambda x, k: convolution(x, k, dense=False)),
        "ours": lambda: multi_scale_difference(a - b, sizes),
    }


def one_filter(args: argparse.Namespace, dims: int) -> dict[str, Callable[[], Tensor]]:
    x = torch.randn(SHAPES[dims], device=args.device, requires_grad=True)
    return {
        "dense": lambda: convolution(x, 5, dense=True),
        "pooling": lambda: pooling(x, 5),
        "depthwise": lambda: convolution(x, 5, dense=False),
        "ours": lambda: box_filter(x, [5] * dims),
    }


def steps(args: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    plans, dataset = example_plans()
    plans["configurations"]["2d"]["patch_size"] = [args.patch, args.patch]
    manager = PlansManager(plans)
    settings = manager.get_configuration("2d")
    outputs = manager.get_label_manager(dataset).num_segmentation_heads
    x = torch.randn(args.batch, 3, args.patch, args.patch, device=args.device)
    truth = (torch.rand(args.batch, 1, args.patch, args.patch, device=args.device) > 0.5).float()
    made = {}
    for name, trainer, with_lossnet in (
        ("nnU-Net", "nnUNetTrainerExt_Plain_UNet", False),
        ("MSNet, no LossNet", "nnUNetTrainerMSNet_noLossNet", False),
        ("M2SNet, no LossNet", "nnUNetTrainerM2SNet_noLossNet", False),
        ("M2SNet", "nnUNetTrainerM2SNet", True),
    ):
        network = resolve(trainer).build_network_architecture(manager, settings, 3, outputs, True).to(args.device)
        made[name] = training_step(args, network, nnunets_loss(args, with_lossnet), x, truth)
    return made


def nnunets_loss(args: argparse.Namespace, with_lossnet: bool) -> nn.Module:
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False}
    plain = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1)
    weights = np.array([1 / 2**i for i in range(7)])
    weights[-1] = 0
    loss = TrainingLoss(DeepSupervisionWrapper(plain, weights / weights.sum()), None, finest_scale)
    if with_lossnet:
        lossnet = LossNetLoss(LossNet(vgg16().features[:23], "shrink")).to(args.device)
        loss.added = Weighted(lossnet, LOSSNET_WEIGHT)
    return loss


def training_step(
    args: argparse.Namespace, network: nn.Module, loss: nn.Module, x: Tensor, truth: Tensor
) -> Callable[[], Tensor]:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)

    def run() -> Tensor:
        optimizer.step()  # of the turn before
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, enabled=args.amp):
            scores = network(x)
            targets = [F.interpolate(truth, size=s.shape[2:]) for s in scores]
            return loss(scores, targets)

    return run


def clock(args: argparse.Namespace) -> float:
    if args.device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if args.device == "cpu" else time.perf_counter()


def kept(run: Callable[[], Tensor]) -> float:
    """MiB that autograd keeps, each storage once; parameters and inputs are the same for all candidates."""
    storages = {}

    def pack(t: Tensor) -> Tensor:
        if not t.is_leaf or not t.requires_grad:
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        result = run()
    del result
    return sum(storages.values()) / 2**20


def compare(args: argparse.Namespace, what: str, runs: dict[str, Callable[[], Tensor]], reference: str) -> None:
    measured: dict[str, list[float]] = {name: [] for name in runs}
    memory = {name: kept(run) for name, run in runs.items()}
    for turn in range(args.repeats + 1):
        for name in runs if turn % 2 else reversed(runs):
            start = clock(args)
            result = runs[name]()
            result.backward(torch.ones_like(result))
            if turn > 0:
                measured[name].append(clock(args) - start)
    print(f"\n| {what} | ms, median | times {reference} | kept, MiB |\n|---|---|---|---|")
    for name, values in measured.items():
        print(f"| {name} | {1e3 * statistics.median(values):.1f} | {ratio(values, measured[reference])} "
              f"| {memory[name]:.1f} |", flush=True)  # fmt: skip


def ratio(above: list[float], below: list[float]) -> str:
    """Median and quartiles of the turns' ratios."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
