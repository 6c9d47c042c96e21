"""Encoders of timm behind our encoder contract, and how they come to their pretrained weights.

A network is built without them, everywhere and always. The trainer loads them once, when a training begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.topology import Topology
from nnunet_ext.weights import ENDINGS, FOLDER, WeightsError, fetch, local_file, read_state_dict

RGB_TO_01 = "RGBTo01Normalization"  # nnU-Net's, of 8-bit colour images


class Pretrained(Protocol):
    """What can begin at the ImageNet weights of a model of timm: an encoder, or a network that has its layers.

    Attributes:
        name: of the model in timm.
        input_channels: C.
        mean, std: (3,) of the images that the weights expect, in 0..1.
    """

    name: str
    input_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights and statistics of timm's whole model, with 3 input channels, into its own tensors."""


class TimmEncoder(nn.Module):
    """The feature maps of a timm model, at random weights.

    Attributes:
        name: of the model in timm.
        input_channels: C.
        out_channels: (n,) channels of each map, finest first.
        strides: (n, 2) size of the input over the size of each map; rounded up where it does not divide.
        mean, std: (3,) of the images that its pretrained weights expect, in 0..1.

    Args:
        name: e.g. `res2net50d`.
        input_channels: C, any number.
        out_indices: which of the model's maps, finest first.
    """

    def __init__(self, name: str, input_channels: int, out_indices: Sequence[int] = (0, 1, 2, 3, 4)) -> None:
        super().__init__()
        self.name, self.input_channels, self.out_indices = name, input_channels, tuple(out_indices)
        self.model = self._features(pretrained=False)
        information, settings = cast("Any", self.model.feature_info), cast("Any", self.model.pretrained_cfg)
        self.out_channels: list[int] = information.channels()
        self.strides: list[list[int]] = [[r, r] for r in information.reduction()]
        self.mean: tuple[float, ...] = tuple(settings["mean"])
        self.std: tuple[float, ...] = tuple(settings["std"])

    def _features(self, **arguments: Any) -> nn.Module:
        import timm

        return timm.create_model(
            self.name,
            features_only=True,
            out_indices=self.out_indices,
            in_chans=self.input_channels,
            **arguments,
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """`(B, C, H, W)` -> maps `(B, C_i, H / r_i, W / r_i)`, finest first."""
        return self.model(x)

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Copy a whole classifier's weights and statistics into this encoder's own tensors.

        Args:
            state: the state dict of timm's model of this name with 3 input channels. For another C, timm adapts the
                first convolution: one channel gets the sum over red, green and blue, more get them in turn, scaled.
        """
        adapted = self._features(pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)})
        self.model.load_state_dict(adapted.state_dict(), strict=True)


class ImageNormalization(nn.Module):
    """`(x - mean) / std` per channel; the constants belong to the method, not to its checkpoints.

    Args:
        mean, std: (C,).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same shape."""
        return (x - self.mean) / self.std


def normalization_for(encoder: Pretrained, topology: Topology | None) -> nn.Module:
    """Return what makes of the plan's images what the encoder's pretrained weights expect.

    That is the encoder's mean and standard deviation where nnU-Net maps colour images to 0..1, and nothing
    otherwise: its z-scores are centred and scaled already. Channels beyond the three colours (a previous stage's
    labels) pass unchanged.
    """
    if topology is None or topology.normalization != (RGB_TO_01,) * 3:
        return nn.Identity()
    beyond = encoder.input_channels - 3
    return ImageNormalization([*encoder.mean, *[0.0] * beyond], [*encoder.std, *[1.0] * beyond])


def load_pretrained(encoder: Pretrained, instead: str) -> str:
    """Load an encoder's ImageNet weights, from the user's file or else through timm.

    The encoder's tensors keep their identity (an optimiser may hold them already) and their device.

    Args:
        encoder: at any weights.
        instead: what to type to train without, for the messages.

    Returns:
        a line that says where they came from.

    Raises:
        WeightsError: if there are none to be had, or the file is not of this model.
    """
    path = local_file(encoder.name)
    if path is None:
        state = fetch(encoder.name, "timm", lambda: _whole_model(encoder.name).state_dict(), instead)
        source = f"timm {_timm_version()}"
    else:
        state = _state_of_file(encoder.name, path, instead)
        source = str(path)
    encoder.take(state)
    adapted = "" if encoder.input_channels == 3 else f", adapted from 3 to {encoder.input_channels} input channels"
    return f"{encoder.name} from {source}{adapted}"


def _timm_version() -> str:
    import timm

    return timm.__version__


def _whole_model(name: str, **arguments: Any) -> nn.Module:
    """Let timm load the classifier too: that is strict, whereas missing features alone are passed over silently."""
    import timm

    return timm.create_model(name, pretrained=True, **arguments)


def _state_of_file(name: str, path: Path, instead: str) -> dict[str, Tensor]:
    """Read a file in any layout that timm converts.

    Raises:
        WeightsError: if it is not this model's.
    """
    state = read_state_dict(path)
    try:
        return _whole_model(name, pretrained_cfg_overlay={"state_dict": state}).state_dict()
    except Exception as error:  # each model of timm has a conversion of its own
        raise WeightsError(
            f"{path} does not hold timm's {name} ({_differences(name, state) or error}). Put the file of that model, "
            f"classifier included, into the folder that {FOLDER} names, as {name}{ENDINGS[0]} or "
            f"{name}{ENDINGS[-1]}; or leave none there, and timm fetches it: unset {FOLDER}   "
            f"Or train without pretrained weights: {instead}"
        ) from error


def _differences(name: str, state: Mapping[str, Tensor]) -> str:
    """Say how a file's tensors differ from a model's, in one line; empty if they do not."""
    import timm

    with torch.device("meta"):
        expected = timm.create_model(name).state_dict()
    found = {
        "missing": [k for k in expected if k not in state],
        "unknown": [k for k in state if k not in expected],
        "of another shape": [k for k in expected if k in state and state[k].shape != expected[k].shape],
    }
    return "; ".join(f"{len(k)} tensors {what}, e.g. {', '.join(k[:2])}" for what, k in found.items() if k)
