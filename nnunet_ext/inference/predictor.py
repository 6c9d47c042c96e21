"""nnU-Net's predictor, which also compares the slices of a lifted network. Its predictions stay nnU-Net's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor

from nnunet_ext.architectures.lifting.quality import rank_order
from nnunet_ext.inference.slices import (
    MirroredPasses,
    PredictionAndSlices,
    SlicedPrediction,
    WindowSums,
    is_compiled,
    lifted_network,
)


class Listener(Protocol):
    """Who hears about the predictions of a `QualityPredictor`."""

    def wants_slices(self, predictor: QualityPredictor) -> bool:
        """Before work: whether to gather slices. May refuse by raising."""

    def folder(self, path: str, keep: bool, part: int, n_parts: int) -> None:
        """Take the output folder; `keep` if cases that it holds are not predicted again."""

    def case(self, name: str, sliced: SlicedPrediction, image: Tensor) -> None:
        """Take a predicted case; `image` is its preprocessed `(C, *S)`."""

    def failed(self, name: str, why: str) -> None:
        """Take that a case is predicted, but its slices could not be gathered, or not be taken by `case`."""


class QualityPredictor(nnUNetPredictor):
    """Predicts as nnU-Net does, and tells its listener every case's slices.

    Class attribute:
        listener: set by `listening`; None predicts without anything beside it.
    """

    listener: Listener | None = None
    _network_and_slices: Any = None  # a PredictionAndSlices, compiled if the network is
    _windows: WindowSums | None = None
    _sliced: SlicedPrediction | None = None
    _failure: str | None = None  # why this case has no slices
    _names: Sequence[str] = ()

    # ---------------------------------------------------------------- before work

    def initialize_from_trained_model_folder(self, *args: Any, **kwargs: Any) -> None:
        """Load as nnU-Net does; see whether the network has slices."""
        super().initialize_from_trained_model_folder(*args, **kwargs)
        self._look_at_network()

    def manual_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Take a network as nnU-Net does; see whether it has slices."""
        super().manual_initialization(*args, **kwargs)
        self._look_at_network()

    def _look_at_network(self) -> None:
        self._network_and_slices = self._sliced = None
        lifted = lifted_network(self.network)
        if self.listener is None or not self.listener.wants_slices(self) or lifted is None:
            return
        both = PredictionAndSlices(lifted)
        self._network_and_slices = torch.compile(both) if is_compiled(self.network) else both

    def expect(self, names: Sequence[str]) -> None:
        """Say the names of the cases that will be predicted, in order."""
        self._names = list(names)

    def _manage_input_and_output_lists(
        self,
        list_of_lists_or_source_folder: Any,
        output_folder_or_list_of_truncated_output_files: Any,
        folder_with_segs_from_prev_stage: str | None = None,
        overwrite: bool = True,
        part_id: int = 0,
        num_parts: int = 1,
        save_probabilities: bool = False,
    ) -> Any:
        lists = super()._manage_input_and_output_lists(
            list_of_lists_or_source_folder, output_folder_or_list_of_truncated_output_files,
            folder_with_segs_from_prev_stage, overwrite, part_id, num_parts, save_probabilities,
        )  # fmt: skip
        out = output_folder_or_list_of_truncated_output_files
        if self.listener is not None and out:
            folder = out if isinstance(out, str) else os.path.dirname(out[0]) or os.curdir
            self.listener.folder(folder, not overwrite, part_id, num_parts)
        self.expect([os.path.basename(name) for name in lists[1] or ()])
        return lists

    # ---------------------------------------------------------------- one case

    @torch.inference_mode()
    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """Return `(K, *S)` logits of `(C, *S)`, averaged over folds."""
        self._sliced = self._failure = None
        logits = super().predict_logits_from_preprocessed_data(data)
        self._tell(logits, data)
        return logits

    @torch.inference_mode()
    def predict_sliding_window_return_logits(self, input_image: Tensor) -> Tensor:
        """Return one network's `(K, *S)` logits of `(C, *S)`."""
        logits = self._with_slices(input_image)
        if logits is None:  # outside the handling of the error, which would keep the memory of what failed
            self._sliced = self._windows = None
            with replaced(self, "_network_and_slices", None):
                logits = super().predict_sliding_window_return_logits(input_image)
        if self.list_of_parameters is None:  # nnU-Net's validation: there are no folds
            self._tell(logits, input_image)
        return logits

    def _with_slices(self, image: Tensor) -> Tensor | None:
        """Predict and gather slices, where wanted; None if that fails, so that nnU-Net predicts alone."""
        if self._network_and_slices is None or self._failure is not None:
            return None
        logits = None
        try:
            logits = super().predict_sliding_window_return_logits(image)
            self._add_fold(image.shape)
        except Exception as error:  # of any kind: nnU-Net might have predicted without slices
            self._failure = reason(error)
        return logits

    def _add_fold(self, shape: Sequence[int]) -> None:
        assert self._windows is not None
        selection = self._selection()
        # on the meta device: where nnU-Net's padding puts the image, without padding it again
        blank = torch.empty((1, *shape[1:]), device="meta")
        _, crop = pad_nd_image(blank, self.configuration_manager.patch_size, "constant", {"value": 0}, True, None)
        if self._sliced is None:
            n_folds = len(self.list_of_parameters or (None,))
            self._sliced = SlicedPrediction(self.label_manager.has_regions, len(selection.selected), n_folds)
        order = rank_order(selection.selected, selection.mean_loss)
        self._sliced.add(*self._windows.result(tuple(crop[1:])), order.tolist())
        self._windows = None

    def _selection(self) -> Any:
        lifted = lifted_network(self.network)
        assert lifted is not None
        return lifted.selection

    def _tell(self, logits: Tensor, image: Tensor) -> None:
        name = self._names[0] if self._names else None
        self._names = self._names[1:]
        sliced, self._sliced = self._sliced, None
        failure, self._failure = self._failure, None
        if self.listener is None or name is None:
            return
        if failure is None and sliced is not None:
            try:
                sliced.close(logits)
                self.listener.case(name, sliced, image)
            except Exception as error:  # of any kind: nnU-Net's prediction is there and goes on
                failure = reason(error)
        if failure is not None:
            self.listener.failed(name, failure)

    # ---------------------------------------------------------------- one network, one window

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: Sequence[tuple], do_on_device: bool = True
    ) -> Tensor:
        if self._network_and_slices is not None:
            device = self.device if do_on_device else torch.device("cpu")
            selection = self._selection()
            patch = tuple(self.configuration_manager.patch_size)
            weight = (
                compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
                if self.use_gaussian
                else 1.0
            )
            order = rank_order(selection.selected, selection.mean_loss)
            sigmoid = self.label_manager.has_regions
            self._windows = WindowSums(data.shape[1:], slicers, weight, order, device, sigmoid)
        return super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        if self._windows is None or self._network_and_slices is None:
            return super()._internal_maybe_mirror_and_predict(x)
        axes = self.allowed_mirroring_axes if self.use_mirroring else None
        passes = MirroredPasses(self._network_and_slices, axes, self.label_manager.has_regions)
        with replaced(self, "network", passes):
            logits = super()._internal_maybe_mirror_and_predict(x)
        self._windows.add(passes.total, passes.n_passes)
        return logits


def reason(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


def listening(listener: Listener, names: Sequence[str] = ()) -> type[QualityPredictor]:
    """Return the predictor's class with a listener, for code that constructs it by itself.

    Args:
        listener: hears about each case.
        names: the cases in order, where the predictor cannot know them (nnU-Net's validation).
    """
    return type("ListeningPredictor", (QualityPredictor,), {"listener": listener, "_names": list(names)})


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value inside the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
