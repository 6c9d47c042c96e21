"""All budgets of one image in one pass: the windows of a small budget are among those of a larger one.

Windows come in the order of `regions.select`, the least confident first; whenever a budget's number is reached, what
both networks say by then is taken. Budget 0 is the coarse network alone, budget 1 nnU-Net's own prediction.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.cascade import regions
from nnunet_ext.cascade.coarse import CoarseModel, passes
from nnunet_ext.cascade.predictor import SelectivePredictor
from nnunet_ext.cascade.record import Record
from nnunet_ext.cascade.refinement import FineSum, refine
from nnunet_ext.cascade.settings import SelectiveRefinement
from nnunet_ext.inference.trained_model import TrainedModel


@dataclass(frozen=True)
class Point:
    """What one image costs at one budget.

    Attributes:
        case: its name.
        budget: that was asked for.
        windows: of the fine network's grid.
        selected: of them, those that the fine network is given.
        fine_forwards: images given to the fine network, mirrored ones counted singly.
        coarse_forwards: the same of the coarse network, at its own resolution.
        stock_forwards: of the fine network, if it is given all windows.
        coarse_seconds: wall time of resampling and predicting.
        fine_seconds: wall time of choosing, predicting and merging, up to this budget.
    """

    case: str
    budget: float
    windows: int
    selected: int
    fine_forwards: int
    coarse_forwards: int
    stock_forwards: int
    coarse_seconds: float
    fine_seconds: float


Take = Callable[[Point, Tensor], None]


class CurvePredictor(SelectivePredictor):
    """Predicts an image at several budgets; of the two-stage settings, the budget and max_confidence are not heeded.

    Class attributes, set by `curve_predictor`:
        budgets: 0 to 1, ascending.
        take: takes each budget's point and `(K, *S)` half, what nnU-Net takes for logits; the tensor is its own. It is
            called again for the same budgets if nnU-Net runs out of the device's memory and begins anew.
    """

    budgets: tuple[float, ...] = (0.0, 1.0)
    take: Take

    def curve(self, case: str, image: Tensor, properties: dict[str, Any]) -> None:
        """Predict an image; `take` is given the results.

        Args:
            case: its name.
            image: `(C, *S)`, preprocessed for the fine network.
            properties: that nnU-Net's preprocessing left beside it.
        """
        self.expect([case])
        self.properties = properties
        self.predict_logits_from_preprocessed_data(image)

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: Sequence[tuple], do_on_device: bool = True
    ) -> Tensor:
        case = self._case
        assert case is not None
        begin = self._clock()
        order = regions.select(self.confidences(slicers), 1.0).tolist()
        total = self.fine_sum(data.shape[1:], do_on_device)
        batch, spent, done = self.configuration_manager.batch_size, self._clock() - begin, 0
        logits = total.logits
        for budget in self.budgets:
            number, begin = regions.number_selected(budget, len(slicers)), self._clock()
            chosen = [slicers[i] for i in order[done:number]]
            refine(self._internal_maybe_mirror_and_predict, data, chosen, total, batch, self.device)
            refined = self._clock()
            logits = self._result(total, number == len(slicers))
            merged = self._clock()
            spent, done = spent + refined - begin, number
            row, n = case.row, passes(self)
            point = Point(
                row.case, budget, len(slicers), number, number * n, row.coarse_forwards, len(slicers) * n,
                row.coarse_seconds, spent + merged - refined,
            )  # fmt: skip
            box = (slice(None), *case.crop)
            self.take(point, logits[box])
        return logits

    def _result(self, total: FineSum, is_whole: bool) -> Tensor:
        """Return `(K, *padded)` half; if the fine network saw all, nnU-Net's own."""
        assert self._case is not None
        if not is_whole:
            return total.merged(self._case.crop, self._case.coarse, self.settings.coarse_weight, keep=True)
        if torch.any(torch.isinf(total.logits)):
            raise RuntimeError("the fine network's logits are too large for half precision (inf)")
        return total.logits / total.total

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def curve_predictor(
    fine: TrainedModel, coarse: CoarseModel, settings: SelectiveRefinement, budgets: Sequence[float], take: Take,
    mirroring: bool = True, step_size: float = 0.5, device: str | None = None,
) -> CurvePredictor:  # fmt: skip
    """Load a fine model for a curve.

    Args:
        fine: the model; one fold.
        coarse: is loaded.
        settings: how windows are chosen.
        budgets: 0 to 1, in any order.
        take: as in `CurvePredictor`.
        mirroring: of the fine network, as nnU-Net's test time augmentation.
        step_size: of the windows, as a share of the patch.
        device: cpu, cuda or mps; None: a GPU if there is one.

    Raises:
        TrainedModelError: if it cannot be loaded.
        TwoStageError: if both models do not fit each other.
    """
    plain = fine.predictor(device)
    coarse.check(plain, str(fine.folder))
    cls = type("CurvePredictorOfModel", (CurvePredictor,), {
        "fixed": (coarse, settings), "record": Record(), "budgets": tuple(sorted(budgets)), "take": staticmethod(take),
    })  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net says that the CPU is no GPU
        predictor: CurvePredictor = cls(
            tile_step_size=step_size, use_mirroring=mirroring, device=plain.device,
            perform_everything_on_device=plain.perform_everything_on_device, allow_tqdm=False,
        )  # fmt: skip
    predictor.manual_initialization(
        plain.network, plain.plans_manager, plain.configuration_manager, plain.list_of_parameters, plain.dataset_json,
        plain.trainer_name, plain.allowed_mirroring_axes,
    )  # fmt: skip
    return predictor
