"""What two stages save beside stock nnU-Net, at equal weights: forwards, wall time, Dice, and controls, in one process.

    nnunet_ext cascade train -d 702 -f 0 1 2 3
    OMP_NUM_THREADS=1 python benchmarks/two_stage.py -d 702 -f 0 1 2 3 --budgets 0.25 0.125 0.0625

Each validation case of each fold is predicted with the fine and the coarse network of that fold, by every way in turn:
nnU-Net's own sliding window (half overlap, mirrored), two stages with each budget, and the controls: as many windows
drawn at random, nnU-Net without overlap (step 1), without mirroring, without both, two stages without mirroring of the
fine network, and the coarse network alone. From the preprocessed image to logits; reading, preprocessing and export are
the same for all. Shown are forwards of each network for a case; how many times faster than nnU-Net in the same turn
(median over cases and repeats, and the least and the largest); mean Dice over cases and foreground classes; and the
mean over cases of |Dice - Dice of nnU-Net|.

`perfect`: what the choice of windows alone costs: the true labels where a window was chosen, the coarse network's
elsewhere. No fine network can do better with these windows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.file_path_utilities import get_output_folder
from torch import Tensor

from nnunet_ext.cascade import regions
from nnunet_ext.cascade.coarse import CoarseModel, passes
from nnunet_ext.cascade.predictor import SelectivePredictor, neighbour, refining
from nnunet_ext.cascade.record import Record
from nnunet_ext.cascade.settings import SelectiveRefinement
from nnunet_ext.inference.trained_model import trained_model_in
from nnunet_ext.machine import hardware, versions


def main() -> int:
    args = parser().parse_args()
    print(f"{hardware(args.device)}; {torch.get_num_threads()} threads of torch; {versions()}")
    rows: dict[str, list[dict[str, Any]]] = {}
    for fold in args.f:
        of_fold(args, str(fold), rows)
    show(rows)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-d", required=True, help="dataset id or name")
    p.add_argument("-f", type=int, nargs="+", required=True, help="folds, trained in both stages")
    p.add_argument("-c", default="2d_selective")
    p.add_argument("-tr", default="nnUNetTrainerTwoStage")
    p.add_argument("-p", default="nnUNetTwoStagePlans")
    p.add_argument("--budgets", type=float, nargs="+", default=(0.25, 0.125, 0.0625))
    p.add_argument("--repeats", type=int, default=1)
    p.add_argument("--cases", type=int, help="of each fold, at most")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return p


def of_fold(args: argparse.Namespace, fold: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    folder = Path(get_output_folder(args.d, args.tr, args.p, args.c))
    fine = trained_model_in(folder, [fold]).predictor(args.device)
    settings = SelectiveRefinement.of(fine.configuration_manager.configuration) or SelectiveRefinement("2d_lowres")
    coarse = CoarseModel(trained_model_in(neighbour(folder, settings), [fold]), args.device)
    ways = candidates(args, fine, coarse, settings)
    base = Path(nnUNet_preprocessed, fine.plans_manager.dataset_name)
    data_folder = str(base / fine.configuration_manager.data_identifier)
    data = infer_dataset_class(data_folder)(data_folder, validation_cases(base, int(fold))[: args.cases])
    for case in data.identifiers:
        image, seg, _, _ = data.load_case(case)
        image, truth = torch.from_numpy(image[:]), torch.from_numpy(seg[:])[0]
        for _ in range(args.repeats):
            of_case(ways, case, image, truth, rows)
        print(f"fold {fold}, {case}: {tuple(image.shape[2:])}", file=sys.stderr, flush=True)


def validation_cases(base: Path, fold: int) -> list[str]:
    return json.loads((base / "splits_final.json").read_text())[fold]["val"]


def candidates(
    args: argparse.Namespace, fine: nnUNetPredictor, coarse: CoarseModel, settings: SelectiveRefinement
) -> dict[str, nnUNetPredictor]:
    def stock(step: float = 0.5, mirror: bool = True) -> nnUNetPredictor:
        return load(nnUNetPredictor, fine, args.device, step, mirror)

    def selective(budget: float, mirror: bool = True, **changes: Any) -> nnUNetPredictor:
        fixed = (coarse, replace(settings, budget=budget, max_confidence=None, **changes))
        return load(refining(Record(), fixed=fixed), fine, args.device, 0.5, mirror)

    ways: dict[str, nnUNetPredictor] = {"nnU-Net": stock()}
    ways |= {f"two stages, {b:g}": selective(b) for b in args.budgets}
    ways |= {f"random windows, {b:g}": selective(b, criterion="random") for b in args.budgets}
    ways |= {f"two stages, {b:g}, fine not mirrored": selective(b, False) for b in args.budgets}
    ways["nnU-Net, step 1"] = stock(1.0)
    ways["nnU-Net, not mirrored"] = stock(mirror=False)
    ways["nnU-Net, step 1, not mirrored"] = stock(1.0, False)
    ways["coarse network alone"] = selective(0.0)
    return ways


def load(cls: Any, like: nnUNetPredictor, device: str, step: float, mirror: bool) -> nnUNetPredictor:
    predictor = cls(
        tile_step_size=step, use_mirroring=mirror, device=torch.device(device),
        perform_everything_on_device=device == "cuda", allow_tqdm=False,
    )  # fmt: skip
    predictor.manual_initialization(
        like.network, like.plans_manager, like.configuration_manager, like.list_of_parameters, like.dataset_json,
        like.trainer_name, like.allowed_mirroring_axes,
    )  # fmt: skip
    return predictor


def of_case(
    ways: dict[str, nnUNetPredictor], case: str, image: Tensor, truth: Tensor, rows: dict[str, list[dict[str, Any]]]
) -> None:
    base: dict[str, Any] = {}
    for name, predictor in ways.items():
        if isinstance(predictor, SelectivePredictor):
            predictor.expect([case, case])  # once more for `perfect`
        start = time.perf_counter()
        logits = predictor.predict_logits_from_preprocessed_data(image)
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        labels = predictor.label_manager.convert_logits_to_segmentation(logits.float())
        row = {"seconds": seconds, "dice": dice(labels, truth, predictor), **forwards(predictor, image)}
        base = base or row
        row |= {"faster": base["seconds"] / seconds, "difference": abs(row["dice"] - base["dice"])}
        rows.setdefault(name, []).append(row)
        if isinstance(predictor, SelectivePredictor) and predictor.use_mirroring and predictor.settings.budget > 0:
            best = dice(perfect(predictor, image, truth), truth, predictor)
            rows[name][-1] |= {"perfect": best}


def forwards(predictor: nnUNetPredictor, image: Tensor) -> dict[str, int]:
    if isinstance(predictor, SelectivePredictor):
        row = predictor.record.rows[-1]
        return {"fine": row.fine_forwards, "coarse": row.coarse_forwards}
    patch = predictor.configuration_manager.patch_size
    padded = (*image.shape[1 : 4 - len(patch)], *map(max, image.shape[4 - len(patch) :], patch))
    return {"fine": len(predictor._internal_get_sliding_window_slicers(padded)) * passes(predictor), "coarse": 0}


def dice(labels: Tensor, truth: Tensor, predictor: nnUNetPredictor) -> float:
    scores = []
    for label in predictor.label_manager.foreground_labels:
        a, b = labels == label, truth == label
        if b.any() or a.any():
            scores.append(float(2 * (a & b).sum() / (a.sum() + b.sum())))
    return statistics.mean(scores)


def perfect(predictor: SelectivePredictor, image: Tensor, truth: Tensor) -> Tensor:
    """Return the true labels in the chosen windows, the coarse network's elsewhere."""
    with predictor._image(image):
        case = predictor._case
        assert case is not None
        patch = predictor.configuration_manager.patch_size
        padded = [max(s, p) for s, p in zip(image.shape[1:], [1, *patch][-3:], strict=True)]
        slicers = predictor._internal_get_sliding_window_slicers(tuple(padded))
        chosen = regions.select(predictor.confidences(slicers), predictor.settings.budget)
        covered = torch.zeros(padded, dtype=torch.bool)
        for i in chosen.tolist():
            covered[slicers[i][1:]] = True
        empty = predictor.fine_sum(padded, False)
        coarse = empty.merged(case.crop, case.coarse, 0.0)[(slice(None), *case.crop)]
    predictor.record.rows.pop()
    labels = predictor.label_manager.convert_logits_to_segmentation(coarse.float())
    return torch.where(covered[case.crop], truth.to(labels), labels)


def show(rows: dict[str, list[dict[str, Any]]]) -> None:
    print("\n| | fine forwards | coarse | times fewer | times faster (range) | Dice | mean abs. difference | perfect |")
    print("|---|---|---|---|---|---|---|---|")
    whole = statistics.mean(r["fine"] for r in rows["nnU-Net"])
    for name, found in rows.items():
        fine, coarse = (statistics.mean(r[key] for r in found) for key in ("fine", "coarse"))
        faster = [r["faster"] for r in found]
        best = f"{statistics.mean(r['perfect'] for r in found):.4f}" if "perfect" in found[0] else ""
        fewer = f"{whole / fine:.1f}" if fine else "-"
        values = [
            name, f"{fine:.0f}", f"{coarse:.0f}", fewer,
            f"{statistics.median(faster):.1f} ({min(faster):.1f} to {max(faster):.1f})",
            f"{statistics.mean(r['dice'] for r in found):.4f}",
            f"{statistics.mean(r['difference'] for r in found):.4f}", best,
        ]  # fmt: skip
        print("| " + " | ".join(values) + " |")
    seconds: Sequence[float] = [r["seconds"] for r in rows["nnU-Net"]]
    print(f"\nnnU-Net: {statistics.median(seconds):.1f} s a case (median of {len(seconds)})")


if __name__ == "__main__":
    sys.exit(main())
