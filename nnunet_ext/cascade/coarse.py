"""The coarse network: a trained model that sees a fine network's image at its own, lower resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.inference.trained_model import TrainedModel, channel_names

SLICE_SPACING = 999.0  # nnU-Net's own for an image of one slice


class CoarseModel:
    """Predicts an image at low resolution.

    Its image is made from the fine network's, with nnU-Net's own function for the coarse configuration: normalisation
    comes before resampling, so that of 2D images this is what nnU-Net's preprocessing gives, bit for bit. Of volumes
    that were resampled for the fine network it is nearly that.

    Args:
        model: the trained model.
        device: cpu, cuda or mps; None: a GPU if there is one.
        mirroring: average over mirrored images as nnU-Net does.

    Raises:
        TrainedModelError: if it cannot be loaded.
    """

    def __init__(self, model: TrainedModel, device: torch.device | str | None = None, mirroring: bool = True) -> None:
        self.model = model
        self.predictor: nnUNetPredictor = model.predictor(device)
        self.predictor.use_mirroring = mirroring

    def check(self, fine: nnUNetPredictor, name: str) -> None:
        """Refuse a fine model whose images or classes are not the coarse one's.

        Args:
            fine: has its model loaded.
            name: of the fine model, for the message.

        Raises:
            TwoStageError: naming what differs.
        """
        ours, theirs = _facts(self.predictor), _facts(fine)
        differs = [f"{key}: {ours[key]} (coarse), {theirs[key]} (fine)" for key in ours if ours[key] != theirs[key]]
        if differs:
            raise TwoStageError(
                f"{self.model.folder} cannot be the coarse network of {name}: "
                f"they differ in {'; '.join(differs)}. Choose a coarse model that was trained on the same dataset with "
                "the same normalisation (--coarse)."
            )
        for which, predictor in (("coarse", self.predictor), ("fine", fine)):
            previous = predictor.configuration_manager.previous_stage_name
            if previous is not None:
                raise TwoStageError(
                    f"the {which} network needs the labels of {previous} as input; in two stages each network sees the "
                    "image alone. For nnU-Net's own cascade type: nnUNetv2_predict ... -prev_stage_predictions FOLDER"
                )

    def low_resolution(self, image: Tensor, fine: ConfigurationManager, slices: float = SLICE_SPACING) -> Tensor:
        """Resample the fine network's image.

        Args:
            image: `(C, *S)` preprocessed for the fine network; S always has three axes.
            fine: the fine network's configuration.
            slices: distance of the slices, which 2D networks do not resample.

        Returns:
            `(C, *s)` float32 on the CPU.
        """
        configuration = self.predictor.configuration_manager
        here, there = ([slices, *c.spacing][-3:] for c in (fine, configuration))
        shape = compute_new_shape(image.shape[1:], here, there)
        return torch.as_tensor(configuration.resampling_fn_data(image.cpu().float().numpy(), shape, here, there))

    def logits(self, image: Tensor) -> Tensor:
        """`(C, *s)` low-resolution image -> `(K, *s)` float32 logits on the CPU, averaged over its folds."""
        return self.predictor.predict_logits_from_preprocessed_data(image).float().cpu()

    def forwards(self, shape: Sequence[int]) -> int:
        """Return how many images the coarse network is given for a low-resolution image of this shape."""
        patch = self.predictor.configuration_manager.patch_size
        padded = [*shape[: 3 - len(patch)], *(max(s, p) for s, p in zip(shape[3 - len(patch) :], patch, strict=True))]
        windows = len(self.predictor._internal_get_sliding_window_slicers(tuple(padded)))
        return windows * passes(self.predictor) * len(self.predictor.list_of_parameters)


def passes(predictor: nnUNetPredictor) -> int:
    """Return how often a predictor gives a window to its network: once, or mirrored along all sets of axes."""
    axes = predictor.allowed_mirroring_axes if predictor.use_mirroring else None
    return 2 ** len(axes or ())


def _facts(predictor: nnUNetPredictor) -> dict[str, Any]:
    """Return what both networks of two stages must have in common."""
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    return {
        "dataset": plans.dataset_name,
        "labels": predictor.dataset_json["labels"],
        "channels": channel_names(predictor.dataset_json),
        "axes": len(configuration.patch_size),
        "normalisation": list(configuration.normalization_schemes),
        "use_mask_for_norm": list(configuration.use_mask_for_norm),
        "transpose_forward": list(plans.transpose_forward),
        "intensities": _intensities(plans, configuration),
    }


def _intensities(plans: Any, configuration: ConfigurationManager) -> Any:
    """Return the dataset's intensities, where normalisation depends on them; in few digits, for messages."""
    if not any("CT" in scheme for scheme in configuration.normalization_schemes):
        return None
    properties = plans.foreground_intensity_properties_per_channel
    return {c: {k: float(f"{v:.6g}") for k, v in values.items()} for c, values in properties.items()}
