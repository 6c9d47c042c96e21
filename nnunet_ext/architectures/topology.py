"""Topology: what an nnU-Net plan says about a network, as one frozen object of plain values.

Source: the `architecture` entry of a configuration in nnU-Net's plans (nnunetv2 2.8), written by
`ExperimentPlanner` (plain convolutions) and the residual-encoder presets `nnUNetPlannerResEnc{M,L,XL}`.
"""

from __future__ import annotations

import math
import pydoc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PLAIN = "PlainConvUNet"
RESIDUAL = "ResidualEncoderUNet"
_BLOCKS = {PLAIN: "n_conv_per_stage", RESIDUAL: "n_blocks_per_stage"}


class UnsupportedPlanError(ValueError):
    """The plan asks for something that a network cannot be built from; the message says what to type."""


def _per_stage(value: Any, n: int) -> tuple[int, ...]:
    return (int(value),) * n if isinstance(value, int) else tuple(int(v) for v in value)


def _per_stage_axis(value: Any, n: int, dims: int) -> tuple[tuple[int, ...], ...]:
    stages = [value] * n if isinstance(value, int) else list(value)
    return tuple((s,) * dims if isinstance(s, int) else tuple(int(a) for a in s) for s in stages)


def _locate(name: Any) -> Any:
    """Turn a dotted name of a plan into the class it names; classes and None pass through."""
    if not isinstance(name, str):
        return name
    found = pydoc.locate(name)
    if found is None:
        raise UnsupportedPlanError(
            f"The plan's architecture names {name!r}, which cannot be imported here. "
            "Plan again with this installation: nnUNetv2_plan_experiment -d DATASET_ID"
        )
    return found


@dataclass(frozen=True)
class Topology:
    """Stages of an encoder-decoder network, finest first.

    Attributes:
        dims: 2 or 3 spatial dimensions.
        patch_size: (dims,) voxels.
        features: (n_stages,) channels of each stage.
        strides: (n_stages, dims) downsampling at the entry of each stage; the first is all ones in nnU-Net's plans.
        kernels: (n_stages, dims) kernel sizes.
        encoder_blocks: (n_stages,) convolutions (plain) or residual blocks (residual) of each encoder stage.
        decoder_convs: (n_stages - 1,) convolutions of each decoder stage, coarsest first as in nnU-Net's plans.
        residual: residual encoder (ResEnc presets) or plain convolutions.
        conv_bias: convolutions have a bias.
        norm, norm_kwargs, dropout, dropout_kwargs, nonlin, nonlin_kwargs: module classes and their arguments.
        encoder_kwargs: further arguments of the residual encoder (`block`, `bottleneck_channels`, `stem_channels`).
        nonlin_first: convolution, nonlinearity, normalisation instead of convolution, normalisation, nonlinearity.
        spacing: size of a voxel in mm, of the axes that are not copies; empty if not known. Images without a physical
            size have 1.
        copied_axes: how many of the axes, counted from the first, are copies of the image (Spatial Lifting).
        normalization: (C,) names of nnU-Net's schemes by which it normalises the image channels; empty if not known.
    """

    dims: int
    patch_size: tuple[int, ...]
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    encoder_blocks: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    residual: bool = False
    conv_bias: bool = True
    norm: Any = None
    norm_kwargs: Mapping[str, Any] | None = None
    dropout: Any = None
    dropout_kwargs: Mapping[str, Any] | None = None
    nonlin: Any = None
    nonlin_kwargs: Mapping[str, Any] | None = None
    encoder_kwargs: Mapping[str, Any] = field(default_factory=dict)
    nonlin_first: bool = False
    normalization: tuple[str, ...] = ()
    spacing: tuple[float, ...] = ()
    copied_axes: int = 0

    @classmethod
    def from_plan(
        cls, architecture: Mapping[str, Any], patch_size: Sequence[int], normalization: Sequence[str] = (),
        spacing: Sequence[float] = (),
    ) -> Topology:  # fmt: skip
        """Read the `architecture` entry of a plan's configuration.

        Args:
            architecture: `{"network_class_name", "arch_kwargs", "_kw_requires_import"}` as in plans.json.
            patch_size: (dims,) voxels of the same configuration.
            normalization: (C,) `normalization_schemes` of the same configuration.
            spacing: (dims,) mm of the same configuration.

        Raises:
            UnsupportedPlanError: for network classes other than nnU-Net's two U-Nets, or an entry that cannot
                be imported.
        """
        kind = str(architecture["network_class_name"]).rsplit(".", 1)[-1]
        if kind not in _BLOCKS:
            raise UnsupportedPlanError(
                f"The plan's network is {architecture['network_class_name']!r}; this trainer can be built on "
                f"{PLAIN} and {RESIDUAL}. Plan with the default planner (nnUNetv2_plan_experiment -d DATASET_ID) or "
                "a residual preset (... -pl nnUNetPlannerResEncM) and name its plans with -p."
            )
        k = dict(architecture["arch_kwargs"])
        n, dims = int(k["n_stages"]), len(patch_size)
        return cls(
            dims=dims,
            patch_size=tuple(int(p) for p in patch_size),
            features=_per_stage(k["features_per_stage"], n),
            strides=_per_stage_axis(k["strides"], n, dims),
            kernels=_per_stage_axis(k["kernel_sizes"], n, dims),
            encoder_blocks=_per_stage(k[_BLOCKS[kind]], n),
            decoder_convs=_per_stage(k["n_conv_per_stage_decoder"], n - 1),
            residual=kind == RESIDUAL,
            conv_bias=bool(k.get("conv_bias", False)),
            norm=_locate(k.get("norm_op")),
            norm_kwargs=k.get("norm_op_kwargs"),
            dropout=_locate(k.get("dropout_op")),
            dropout_kwargs=k.get("dropout_op_kwargs"),
            nonlin=_locate(k.get("nonlin")),
            nonlin_kwargs=k.get("nonlin_kwargs"),
            encoder_kwargs={
                key: _locate(k[key]) for key in ("block", "bottleneck_channels", "stem_channels") if key in k
            },
            nonlin_first=bool(k.get("nonlin_first", False)),
            normalization=tuple(normalization),
            spacing=tuple(float(s) for s in spacing),
        )

    @property
    def n_stages(self) -> int:
        """Number of resolutions, the bottleneck included."""
        return len(self.features)

    @property
    def total_stride(self) -> tuple[int, ...]:
        """(dims,) size of the patch over the size of the bottleneck, per axis."""
        return tuple(math.prod(s[a] for s in self.strides) for a in range(self.dims))

    def require_fitting_patch(self) -> None:
        """Check that the strides divide the patch, which skip connections need, and leave more than one voxel of it.

        A bottleneck of a single voxel cannot be normalised over space, and nnU-Net would say so at the first iteration.

        Raises:
            UnsupportedPlanError: naming patch sizes that fit.
        """
        stride = self.total_stride
        if self.norm is not None and all(p == s for p, s in zip(self.patch_size, stride, strict=True)):
            raise UnsupportedPlanError(
                f"patch_size {list(self.patch_size)} equals the plan's total stride, which leaves a bottleneck of one "
                f'voxel that cannot be normalised. Set "patch_size": {[2 * s for s in stride]} or more in this '
                "configuration of the plans file, or plan with fewer stages."
            )
        if any(p % s for p, s in zip(self.patch_size, stride, strict=True)):
            nearest = [max(s, round(p / s) * s) for p, s in zip(self.patch_size, stride, strict=True)]
            raise UnsupportedPlanError(
                f"patch_size {list(self.patch_size)} is not a multiple of the plan's total stride {list(stride)}. "
                f'Set "patch_size": {nearest} in this configuration of the plans file, or plan again.'
            )
