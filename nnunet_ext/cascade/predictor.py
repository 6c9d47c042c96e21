"""nnU-Net's predictor in two stages: the fine network sees the windows that the coarse one is unsure of, and no other.

Two-stage Semantic Segmentation in Neural Networks (D. Teixeira e Silva, R. Cruz, T. Goncalves, D. Carneiro, ICMV 2022,
SPIE 12701), section 3, on nnU-Net's sliding window. Where we differ: windows are nnU-Net's, which overlap, and are
mirrored; the paper's grid is `-step_size 1`. `cascade/regions.py` has the equations.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor

from nnunet_ext.cascade import regions
from nnunet_ext.cascade.coarse import SLICE_SPACING, CoarseModel, passes
from nnunet_ext.cascade.record import Record, Row
from nnunet_ext.cascade.refinement import CoarseMap, FineSum, Grid, refine
from nnunet_ext.cascade.settings import SelectiveRefinement, TwoStageError
from nnunet_ext.inference.predictor import Listener, QualityPredictor
from nnunet_ext.inference.trained_model import TrainedModel, TrainedModelError, trained_model_in


@dataclass(frozen=True)
class Wanted:
    """What a user asks for in the place of what the plan says; None leaves the plan's.

    Attributes:
        coarse: folder of the coarse model, TRAINER__PLANS__CONFIGURATION.
        coarse_folds: its folds; None for those of the fine model.
        changes: fields of `SelectiveRefinement` by name.
    """

    coarse: Path | None = None
    coarse_folds: tuple[str, ...] | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    def settings(self, configuration: dict[str, Any], name: str) -> SelectiveRefinement:
        """Return what is done with a configuration.

        Raises:
            TwoStageError: if nothing says which network is the coarse one, or a value is not allowed.
        """
        planned = SelectiveRefinement.of(configuration)
        if planned is None:
            if self.coarse is None:
                raise TwoStageError(
                    f"configuration {name} names no coarse network. Type -c 2d_selective (`nnunet_ext plan "
                    "--two-stage` makes it), or name a trained coarse model with --coarse FOLDER."
                )
            planned = SelectiveRefinement(self.coarse.name.split("__")[-1])
        return replace(planned, **self.changes)

    def coarse_model(
        self, settings: SelectiveRefinement, fine: Path, folds: Sequence[str], checkpoint: str
    ) -> TrainedModel:
        """Find the coarse model: the one that was named, or the fine one's neighbour that the plan names.

        Raises:
            TrainedModelError: if it, or a fold of it, is not there.
        """
        folder = self.coarse or neighbour(fine, settings)
        try:
            return trained_model_in(folder, self.coarse_folds or folds, checkpoint)
        except TrainedModelError as error:
            raise TrainedModelError(
                f"the coarse network: {error} Train it, or name another one with --coarse FOLDER, or other folds of it "
                "with --coarse-folds."
            ) from None


def neighbour(fine: Path, settings: SelectiveRefinement) -> Path:
    """Return the folder of the coarse model that a plan names, of the same dataset and plans as a fine model's."""
    trainer, plans, _ = fine.name.split("__")
    return fine.parent / "__".join((settings.coarse_trainer or trainer, plans, settings.coarse_configuration))


@dataclass
class _Case:
    """One image: what the coarse network says, and which windows are chosen; shared by folds and mirrored passes."""

    coarse: CoarseMap
    crop: tuple[slice, ...]  # (3,) of the image in the padded one
    shape: tuple[int, ...]  # (3,) of the image
    row: Row
    confidences: Tensor | None = None


class SelectivePredictor(QualityPredictor):
    """Predicts as nnU-Net does, but gives the fine network only the windows where the coarse one is unsure.

    A budget of 1 is nnU-Net's own prediction; with 0 the fine network is never asked. Folds are averaged as nnU-Net
    averages them, by what stands for logits: log p.

    Class attributes, set by `refining`:
        wanted: by the user.
        fixed: coarse model and settings, where they are known before (nnU-Net's validation).
        record: takes a row for each image.
        properties_of: a case by its name, where nnU-Net does not tell (its validation).
    """

    wanted: Wanted = Wanted()
    fixed: tuple[CoarseModel, SelectiveRefinement] | None = None
    record: Record
    properties_of: Callable[[str], dict[str, Any]] | None = None
    coarse: CoarseModel | None = None
    settings: SelectiveRefinement
    _case: _Case | None = None

    # ---------------------------------------------------------------- before work

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """Load the fine model as nnU-Net does, then the coarse one.

        Raises:
            TrainedModelError: if one of them is not there.
            TwoStageError: if they do not fit each other.
        """
        if use_folds is None:
            use_folds = self.auto_detect_available_folds(model_training_output_dir, checkpoint_name)
        folds = [str(f) for f in ([use_folds] if isinstance(use_folds, (str, int)) else use_folds)]
        fine = Path(model_training_output_dir)
        trained_model_in(fine, folds, checkpoint_name)
        super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        name = fine.name.split("__")[-1]
        self.settings = self.wanted.settings(self.configuration_manager.configuration, name)
        model = self.wanted.coarse_model(self.settings, fine, folds, checkpoint_name)
        self._take(CoarseModel(model, self.device, self.settings.coarse_mirroring), str(fine))

    def manual_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Take the fine network as nnU-Net does; the coarse model is known before (`fixed`)."""
        super().manual_initialization(*args, **kwargs)
        if self.fixed is not None:
            coarse, self.settings = self.fixed
            self._take(coarse, "the network in training")

    def _take(self, coarse: CoarseModel, name: str) -> None:
        coarse.check(self, name)
        self.coarse = coarse

    def _manage_input_and_output_lists(
        self, source: Any, out: Any, folder_with_segs_from_prev_stage: str | None = None, overwrite: bool = True,
        part_id: int = 0, num_parts: int = 1, save_probabilities: bool = False,
    ) -> Any:  # fmt: skip
        lists = super()._manage_input_and_output_lists(
            source, out, folder_with_segs_from_prev_stage, overwrite, part_id, num_parts, save_probabilities
        )
        if out:
            folder = Path(out) if isinstance(out, str) else Path(out[0]).parent
            new = [Path(name).name for name in lists[1] or ()]
            self.record.open(folder, not overwrite, part_id, num_parts, new)
        return lists

    # ---------------------------------------------------------------- one image

    @torch.inference_mode()
    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """Return `(K, *S)` of `(C, *S)`, averaged over folds; all of them refine the same windows."""
        with self._image(data):
            return super().predict_logits_from_preprocessed_data(data)

    @torch.inference_mode()
    def predict_sliding_window_return_logits(self, input_image: Tensor) -> Tensor:
        """Return one fine network's `(K, *S)` of `(C, *S)`: what nnU-Net turns into the merged probabilities."""
        with self._image(input_image):
            return super().predict_sliding_window_return_logits(input_image)

    @contextmanager
    def _image(self, image: Tensor) -> Iterator[None]:
        """Predict an image inside the block; a fold of it does not begin anew."""
        outer = self._case
        if outer is None and self.coarse is not None:
            self._case = self._begin(image)
        try:
            yield
        finally:
            case, self._case = self._case, outer
        if outer is None and case is not None:
            self.record.add(case.row)

    def _begin(self, image: Tensor) -> _Case:
        """Ask the coarse network."""
        assert self.coarse is not None
        name = self._names[0] if self._names else ""
        start = time.perf_counter()
        properties = self.properties_of(name) if self.properties_of is not None else self.properties
        slices = properties["spacing"][self.plans_manager.transpose_forward[0]] if properties else SLICE_SPACING
        small = self.coarse.low_resolution(image, self.configuration_manager, slices)
        logits = self.coarse.logits(small)
        blank = torch.empty((1, *image.shape[1:]), device="meta")
        _, crop = pad_nd_image(blank, self.configuration_manager.patch_size, "constant", {"value": 0}, True, None)
        row = Row(name, coarse_forwards=self.coarse.forwards(small.shape[1:]))
        row.coarse_seconds = time.perf_counter() - start
        row.classes = self.label_manager.convert_logits_to_segmentation(logits).unique().tolist()
        coarse = CoarseMap(logits, self.label_manager.has_regions, self.settings.coarse_enlarged)
        return _Case(coarse, tuple(crop[1:]), tuple(image.shape[1:]), row)

    def confidences(self, slicers: Sequence[tuple]) -> Tensor:
        """Return the `(n,)` confidence of the windows of the image that is being predicted."""
        assert self._case is not None
        case = self._case
        if case.confidences is None:
            grid, seed = Grid.of(slicers, case.crop, case.shape), zlib.crc32(case.row.case.encode())
            case.confidences = grid.confidences(case.coarse, self.settings, seed)
        return case.confidences

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: Sequence[tuple], do_on_device: bool = True
    ) -> Tensor:
        case = self._case
        if case is None or self.coarse is None:
            return super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)
        start = time.perf_counter()
        chosen = regions.select(self.confidences(slicers), self.settings.budget, self.settings.max_confidence)
        if len(chosen) == len(slicers):  # nothing is left to the coarse network
            logits = super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)
        else:
            logits = self._merged(data, [slicers[i] for i in chosen.tolist()], case, do_on_device)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        case.row.windows, case.row.selected = len(slicers), len(chosen)
        case.row.fine_forwards += len(chosen) * passes(self)
        case.row.fine_seconds += time.perf_counter() - start
        return logits

    def _merged(self, data: Tensor, chosen: Sequence[tuple], case: _Case, do_on_device: bool) -> Tensor:
        total = self.fine_sum(data.shape[1:], do_on_device)
        batch = self.configuration_manager.batch_size
        try:
            refine(self._internal_maybe_mirror_and_predict, data, chosen, total, batch, self.device)
            return total.merged(case.crop, case.coarse, self.settings.coarse_weight)
        except RuntimeError:
            total.release()  # nnU-Net begins anew on the CPU while it handles this, which keeps all that is here
            raise

    def fine_sum(self, shape: Sequence[int], do_on_device: bool) -> FineSum:
        """Return an empty sum of windows for a padded image of this shape."""
        device = self.device if do_on_device else torch.device("cpu")
        patch = tuple(self.configuration_manager.patch_size)
        weight: Tensor | float = 1.0
        if self.use_gaussian:
            weight = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
        return FineSum(self.label_manager.num_segmentation_heads, shape, weight, device)


def refining(
    record: Record, wanted: Wanted | None = None, fixed: tuple[CoarseModel, SelectiveRefinement] | None = None,
    names: Sequence[str] = (), properties_of: Callable[[str], dict[str, Any]] | None = None,
    listeners: Sequence[Listener] = (),
) -> Callable[..., SelectivePredictor]:  # fmt: skip
    """Return the predictor's class, for code that constructs it by itself.

    Args:
        record: takes a row for each image.
        wanted: in the place of what the plan says.
        fixed: coarse model and settings, where the predictor is given a network and no folder.
        names: the cases in order, where the predictor cannot know them (nnU-Net's validation).
        properties_of: what nnU-Net's preprocessing says about a case, where nnU-Net does not tell.
        listeners: hear about the folder of predictions.
    """
    return type("RefiningPredictor", (SelectivePredictor,), {
        "record": record, "wanted": wanted or Wanted(), "fixed": fixed, "_names": list(names),
        "listeners": tuple(listeners),
        "properties_of": None if properties_of is None else staticmethod(properties_of),
    })  # fmt: skip
