"""What offset vectors cost: a training step and inference of nnU-Net's own network with each branch, and their parts.

    export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000  # see below
    OMP_NUM_THREADS=1 python benchmarks/offset_vectors.py --repeats 9
    OMP_NUM_THREADS=1 python benchmarks/offset_vectors.py --patches 128x128x128 --batch 2 --device cuda --amp

The networks are what nnU-Net plans for isotropic images of these patches: RGB and one structure in 2D, one channel and
two structures in 3D. Times are ratios: all candidates run in turns, and each ratio is taken within a turn, so that what
else the machine does falls on both; shown are the median and the quartiles of the turns. `least` is the least step of
all turns over nnU-Net's least: other work makes times longer, never shorter. nnU-Net's network is there twice; what the
second's ratio is away from 1 is noise. On the CPU the clock is process time, on a GPU the time between
synchronisations.

Without the two variables, glibc gives each tensor of 32 MiB back to the system and gets it anew, page by page: a fifth
of nnU-Net's step at 512 x 512 and, as maps of full size suffer most, more of what a branch adds.

- `network`: forward and backward of the outputs, without the loss; `step`: with it (three predictions' losses and the
  confidence's where nnU-Net has one), without the optimiser; `inference`: forward alone, one scale.
- `kept`: what autograd keeps for the backward pass of a step, each storage once.
- parts: forward and backward of what a branching adds, each by itself; all of it lies in the steps, too.
  The look-up is timed at offsets as they begin, near 0, at a smooth field of offsets up to the largest, and at offsets
  drawn for each pixel by itself, which caches like least.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from multiscale_subtraction import clock, kept, ratio
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.heads.offset_branch import LightBranch, largest_offset
from nnunet_ext.architectures.heads.offset_vectors import OffsetRefinement
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.topology import Topology
from nnunet_ext.losses.offset_confidence import OffsetConfidenceLoss, confidence_loss
from nnunet_ext.machine import hardware, versions
from nnunet_ext.trainers.naming import resolve
from nnunet_ext.trainers.offset_vectors import OffsetLoss
from nnunet_ext.trainers.training_loss import CheckedLoss, TrainingLoss, finest_scale, of_one_scale

PLAIN = "nnU-Net"
TRAINERS = {PLAIN: "", f"{PLAIN} again": "", "shared": "_OVeShared", "light": "_OVe", "decoder": "_OVeDecoder"}
CHANNELS = {2: 3, 3: 1}
CLASSES = {2: 2, 3: 3}
MOST_FEATURES = {2: 512, 3: 320}
LINEAR = {2: "bilinear", 3: "trilinear"}
Laps = dict[str, float]  # seconds by part


class Case(NamedTuple):
    """A batch, and what nnU-Net trains on it."""

    topology: Topology
    x: Tensor
    targets: list[Tensor]
    loss: nn.Module


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    p.add_argument("--repeats", type=int, default=9)
    p.add_argument("--patches", nargs="+", default=["512x512", "64x64x64"], help="e.g. 512x512 64x64x64")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--amp", action="store_true", help="under autocast, as nnU-Net trains on a GPU")
    args = p.parse_args()
    print(f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}")
    for patch in args.patches:
        made = case(args, tuple(int(side) for side in patch.split("x")))
        measure(args, f"{patch}, batch {args.batch}{', autocast' if args.amp else ''}", made)
    return 0


def planned(patch: tuple[int, ...]) -> Topology:
    """Return what nnU-Net's planner has for this patch at spacing 1."""
    dims = len(patch)
    _, strides, kernels, *_ = get_pool_and_conv_props([1.0] * dims, patch, 4, 999999)
    n = len(strides)
    return Topology(
        dims, patch, tuple(min(32 * 2**i, MOST_FEATURES[dims]) for i in range(n)), tuple(map(tuple, strides)),
        tuple(map(tuple, kernels)), (2,) * n, (2,) * (n - 1), norm={2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims],
        norm_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        spacing=(1.0,) * dims,
    )  # fmt: skip


def case(args: argparse.Namespace, patch: tuple[int, ...]) -> Case:
    topology = planned(patch)
    dims, n_scales = topology.dims, topology.n_stages - 1
    x = torch.randn(args.batch, CHANNELS[dims], *patch, device=args.device)
    truth = torch.randint(CLASSES[dims], (args.batch, 1, *patch), device=args.device).float()
    steps = np.cumprod(topology.strides, axis=0)[:n_scales]
    targets = [F.interpolate(truth, size=[int(p) for p in patch // s]) for s in steps]
    return Case(topology, x, targets, loss_of(n_scales, CLASSES[dims]))


def loss_of(n_scales: int, classes: int) -> TrainingLoss:
    """nnU-Net's for plain logits, the offset vectors' for theirs, as `OffsetVectorTrainer` builds it."""
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    single = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)
    weights = np.array([1 / 2**i for i in range(n_scales)])
    weights[-1] = 0
    plain = CheckedLoss(DeepSupervisionWrapper(single, weights / weights.sum()), classes)
    method = OffsetConfidenceLoss(of_one_scale(plain), plain, regions=False, ignore_label=None, **vars(OffsetLoss()))
    return TrainingLoss(plain, method, finest_scale)


def network_of(args: argparse.Namespace, which: str, topology: Topology) -> nn.Module:
    spec = resolve(f"nnUNetTrainerExt_Plain_UNet{TRAINERS[which]}").spec
    return spec.build(topology, CHANNELS[topology.dims], CLASSES[topology.dims], True).to(args.device)


def leaves(output: list[Tensor] | TrainingOutput) -> tuple[list[Tensor], list[Tensor] | TrainingOutput]:
    """Cut a network's outputs off from it, to be leaves: in a list, and in the form that the loss takes."""
    if not isinstance(output, TrainingOutput):
        cut = [o.detach().requires_grad_() for o in output]
        return cut, cut
    logits, extra = leaves(output.logits)[0], leaves(list(output.extra.values()))[0]
    return [*logits, *extra], TrainingOutput(logits, dict(zip(output.extra, extra, strict=True)))


def step(args: argparse.Namespace, network: nn.Module, made: Case) -> Laps:
    """Train in three parts: forward, the loss of the cut outputs, backward from the gradients that it leaves there."""
    network.train().zero_grad(set_to_none=True)
    network.decoder.deep_supervision = True
    times = [clock(args)]
    with torch.autocast(args.device, enabled=args.amp):
        output = network(made.x)
        times.append(clock(args))
        cut, in_form = leaves(output)
        loss = made.loss(in_form, made.targets)
    loss.backward()
    times.append(clock(args))
    whole = output if isinstance(output, list) else [*output.logits, *output.extra.values()]
    reached = [(o, c.grad) for o, c in zip(whole, cut, strict=True) if c.grad is not None]
    torch.autograd.backward(*map(list, zip(*reached, strict=True)))
    times.append(clock(args))
    forward, losses, backward = np.diff(times)
    return {"network": forward + backward, "loss": losses, "step": forward + losses + backward}


def inference(args: argparse.Namespace, network: nn.Module, x: Tensor) -> Laps:
    network.eval()
    network.decoder.deep_supervision = False
    start = clock(args)
    with torch.inference_mode(), torch.autocast(args.device, enabled=args.amp):
        network(x)
    return {"inference": clock(args) - start}


def step_at_once(args: argparse.Namespace, network: nn.Module, made: Case) -> Tensor:
    network.train()
    network.decoder.deep_supervision = True
    with torch.autocast(args.device, enabled=args.amp):
        return made.loss(network(made.x), made.targets)


def parts(args: argparse.Namespace, made: Case) -> dict[str, Callable[[], Laps]]:
    """Parts, each as one lap."""
    t, finest = made.topology, made.targets[0]
    refinement = OffsetRefinement(largest_offset(t)).to(args.device)
    shape = (args.batch, CLASSES[t.dims], *t.patch_size)
    initial = torch.randn(shape, device=args.device, requires_grad=True)
    raw = torch.randn(args.batch, refinement.channels, *t.patch_size, device=args.device)
    coarse = F.interpolate(raw[(..., *[slice(None, None, 16)] * t.dims)], size=t.patch_size, mode=LINEAR[t.dims])
    near, smooth, random = (v.requires_grad_() for v in (raw * 1e-3, coarse, raw))
    probes = [torch.randn_like(v) for v in refinement(initial, near)[:4]]
    confidence, offsets = (v.detach() for v in refinement(initial, near)[3:])
    confidence.requires_grad_()

    def refine(raw: Tensor) -> Laps:
        start = clock(args)
        torch.autograd.backward(list(refinement(initial, raw)[:4]), probes)
        return {"part": clock(args) - start}

    def believe() -> Laps:
        start = clock(args)
        confidence_loss(confidence, offsets, finest, regions=False, ignore_label=None).backward()
        return {"part": clock(args) - start}

    return {
        "convolutions of light": light_branch(args, made),
        "look-up and fusion, offsets near 0": partial(refine, near),
        "look-up and fusion, smooth offsets": partial(refine, smooth),
        "look-up and fusion, random offsets": partial(refine, random),
        "confidence loss": believe,
    }


def light_branch(args: argparse.Namespace, made: Case) -> Callable[[], Laps]:
    t = made.topology
    branch = LightBranch(t, t.features[0], t.dims + 1).to(args.device)
    features = torch.randn(args.batch, t.features[0], *t.patch_size, device=args.device, requires_grad=True)

    def run() -> Laps:
        start = clock(args)
        with torch.autocast(args.device, enabled=args.amp):
            raw = branch([], [features])
        raw.backward(torch.ones_like(raw))
        return {"part": clock(args) - start}

    return run


def measure(args: argparse.Namespace, what: str, made: Case) -> None:
    networks = {which: network_of(args, which, made.topology) for which in TRAINERS}
    memory = {which: kept(partial(step_at_once, args, network, made)) for which, network in networks.items()}
    runs = {which: partial(both, args, network, made) for which, network in networks.items()} | parts(args, made)
    measured: dict[str, list[Laps]] = {name: [] for name in runs}
    for turn in range(args.repeats + 1):
        for name in runs if turn % 2 else reversed(runs):
            laps = runs[name]()
            if turn > 0:
                measured[name].append(laps)
    show(what, made.x.shape[1:], networks, memory, measured)


def both(args: argparse.Namespace, network: nn.Module, made: Case) -> Laps:
    return step(args, network, made) | inference(args, network, made.x)


def show(
    what: str, size: torch.Size, networks: dict[str, nn.Module], memory: dict[str, float],
    measured: dict[str, list[Laps]],
) -> None:  # fmt: skip
    def column(name: str, part: str) -> list[float]:
        return [laps[part] for laps in measured[name]]

    print(f"\n| {what} | parameters | GMACs | network, times {PLAIN} | step, times {PLAIN} | least | inference, "
          f"times {PLAIN} | step, ms | kept, MiB |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for which, network in networks.items():
        steps = column(which, "step")
        of_network, of_step, of_inference = (
            ratio(column(which, part), column(PLAIN, part)) for part in ("network", "step", "inference")
        )
        print(f"| {which} | {count_parameters(network):,} | {count_macs(network, size) / 1e9:.2f} | {of_network} "
              f"| {of_step} | {min(steps) / min(column(PLAIN, 'step')):.2f} | {of_inference} "
              f"| {1e3 * statistics.median(steps):.0f} | {memory[which]:.1f} |")  # fmt: skip
    print(f"\n| {what}, forward and backward | ms, median | % of {PLAIN}'s step |\n|---|---|---|")
    rows = {f"{which}: loss": column(which, "loss") for which in (PLAIN, "shared")}
    rows |= {name: column(name, "part") for name in measured if name not in networks}
    for name, times in rows.items():
        print(f"| {name} | {1e3 * statistics.median(times):.1f} "
              f"| {ratio([100 * t for t in times], column(PLAIN, 'step'))} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
