"""nnU-Net's predictor, which also gathers what lies beside its logits. Its predictions stay nnU-Net's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, cast

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor, nn

from nnunet_ext.inference.gathering import Gathered, Gatherer, Windows, is_compiled
from nnunet_ext.inference.scales import Scales


class Listener(Protocol):
    """Who hears about the predictions of a `QualityPredictor`."""

    def gatherer(self, predictor: QualityPredictor) -> Gatherer | None:
        """Before work: how to gather what it wants of the network; None for nothing. May refuse by raising."""

    def folder(self, path: str, keep: bool, part: int, n_parts: int) -> None:
        """Take the output folder; `keep` if cases that it holds are not predicted again."""

    def case(self, name: str, found: Any, image: Tensor) -> None:
        """Take a predicted case, with what its gatherer found; `image` is its preprocessed `(C, *S)`."""

    def failed(self, name: str, why: str) -> None:
        """Take that a case is predicted, but nothing could be gathered beside it, or not be taken by `case`."""


class QualityPredictor(nnUNetPredictor):
    """Predicts as nnU-Net does, and tells its listeners what lies beside every case's logits.

    Class attributes, set by `listening`:
        listeners: all hear of the folder; the first that gathers something of this network hears of the cases.
        scales: of the image, predicted at each; None predicts as nnU-Net does.

    Attributes:
        model: folder, folds and file name of the checkpoints that were loaded; None where none was.
        n_cases: that are predicted, known once nnU-Net has listed them.
        properties: what nnU-Net's preprocessing says about the case that it predicts; None where it does not tell.
    """

    listeners: tuple[Listener, ...] = ()
    scales: Scales | None = None
    model: tuple[str, tuple[str, ...], str] | None = None
    n_cases = 0
    properties: dict[str, Any] | None = None
    _gatherer: Gatherer | None = None  # its network compiled if nnU-Net's is
    _hearer: Listener | None = None
    _windows: Windows | None = None
    _found: Gathered | None = None
    _failure: str | None = None  # why nothing is found beside this case
    _names: Sequence[str] = ()

    # ---------------------------------------------------------------- before work

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """Load as nnU-Net does; see what the network has beside logits."""
        super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        if use_folds is None:
            use_folds = self.auto_detect_available_folds(model_training_output_dir, checkpoint_name)
        folds = [use_folds] if isinstance(use_folds, (str, int)) else use_folds
        self.model = (model_training_output_dir, tuple(map(str, folds)), checkpoint_name)
        self._look_at_network()

    def manual_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Take a network as nnU-Net does; see what it has beside logits."""
        super().manual_initialization(*args, **kwargs)
        self._look_at_network()

    def _look_at_network(self) -> None:
        self._gatherer = self._hearer = self._found = None
        if self.scales is not None:
            self.scales.check(self.label_manager.has_regions)
        for listener in self.listeners:
            gatherer = listener.gatherer(self)
            if gatherer is not None and self._gatherer is None:
                self._gatherer, self._hearer = gatherer, listener
        if self._gatherer is not None and is_compiled(self.network):
            self._gatherer.network = cast("nn.Module", torch.compile(self._gatherer.network))

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
        self.n_cases = len(lists[1] or ())
        out = output_folder_or_list_of_truncated_output_files
        if out:
            folder = out if isinstance(out, str) else os.path.dirname(out[0]) or os.curdir
            for listener in self.listeners:
                listener.folder(folder, not overwrite, part_id, num_parts)
        self.expect([os.path.basename(name) for name in lists[1] or ()])
        return lists

    def _internal_get_data_iterator_from_lists_of_filenames(self, *args: Any, **kwargs: Any) -> Iterator[dict]:
        for item in super()._internal_get_data_iterator_from_lists_of_filenames(*args, **kwargs):
            self.properties = item["data_properties"]
            yield item

    @wraps(nnUNetPredictor.predict_from_files_sequential)  # which reads the names of its own arguments
    def predict_from_files_sequential(self, *args: Any, **kwargs: Any) -> Any:
        """Predict without worker processes, as nnU-Net does."""
        preprocessor = self.configuration_manager.preprocessor_class
        plain = preprocessor.run_case

        def run_case(*args: Any, **kwargs: Any) -> tuple:
            found = plain(*args, **kwargs)
            self.properties = found[2]
            return found

        with replaced(preprocessor, "run_case", run_case):
            return super().predict_from_files_sequential(*args, **kwargs)

    # ---------------------------------------------------------------- one case

    @torch.inference_mode()
    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """Return `(K, *S)` logits of `(C, *S)`, averaged over folds."""
        self._found = self._failure = None
        logits = super().predict_logits_from_preprocessed_data(data)
        self._tell(logits, data)
        return logits

    @torch.inference_mode()
    def predict_sliding_window_return_logits(self, input_image: Tensor) -> Tensor:
        """Return one network's `(K, *S)` logits of `(C, *S)`."""
        logits = self._gathering(input_image)
        if logits is None:  # outside the handling of the error, which would keep the memory of what failed
            self._found = self._windows = None
            with replaced(self, "_gatherer", None):
                logits = self._at_scales(input_image)
        if self.list_of_parameters is None:  # nnU-Net's validation: there are no folds
            self._tell(logits, input_image)
        return logits

    def _at_scales(self, image: Tensor) -> Tensor:
        predict = super().predict_sliding_window_return_logits
        if self.scales is None:
            return predict(image)
        cascaded = self.configuration_manager.previous_stage_name is not None
        n_masks = len(self.label_manager.foreground_labels) if cascaded else 0
        axes = len(self.configuration_manager.patch_size)
        return self.scales.predict(predict, image, axes, self.label_manager.has_regions, n_masks)

    def _gathering(self, image: Tensor) -> Tensor | None:
        """Predict and gather, where wanted; None if that fails, so that nnU-Net predicts alone."""
        if self._gatherer is None or self._failure is not None:
            return None
        logits = None
        try:
            logits = super().predict_sliding_window_return_logits(image)
            self._add_fold(image.shape)
        except Exception as error:  # of any kind: nnU-Net might have predicted without it
            self._failure = reason(error)
        return logits

    def _add_fold(self, shape: Sequence[int]) -> None:
        assert self._windows is not None
        assert self._gatherer is not None
        # on the meta device: where nnU-Net's padding puts the image, without padding it again
        blank = torch.empty((1, *shape[1:]), device="meta")
        _, crop = pad_nd_image(blank, self.configuration_manager.patch_size, "constant", {"value": 0}, True, None)
        if self._found is None:
            self._found = self._gatherer.case(len(self.list_of_parameters or (None,)))
        self._found.add(*self._windows.result(tuple(crop[1:])))
        self._windows = None

    def _tell(self, logits: Tensor, image: Tensor) -> None:
        name = self._names[0] if self._names else None
        self._names = self._names[1:]
        found, self._found = self._found, None
        failure, self._failure = self._failure, None
        if self._hearer is None or name is None:
            return
        if failure is None and found is not None:
            try:
                found.close(logits)
                self._hearer.case(name, found, image)
            except Exception as error:  # of any kind: nnU-Net's prediction is there and goes on
                failure = reason(error)
        if failure is not None:
            self._hearer.failed(name, failure)

    # ---------------------------------------------------------------- one network, one window

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: Sequence[tuple], do_on_device: bool = True
    ) -> Tensor:
        if self._gatherer is not None:
            device = self.device if do_on_device else torch.device("cpu")
            patch = tuple(self.configuration_manager.patch_size)
            weight = (
                compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
                if self.use_gaussian
                else 1.0
            )
            self._windows = self._gatherer.windows(data.shape[1:], slicers, weight, device)
        return super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        if self._windows is None or self._gatherer is None:
            return super()._internal_maybe_mirror_and_predict(x)
        passes = self._gatherer.passes(self.allowed_mirroring_axes if self.use_mirroring else None)
        with replaced(self, "network", passes):
            logits = super()._internal_maybe_mirror_and_predict(x)
        self._windows.add(passes.total, passes.n_passes)
        return logits


def reason(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


def listening(*listeners: Listener, names: Sequence[str] = (), scales: Scales | None = None) -> type[QualityPredictor]:
    """Return the predictor's class with listeners, for code that constructs it by itself.

    Args:
        listeners: hear about each case.
        names: the cases in order, where the predictor cannot know them (nnU-Net's validation).
        scales: of the image; 1 alone, as None, predicts as nnU-Net does.
    """
    several = scales if scales is not None and scales.change_something else None
    return type("ListeningPredictor", (QualityPredictor,), {
        "listeners": listeners, "_names": list(names), "scales": several,
    })  # fmt: skip


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value inside the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
