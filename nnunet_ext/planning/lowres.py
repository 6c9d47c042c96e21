"""How coarse: the factors that leave enough of an image, and configurations of images of low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.cascade.settings import TwoStageError
from nnunet_ext.planning.planner import plan_configuration

FACTORS = (2, 4, 8)
SMALLEST_SIDE = 16  # pixels of the median image of low resolution
COARSENED_FIRST = 2.0  # nnU-Net: axes whose voxels are shorter than the longest by more than this
_TORCH = "resample_torch_fornnunet"  # of nnU-Net, which finds no functions of others
_TAKEN = ("normalization_schemes", "use_mask_for_norm", "preprocessor_name")  # may have been edited in the plans


def coarsened_axes(spacing: Sequence[float]) -> list[bool]:
    """Return which axes get coarser: as in nnU-Net's planner those much finer than the coarsest, else all."""
    finer = [max(spacing) / s > COARSENED_FIRST for s in spacing]
    return finer if len(spacing) == 3 and any(finer) else [True] * len(spacing)


def factor_per_axis(factor: float, spacing: Sequence[float]) -> list[float]:
    """Return what the spacing is multiplied with, along each axis."""
    return [float(factor) if coarsened else 1.0 for coarsened in coarsened_axes(spacing)]


def allowed_factors(full: dict[str, Any]) -> list[int]:
    """Return the factors that leave the median image at least 16 pixels along each coarsened axis."""
    coarsened = coarsened_axes(full["spacing"])
    sides = [s for s, c in zip(full["median_image_size_in_voxels"], coarsened, strict=True) if c]
    return [f for f in FACTORS if round(min(sides) / f) >= SMALLEST_SIDE]


def check_factor(factor: int | None, full: dict[str, Any], dataset: str) -> None:
    """Refuse a factor that is not known, or leaves too little of the median image; None asks for any.

    Raises:
        TwoStageError: which names the allowed ones.
    """
    allowed = allowed_factors(full)
    if (factor is None and allowed) or factor in allowed:
        return
    shape = " x ".join(str(round(s)) for s in full["median_image_size_in_voxels"])
    wanted = f"-d {dataset}" if factor is None else f"--factor {factor}"
    can = f"allowed here: {', '.join(map(str, allowed))}" if allowed else "none is allowed: train one network, as usual"
    raise TwoStageError(
        f"{wanted}: the median image of {dataset} has {shape} pixels, of which the coarse network needs at least "
        f"{SMALLEST_SIDE} along each axis; factors are {', '.join(map(str, FACTORS))}, {can}."
    )


def has_block_means(plans: dict[str, Any], full: dict[str, Any]) -> bool:
    """Return whether nnU-Net resamples slice by slice, where alone it knows means of blocks; it does for 2D images."""
    between: float = plans["original_median_spacing_after_transp"][0]
    return between > ANISO_THRESHOLD * max(full["spacing"])


def _torch_resampling(is_seg: bool, mode: str) -> dict[str, Any]:
    return {"is_seg": is_seg, "force_separate_z": None, "memefficient_seg_resampling": False, "mode": mode}


def flat_lowres(planner: ExperimentPlanner, full: dict[str, Any], factor: int, plans_name: str) -> dict[str, Any]:
    """Return `2d_lowres`: the mean of each block of pixels, of a label the majority; maps go back linearly.

    nnU-Net's default, cubic without a filter before, takes single pixels of a block at factor 8.

    Args:
        full: the configuration `2d`.
        factor: pixels of a block's side.
        plans_name: names the folder of its data, together with the factor: data of another factor are never taken.
    """
    low = _planned(planner, full, [float(factor)] * 2, f"{plans_name}_2d_lowres_x{factor}")
    for kind, is_seg, mode in (("data", False, "area"), ("seg", True, "area"), ("probabilities", False, "linear")):
        low[f"resampling_fn_{kind}"] = _TORCH
        low[f"resampling_fn_{kind}_kwargs"] = _torch_resampling(is_seg, mode)
    return {**low, "batch_dice": True, "next_stage": "2d_cascade_fullres"}


def volume_lowres(planner: ExperimentPlanner, full: dict[str, Any], factor: int, plans_name: str) -> dict[str, Any]:
    """Return `3d_lowres` with a factor; nnU-Net's resampling, which has no mean of blocks in volumes.

    Args:
        full: the configuration `3d_fullres`.
    """
    factors = factor_per_axis(factor, full["spacing"])
    low = _planned(planner, full, factors, f"{plans_name}_3d_lowres_x{factor}")
    for kind in ("data", "seg", "probabilities"):
        for key in (f"resampling_fn_{kind}", f"resampling_fn_{kind}_kwargs"):
            low[key] = full[key]
    return {**low, "batch_dice": False, "next_stage": "3d_cascade_fullres"}


def _planned(
    planner: ExperimentPlanner, full: dict[str, Any], factors: Sequence[float], identifier: str
) -> dict[str, Any]:
    spacing = [s * f for s, f in zip(full["spacing"], factors, strict=True)]
    shape = [max(1, round(s / f)) for s, f in zip(full["median_image_size_in_voxels"], factors, strict=True)]
    return {**plan_configuration(planner, spacing, shape, identifier), **{key: full[key] for key in _TAKEN}}
