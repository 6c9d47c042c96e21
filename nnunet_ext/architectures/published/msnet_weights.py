"""Weights of the authors' MSNet and M2SNet in our layout.

Their layout: `resnet.<name in timm's res2net50d>` with the unused classifier `resnet.fc`, blocks under the names of
the maps that they make (`x5_x4`, ...), `output1.0` for the last convolution; of M2SNet the filters' shared batch
norms `conv_3.norm` and `conv_5.norm`, and, saved on a CPU, the filters' fixed ones and zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.architectures.published.msnet import MSNetSpec
from nnunet_ext.architectures.published.msnet_dense_filter import SIZES
from nnunet_ext.architectures.published.msnet_head import unit_name
from nnunet_ext.weights import WeightsError, read_state_dict

MSNET, DENSE = "nnUNetTrainerMSNet_Res2Net50", "nnUNetTrainerM2SNet_Res2Net50_DenseFilter"


def head_names(dense: bool) -> dict[str, str]:
    """Return the authors' names of the blocks -> ours in `SubtractionHead`.

    Args:
        dense: ours has the dense filters, whose units stand under another name.
    """
    unit = "units.blocks.{}" if dense else "units.{}.block"
    names = {f"x{i}_dem_1": f"reductions.{i - 1}" for i in (2, 3, 4, 5)}
    for order in range(2, 6):
        for level in range(1, 7 - order):
            theirs = "_".join(f"x{i}" for i in range(level + order - 1, level - 1, -1))
            names[theirs] = unit.format(unit_name(order, level))
    names |= {"x5_dem_4": "before_last_unit", "x5_dem_5": "enhance.4"}
    names |= {f"level{i}": f"enhance.{i - 1}" for i in (1, 2, 3)}
    return names | {f"output{i}": f"decode.{4 - i}" for i in (4, 3, 2)}


def from_authors(state: Mapping[str, Tensor], spec: MSNetSpec, outputs: int = 1) -> dict[str, Tensor]:
    """Return a checkpoint of the authors as the state dict of our network.

    Args:
        state: tensors by the authors' names, also behind `module.`.
        spec: which network; their MSNet is `scales=(1,)`, their M2SNet is `filter="dense"`.
        outputs: K of our network. The authors have one output; for any other K, the last convolution is left out.

    Raises:
        WeightsError: if the checkpoint is of another network than the spec's.
    """
    found = {k.removeprefix("module."): v for k, v in state.items()}
    _check_reading(any(k.startswith(("conv_3.", "conv_5.")) for k in found), spec)
    names = _names(spec)
    converted, unknown = {}, []
    for key, value in found.items():
        block = next((b for b in sorted(names, key=len, reverse=True) if key.startswith(f"{b}.")), None)
        if block is not None:
            converted[names[block] + key.removeprefix(block)] = value
        elif not _is_left_out(key, value):
            unknown.append(key)
    _check_complete(converted, unknown, spec)
    return {k: v for k, v in converted.items() if outputs == 1 or ".seg_layers." not in k}


def convert_checkpoint(path: Path, spec: MSNetSpec) -> dict[str, Any]:
    """Return what nnU-Net's `-pretrained_weights FILE` reads, to be written with `torch.save`.

    nnU-Net never takes the last convolution from it, whatever the number of classes.

    Args:
        path: a checkpoint of the authors.
        spec: which network.

    Raises:
        WeightsError: if the file cannot be read, or is of another network.
    """
    return {"network_weights": from_authors(read_state_dict(path), spec)}


def _names(spec: MSNetSpec) -> dict[str, str]:
    """Return the authors' names -> ours in the network."""
    dense = spec.filter == "dense"
    names = {theirs: f"subtraction.{ours}" for theirs, ours in head_names(dense).items()}
    if dense:
        names |= {f"conv_{k}.norm": f"subtraction.units.filters.{i}.norm" for i, k in enumerate(SIZES)}
    return names | {"resnet": "encoder.model", "output1.0": "head.seg_layers.0"}


def _check_reading(has_filters: bool, spec: MSNetSpec) -> None:
    """Refuse a checkpoint that would load but be computed with otherwise."""
    if spec.aggregate != "code" or spec.level1 != "stem_pool":
        raise WeightsError(
            f"aggregate={spec.aggregate!r} with level1={spec.level1!r} is another network than the published code "
            f"trains, so it cannot hold its weights. Type: -tr {DENSE if has_filters else MSNET}"
        )
    if has_filters and spec.filter != "dense":
        raise WeightsError(
            "the file holds the batch norms of the published M2SNet's dense filters (conv_3.norm, conv_5.norm), which "
            f"{spec.filter} filters do not have. Type: -tr {DENSE}"
        )
    if not has_filters and spec.scales != (1,):
        raise WeightsError(
            "the file holds no filters' batch norms (conv_3.norm, conv_5.norm), so it is of MSNet, not of M2SNet. "
            f"Type: -tr {MSNET}"
        )


def _is_left_out(key: str, value: Tensor) -> bool:
    """Tell the filters' own numbers, which are fixed.

    Raises:
        WeightsError: if they are not ones and zeros.
    """
    fixed = {f"conv_{k}.{name}": number for k in SIZES for name, number in (("weight", 1), ("bias", 0))}
    if key not in fixed:
        return False
    if not bool((value == fixed[key]).all()):
        raise WeightsError(
            f"the file's {key} is not {fixed[key]} throughout, so its filters are not the published code's fixed ones."
        )
    return True


def _check_complete(converted: dict[str, Tensor], unknown: list[str], spec: MSNetSpec) -> None:
    """Drop the classifier and compare with the network that is to take the tensors."""
    for key in ("encoder.model.fc.weight", "encoder.model.fc.bias"):
        converted.pop(key, None)
    with torch.device("meta"):
        expected = spec.build(None, 3, 1, False).state_dict()
    missing = [k for k in expected if k not in converted]
    unknown += [k for k in converted if k not in expected]
    shapes = [k for k in expected if k in converted and converted[k].shape != expected[k].shape]
    differs = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    if any(differs.values()):
        told = "; ".join(f"{len(k)} tensors {what}, e.g. {', '.join(k[:2])}" for what, k in differs.items() if k)
        raise WeightsError(
            f"the file does not hold the published MSNet or M2SNet on {spec.backbone} ({told}). Give a checkpoint that "
            "the authors' train.py saved, github.com/Xiaoqi-Zhao-DLUT/MSNet-M2SNet."
        )
