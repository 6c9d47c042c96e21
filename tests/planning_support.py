"""Tiny raw datasets, planned by nnU-Net in this process from a fingerprint that is made, not measured."""

import json

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from PIL import Image

CASES = 4


def fingerprint(shapes, spacing, channels):
    intensities = {"mean": 100.0, "median": 100.0, "std": 30.0, "min": 0.0, "max": 255.0,
                   "percentile_99_5": 250.0, "percentile_00_5": 5.0}  # fmt: skip
    return {
        "spacings": [list(spacing)] * len(shapes),
        "shapes_after_crop": [list(s) for s in shapes],
        "foreground_intensity_properties_per_channel": {str(c): intensities for c in range(channels)},
        "median_relative_size_after_cropping": 1.0,
    }


def made_labels(index, shape):
    """A large box of label 1, a thin line of label 2."""
    rng = np.random.default_rng(index)
    labels = np.zeros(shape, np.uint8)
    corner = [int(rng.integers(0, s // 2)) for s in shape]
    labels[tuple(slice(c, c + s // 3) for c, s in zip(corner, shape, strict=True))] = 1
    labels[..., shape[-1] - 5 : shape[-1] - 3] = 2
    return labels


def write_flat(base, size, number=501, cases=CASES):
    """A raw dataset of PNG images and its fingerprint; its name."""
    name = f"Dataset{number}_Flat"
    raw, preprocessed = base / "nnUNet_raw" / name, base / "nnUNet_preprocessed" / name
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    for i in range(cases):
        labels = made_labels(i, size)
        noise = np.random.default_rng(100 + i).normal(100, 20, (*size, 3))
        image = (noise + 40 * labels[..., None]).clip(1, 255).astype(np.uint8)
        Image.fromarray(image).save(raw / "imagesTr" / f"case_{i}_0000.png")
        Image.fromarray(labels).save(raw / "labelsTr" / f"case_{i}.png")
    content = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "box": 1, "line": 2},
        "numTraining": cases,
        "file_ending": ".png",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    found = fingerprint([(1, *size)] * cases, (999.0, 1.0, 1.0), 3)
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(found))
    return name


def write_volumes(base, size, spacing=(1.0, 1.0, 1.0), written=(16, 40, 48), number=503):
    """A raw dataset of NIfTI volumes, smaller than the fingerprint says; its name."""
    import SimpleITK as sitk  # noqa: N813

    name = f"Dataset{number}_Solid"
    raw, preprocessed = base / "nnUNet_raw" / name, base / "nnUNet_preprocessed" / name
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    for i in range(2):
        for place, values in (("imagesTr/case_{}_0000", np.float32), ("labelsTr/case_{}", np.uint8)):
            image = sitk.GetImageFromArray(made_labels(i, written).astype(values))
            image.SetSpacing(spacing[::-1])
            sitk.WriteImage(image, str(raw / f"{place.format(i)}.nii.gz"))
    content = {
        "channel_names": {"0": "MR"}, "labels": {"background": 0, "box": 1, "line": 2}, "numTraining": 2,
        "file_ending": ".nii.gz",
    }  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(content))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint([size] * 2, spacing, 1)))
    return name


def plan_stock(name, planner=ExperimentPlanner):
    """Write nnU-Net's own plans, as nnUNetv2_plan_experiment does."""
    return planner(name).plan_experiment()


def said_nothing(_line):
    pass
