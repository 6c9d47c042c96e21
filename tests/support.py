"""What the tests share: tiny nnU-Net plans, and preprocessed datasets made in a moment without planning."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT.parent / "shared" / "reference"  # absent for most; tests that read it skip


def architecture(dims: int, n_stages: int = 3, residual: bool = False, anisotropic: bool = False) -> dict[str, Any]:
    """A plan's architecture entry as nnU-Net 2.8 writes it, tiny."""
    strides = [[1] * dims] + [[2] * dims for _ in range(n_stages - 1)]
    kernels = [[3] * dims for _ in range(n_stages)]
    if anisotropic:  # first axis neither pooled nor convolved at the finest levels
        strides[1][0] = 1
        kernels[0][0] = 1
    blocks = {"n_blocks_per_stage": [1, 2, 2, 2][:n_stages]} if residual else {"n_conv_per_stage": [2] * n_stages}
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    decoder = [1] * (n_stages - 1) if residual else [2] * (n_stages - 1)
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": n_stages,
            "features_per_stage": [4, 6, 8, 10][:n_stages],
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": kernels,
            "strides": strides,
            **blocks,
            "n_conv_per_stage_decoder": decoder,
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def make_plans(
    patch_size: list[int], *, n_channels: int = 3, batch_size: int = 2, n_stages: int = 3, residual: bool = False,
    anisotropic: bool = False, dataset_name: str = "Dataset900_Tiny", batch_dice: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Plans with one configuration, `2d` or `3d_fullres` by the patch's length."""
    dims = len(patch_size)
    resample = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    resample_seg = {**resample, "is_seg": True, "order": 1}
    configuration = {
        "data_identifier": "nnUNetPlans_tiny",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch_size,
        "patch_size": patch_size,
        "median_image_size_in_voxels": [float(p) for p in patch_size],
        "spacing": [1.0] * dims,
        "normalization_schemes": ["ZScoreNormalization"] * n_channels,
        "use_mask_for_norm": [False] * n_channels,
        **{f"resampling_fn_{k}": "resample_data_or_seg_to_shape" for k in ("data", "seg", "probabilities")},
        "resampling_fn_data_kwargs": resample,
        "resampling_fn_seg_kwargs": resample_seg,
        "resampling_fn_probabilities_kwargs": {**resample, "order": 1},
        "architecture": architecture(dims, n_stages, residual, anisotropic),
        "batch_dice": batch_dice,
    }
    return {
        "dataset_name": dataset_name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [999.0 if dims == 2 else 1.0, 1.0, 1.0],
        "original_median_shape_after_transp": ([1] if dims == 2 else []) + patch_size,
        "image_reader_writer": "NaturalImage2DIO" if dims == 2 else "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d" if dims == 2 else "3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
    }


def make_dataset_json(labels: dict[str, Any] | None = None, n_channels: int = 3, n_cases: int = 6) -> dict[str, Any]:
    """dataset.json of PNG images; regions if a label's value is a list."""
    labels = labels or {"background": 0, "cell": 1}
    content: dict[str, Any] = {
        "channel_names": {str(i): "RGB"[i % 3] for i in range(n_channels)},
        "labels": labels,
        "numTraining": n_cases,
        "file_ending": ".png",
    }
    regions = [v for v in labels.values() if isinstance(v, list)]
    if regions:
        content["regions_class_order"] = list(range(1, len(regions) + 1))
    return content


def write_preprocessed(
    folder: Path, plans: dict[str, Any], dataset_json: dict[str, Any], image_size: tuple[int, ...], n_cases: int = 6,
    n_labels: int = 1, ignore_label: int | None = None, seed: int = 0,
) -> None:  # fmt: skip
    """Write what `nnUNetv2_preprocess` would have: bright squares on noise, one per label, and part ignored.

    Args:
        folder: nnUNet_preprocessed.
        image_size: spatial size of every case; two numbers for 2D plans.
        n_labels: foreground labels.
        ignore_label: if given, some voxels of every case have it.
    """
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    rng = np.random.default_rng(seed)
    (configuration,) = plans["configurations"].values()
    base = folder / plans["dataset_name"]
    cases, truth = base / configuration["data_identifier"], base / "gt_segmentations"
    cases.mkdir(parents=True)
    truth.mkdir()
    n_channels = len(configuration["normalization_schemes"])
    shape = (1, *image_size) if len(image_size) == 2 else image_size
    for i in range(n_cases):
        seg = np.zeros((1, *shape), np.int8)
        data = rng.normal(size=(n_channels, *shape)).astype(np.float32)
        for label in range(1, n_labels + 1):
            low = [int(rng.integers(0, max(1, s - s // 3))) for s in shape]
            box = tuple(slice(a, a + max(1, s // 3)) for a, s in zip(low, shape, strict=True))
            seg[(0, *box)] = label
            data[(slice(None), *box)] += 2 * label
        locations: dict[Any, np.ndarray] = {k: np.argwhere(seg == k) for k in range(1, n_labels + 1)}
        locations |= {tuple(v): np.argwhere(np.isin(seg, v)) for v in dataset_json["labels"].values()
                      if isinstance(v, list)}  # fmt: skip
        if ignore_label is not None:
            seg[..., : max(1, shape[-1] // 8)] = ignore_label
            locations[(-1, *range(n_labels + 1))] = np.argwhere(seg != ignore_label)
        properties = {
            "class_locations": locations,
            "shape_before_cropping": shape,
            "shape_after_cropping_and_before_resampling": shape,
            "bbox_used_for_cropping": [[0, s] for s in shape],
            "spacing": [999.0 if len(image_size) == 2 else 1.0, 1.0, 1.0],
            "sitk_stuff": {
                "spacing": (1.0, 1.0, 1.0),
                "origin": (0.0, 0.0, 0.0),
                "direction": tuple(np.eye(3).ravel()),
            },
        }
        name = f"case_{i}"
        nnUNetDatasetBlosc2.save_case(data, seg, properties, str(cases / name))
        _write_truth(truth, name, seg[0], len(image_size) == 2)
    (base / "dataset.json").write_text(json.dumps(dataset_json))
    (base / "nnUNetPlans.json").write_text(json.dumps(plans))
    (base / "dataset_fingerprint.json").write_text("{}")


def _write_truth(folder: Path, name: str, seg: np.ndarray, flat: bool) -> None:
    if flat:
        from PIL import Image

        Image.fromarray(seg[0].astype(np.uint8)).save(folder / f"{name}.png")
    else:
        import SimpleITK as sitk  # noqa: N813

        sitk.WriteImage(sitk.GetImageFromArray(seg.astype(np.uint8)), str(folder / f"{name}.nii.gz"))


def pickled(thing: Any) -> Any:
    """Return the thing after a round trip through pickle."""
    return pickle.loads(pickle.dumps(thing))
