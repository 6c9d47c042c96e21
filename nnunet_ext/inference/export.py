"""Trained models as ONNX files, each with a JSON file that says how to use it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

from nnunet_ext.inference.onnx_file import (
    ATOL,
    CHECKED_BATCHES,
    INPUT,
    OUTPUT,
    RTOL,
    OnnxError,
    OnnxFile,
    check_opset,
    require_onnx,
    write_onnx,
)
from nnunet_ext.inference.trained_model import TrainedModel, bare_network, channel_names, output_names
from nnunet_ext.machine import installed_versions

GAUSSIAN_SIGMA = 1 / 8  # what nnU-Net's predictor passes to `compute_gaussian`


def export_onnx(
    model: TrainedModel, output: Path, opset: int | None = None, say: Callable[[str], None] = lambda line: None
) -> list[OnnxFile]:
    """Write each fold of a trained model as an ONNX file, with a JSON file of the same stem beside it.

    Args:
        model: from `find_trained_model`.
        output: file ending in .onnx. With several folds, `model.onnx` stands for `model_fold0.onnx` and so on.
        opset: version of ONNX's operators; None: PyTorch's default.
        say: told what was written, a line at a time.

    Raises:
        OnnxError: if the packages are missing, the name does not end in .onnx, or a file does not pass its check.
        TrainedModelError: if a checkpoint cannot be loaded.
    """
    require_onnx()
    if output.suffix != ".onnx":
        raise OnnxError(f"-o {output}: the name has to end in .onnx, e.g. {output.with_suffix('.onnx')}")
    check_opset(opset)
    predictor = model.predictor("cpu")
    network = bare_network(predictor)
    size = (_channels(predictor), *predictor.configuration_manager.patch_size)
    written = []
    for fold, weights, path in zip(model.folds, predictor.list_of_parameters, fold_files(output, model), strict=True):
        say(f"fold {fold}: tracing, writing and checking at (batch, {', '.join(map(str, size))})")
        network.load_state_dict(weights)
        file = write_onnx(network, size, path, opset, predictor.label_manager.has_regions)
        _write_json(path.with_suffix(".json"), describe(model, fold, predictor, file))
        say(
            f"{path}: differs from PyTorch by at most {file.found.difference:.3g} "
            f"({file.found.excess:.1%} of what is allowed), labels of {file.found.other_labels:.3%} of the voxels"
        )
        written.append(file)
    return written


def fold_files(output: Path, model: TrainedModel) -> list[Path]:
    """Return the file of each fold: `output` itself for one fold, else with `_foldN` before the ending."""
    if len(model.folds) == 1:
        return [output]
    return [output.with_name(f"{output.stem}_fold{fold}.onnx") for fold in model.folds]


def describe(model: TrainedModel, fold: str, predictor: nnUNetPredictor, file: OnnxFile) -> dict[str, Any]:
    """Return what a program has to know to use the file, as plain data for JSON.

    The steps themselves (reading, cropping, normalising, resampling, windows) are nnU-Net's; here are their settings.
    """
    configuration, plans = predictor.configuration_manager, predictor.plans_manager
    patch = list(configuration.patch_size)
    regions = bool(predictor.label_manager.has_regions)
    dataset = predictor.dataset_json
    names = output_names(dataset["labels"], regions)
    return {
        "file": file.path.name,
        "input": {
            "name": INPUT,
            "shape": ["batch", _channels(predictor), *patch],
            "channels": channel_names(dataset),
            "previous_stage": configuration.previous_stage_name,  # its labels follow as one-hot channels
        },
        "output": {
            "name": OUTPUT,
            "shape": ["batch", len(names), *patch],
            "values": "sigmoid logits" if regions else "softmax logits",
            "names": names,
            "labels": [dataset["labels"][name] for name in names],
            "regions_class_order": dataset.get("regions_class_order"),
        },
        **_steps(predictor),
        "model": {
            "dataset": model.dataset,
            "trainer": predictor.trainer_name,
            "plans": plans.plans_name,
            "configuration": model.folder.name.split("__")[-1],
            "fold": fold,
            "checkpoint": model.checkpoint,
        },
        "check": {
            "max_abs_difference": file.found.difference,
            "share_of_allowed": file.found.excess,
            "other_labels": file.found.other_labels,
            "allowed": {"absolute": ATOL, "relative": RTOL},
            "batches": list(CHECKED_BATCHES),
        },
        "opset": file.opset,
        "versions": installed_versions() | _onnx_versions(),
    }


def _steps(predictor: nnUNetPredictor) -> dict[str, Any]:
    """Return the settings of what nnU-Net does before, around and after the network."""
    configuration, plans = predictor.configuration_manager, predictor.plans_manager
    return {
        "preprocessing": {
            "image_reader_writer": plans.plans["image_reader_writer"],
            "transpose_forward": list(plans.transpose_forward),
            "spacing": list(configuration.spacing),
            "normalization_schemes": list(configuration.normalization_schemes),
            "use_mask_for_norm": list(configuration.use_mask_for_norm),
            "intensity_properties": plans.foreground_intensity_properties_per_channel,
            "crop": "to the bounding box of voxels that are not zero in any channel, before normalisation",
            "resampling_fn_data": configuration.configuration["resampling_fn_data"],
            "resampling_fn_data_kwargs": configuration.configuration["resampling_fn_data_kwargs"],
        },
        "sliding_window": {
            "padding": "images smaller than the patch: zeros on both sides, after normalisation",
            "step_size": predictor.tile_step_size,  # of the patch, at most
            "gaussian": {"sigma": GAUSSIAN_SIGMA, "of": "the patch size, for each axis"},
        },
        "mirroring_axes": list(predictor.allowed_mirroring_axes or ()),
        "postprocessing": {
            "resampling_fn_probabilities": configuration.configuration["resampling_fn_probabilities"],
            "resampling_fn_probabilities_kwargs": configuration.configuration["resampling_fn_probabilities_kwargs"],
            "transpose_backward": list(plans.transpose_backward),
        },
    }


def _channels(predictor: nnUNetPredictor) -> int:
    return int(
        determine_num_input_channels(predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json)
    )


def _onnx_versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")
    os.replace(draft, path)


def _plain(value: Any) -> Any:
    """Turn numpy's numbers and arrays, which plans may hold, into Python's."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
