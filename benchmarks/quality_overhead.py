"""What quality scores cost: nnU-Net's predictor beside ours, in one process, in turns.

    OMP_NUM_THREADS=1 nnUNet_def_n_proc=1 python benchmarks/quality_overhead.py --repeats 20

Each case is an image of random numbers, preprocessed, predicted with mirroring by nnUNetTrainerSLUNet_5L1Res with
random weights: 4 passes a window. Both predictors run the same network; which of them is first changes from repeat to
repeat. Ours includes scoring and writing quality.csv. Shown are medians and the ratios of pairs (ours / nnU-Net's),
in process time and in wall time. The work itself, `extra ms`, is also measured with a network that costs nothing (its
slices are stored), as the difference of the two predictors' least times. On a busy machine that is the steadier
figure, and it does not change when the network becomes faster. Then the peak memory of a process that predicts once.

Says so and ends with 1 if the predicted logits are not equal, bit by bit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.inference.predictor import listening
from nnunet_ext.inference.report import QualityReport
from nnunet_ext.machine import hardware, versions
from nnunet_ext.trainers.describe import example_plans
from nnunet_ext.trainers.naming import resolve

TRAINER = "nnUNetTrainerSLUNet_5L1Res"
CASES = ((256, 256), (512, 512), (512, 256))  # image, patch: one window, one window, nine windows


def main() -> int:
    args = parser().parse_args()
    args.cases = args.cases or CASES
    if args.memory_of:
        return peak_memory(args)
    print(f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}")
    print(
        f"{'image':>6} {'patch':>6} {'stock ms':>9} {'ours ms':>9} {'ratio (quartiles)':>24} {'wall ratio':>11} equal"
    )
    equal = [measure(args, image, patch) for image, patch in args.cases]
    for image, patch in args.cases if args.device == "cpu" and Path("/proc/self/status").exists() else ():
        stock, ours = (memory_in_child(which, image, patch) for which in ("stock", "ours"))
        print(f"{image:>6} {patch:>6}  peak memory {stock:.0f} and {ours:.0f} MiB, ratio {ours / stock:.3f}")
    return 0 if all(equal) else 1


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repeats", type=int, default=20)
    p.add_argument("--extra-only", action="store_true", help="only the extra work, which takes seconds")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--case", type=int, nargs=2, action="append", dest="cases", metavar=("IMAGE", "PATCH"))
    p.add_argument("--memory-of", choices=("stock", "ours"), help=argparse.SUPPRESS)
    return p


def predictors(device: str, patch: int, folder: str) -> tuple[nnUNetPredictor, nnUNetPredictor]:
    """Stock and ours, ready to predict, sharing one network."""
    plans, dataset_json = example_plans()
    plans["configurations"]["2d"]["patch_size"] = [patch, patch]
    manager = PlansManager(plans)
    configuration = manager.get_configuration("2d")
    torch.manual_seed(0)
    network = resolve(TRAINER).build_network_architecture(manager, configuration, 3, 2, False)
    network.selection.update(torch.rand(network.depth))
    report = QualityReport(output=folder)
    found = []
    for kind in (nnUNetPredictor, listening(report)):
        with contextlib.redirect_stdout(io.StringIO()):
            predictor = kind(device=torch.device(device), allow_tqdm=False)
        state = [network.state_dict()]
        predictor.manual_initialization(network, manager, configuration, state, dataset_json, TRAINER, (0, 1))
        found.append(predictor)
    return tuple(found)


class Stored(LiftedNetwork):
    """A lifted network that computes no slices: it has them."""

    def __init__(self, network: LiftedNetwork, x: torch.Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.selection, self.depth = network.selection, network.depth
        with torch.inference_mode():
            self._slices = network.slices(x)

    def slices(self, x: torch.Tensor) -> torch.Tensor:
        return self._slices

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.selection(self.slices(x))


def timed(predictor: nnUNetPredictor, image: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    if isinstance(predictor, nnUNetPredictor) and hasattr(predictor, "expect"):
        predictor.expect(["case"])
    cpu, wall = time.process_time(), time.perf_counter()
    logits = predictor.predict_logits_from_preprocessed_data(image)
    if predictor.device.type == "cuda":
        torch.cuda.synchronize()
    return logits, time.process_time() - cpu, time.perf_counter() - wall


def measure(args: argparse.Namespace, side: int, patch: int) -> bool:
    image = torch.randn(3, 1, side, side, generator=torch.Generator().manual_seed(1))
    times: dict[str, list[tuple[float, float]]] = {"stock": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        pair = dict(zip(times, predictors(args.device, patch, folder), strict=True))
        equal = torch.equal(*(timed(p, image)[0] for p in pair.values()))  # and warms up
        for repeat in range(0 if args.extra_only else args.repeats):
            for name in list(pair)[:: 1 if repeat % 2 else -1]:
                times[name].append(timed(pair[name], image)[1:])
        extra = extra_ms(args, pair, image, patch)
    if args.extra_only:
        print(f"{side:>6} {patch:>6} {extra:>78.2f} {equal}", flush=True)
        return equal
    stock, ours = times.values()
    ratios = [sorted(b[i] / a[i] for a, b in zip(stock, ours, strict=True)) for i in (0, 1)]
    low, middle, high = statistics.quantiles(ratios[0], n=4)
    ms = [1e3 * statistics.median(t[0] for t in of) for of in (stock, ours)]
    spread = f"{middle:.3f} ({low:.3f} to {high:.3f})"
    wall = statistics.median(ratios[1])
    print(
        f"{side:>6} {patch:>6} {ms[0]:>9.1f} {ms[1]:>9.1f} {spread:>24} {wall:>11.3f} {extra:>9.2f} {equal}", flush=True
    )
    return equal


def extra_ms(args: argparse.Namespace, pair: dict, image: torch.Tensor, patch: int) -> float:
    """Process time that the comparison itself takes for an image."""
    stored = Stored(pair["stock"].network, torch.randn(1, 3, patch, patch, device=args.device)).eval()
    least = []
    for predictor in pair.values():
        predictor.manual_initialization(
            stored, predictor.plans_manager, predictor.configuration_manager, [stored.state_dict()],
            predictor.dataset_json, TRAINER, (0, 1),
        )  # fmt: skip
        clock = 2 if args.device == "cuda" else 1
        least.append(min(timed(predictor, image)[clock] for _ in range(args.repeats)))
    return 1e3 * (least[1] - least[0])


def memory_in_child(which: str, image: int, patch: int) -> float:
    command = [sys.executable, __file__, "--memory-of", which, "--case", str(image), str(patch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory(args: argparse.Namespace) -> int:
    image, patch = args.cases[-1]
    with tempfile.TemporaryDirectory() as folder:
        stock, ours = predictors(args.device, patch, folder)
        timed(stock if args.memory_of == "stock" else ours, torch.randn(3, 1, image, image))
    # of this program alone; getrusage's figure starts with the parent's
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
