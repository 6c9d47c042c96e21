"""An encoder of segmentation_models_pytorch (smp) with instructive feature enhancement.

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023), Section 2.3. Selected channels of some features stand behind the features themselves; what the encoder computes
stays as it is. smp's decoders read from `out_channels` how many channels there are, and so size themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection, Score

OF_TIMM = "tu-"  # smp looks names that begin so up in timm
_OWN_STATE = ("base.", "selections.", "_extra_state")
_OPTIONS_BYTES = 512


class EnhancedEncoder(nn.Module):
    """An encoder of smp with enhanced features; smp builds it from its table, by the name that was registered.

    `(B, C, H, W)` -> depth + 1 maps `(B, out_channels[i], H / 2^i, W / 2^i)`, `out_channels` and `output_stride` as
    smp's encoders have them. Its state holds the options, and does not load into an encoder with others.

    Attributes:
        base: the encoder itself, without weights until smp loads them.
        selections: a `ChannelSelection` for each of the stages.

    Args:
        base, score, stages, ratios, timm_arguments: as for `ife_encoder`, checked.
        depth, output_stride: as smp gives them.

    Raises:
        ValueError: if `depth` has not all stages.
    """

    def __init__(
        self, base: str, score: Score, stages: Sequence[int], ratios: Sequence[float],
        timm_arguments: Mapping[str, Any], depth: int = 5, output_stride: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        if max(stages) > depth:
            raise ValueError(
                f"encoder_depth={depth}: {base} then has features 1 to {depth}, but was registered with "
                f"stages={tuple(stages)}. Give encoder_depth={max(stages)}, or register other stages: "
                f"ife_encoder({base!r}, stages=..., name=...)"
            )
        self.options: dict[str, Any] = {"base": base, "score": score, "stages": list(stages), "ratios": list(ratios)}
        self.stages = tuple(stages)
        self._arguments = {"name": base, "depth": depth, "output_stride": output_stride, **timm_arguments}
        self._in_channels = 3
        self._timm_weights: dict[str, Tensor] | None = None
        self.base = self._build()
        channels = self.base.out_channels
        self.selections = nn.ModuleList(
            ChannelSelection(channels[stage], ratio, score) for stage, ratio in zip(stages, ratios, strict=True)
        )

    def _build(self) -> Any:
        """Let smp build the encoder; one of timm takes its weights and input channels with it."""
        from segmentation_models_pytorch.encoders import get_encoder

        given: dict[str, Any] = {}
        if self._timm_weights is not None:
            given = {"weights": True, "pretrained_cfg_overlay": {"state_dict": dict(self._timm_weights)}}
        return get_encoder(**self._arguments, in_channels=self._in_channels, **given)

    @property
    def _of_timm(self) -> bool:
        return self.options["base"].startswith(OF_TIMM)

    @property
    def out_channels(self) -> list[int]:
        """Channels of each map."""
        found = list(self.base.out_channels)
        for stage, selection in zip(self.stages, self.selections, strict=True):
            found[stage] = selection.out_channels
        return found

    @property
    def output_stride(self) -> int:
        """The image's size over that of the last map."""
        return self.base.output_stride

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features, enhanced at the stages."""
        features = list(self.base(x))
        for stage, selection in zip(self.stages, self.selections, strict=True):
            features[stage] = selection(features[stage])
        return features

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Load its own state, or else weights of the encoder inside, as smp and timm publish them."""
        if all(key.startswith(_OWN_STATE) for key in state_dict):
            return super().load_state_dict(state_dict, *args, **kwargs)
        if not self._of_timm or state_dict.keys() == self.base.state_dict().keys():
            return self.base.load_state_dict(state_dict, *args, **kwargs)
        self._timm_weights = dict(state_dict)
        return self.base.load_state_dict(self._build().state_dict())

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Change the number of the image's channels; smp calls this last, after it has loaded weights."""
        if not self._of_timm:
            self.base.set_in_channels(in_channels, pretrained=pretrained)
        elif in_channels != self._in_channels:
            self._in_channels = in_channels
            self.base = self._build()
        self._timm_weights = None

    def make_dilated(self, output_stride: int) -> None:
        """Do nothing: the encoder inside was built with this stride."""

    def get_extra_state(self) -> Tensor:
        """Return the options as JSON, `(512,)` uint8, filled up with spaces.

        A tensor, as files of safetensors hold nothing else, and always of one size, as smp passes over others.
        """
        return torch.frombuffer(bytearray(json.dumps(self.options).ljust(_OPTIONS_BYTES).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare the options of a saved encoder.

        Raises:
            ValueError: if they are others.
        """
        saved = json.loads(bytes(state.cpu().tolist()))
        if saved != self.options:
            raise ValueError(
                f"The saved encoder has {said(saved)}; the name that it is loaded into was registered with "
                f"{said(self.options)}. Register the saved one's, in a fresh process if the name is taken: "
                f"{_call(saved)}"
            )


def said(options: Mapping[str, Any]) -> str:
    """Options in words."""
    return ", ".join(f"{key}={tuple(v) if isinstance(v, list) else v!r}" for key, v in options.items())


def _call(options: Mapping[str, Any]) -> str:
    """Return what to type to register such an encoder."""
    rest = {key: value for key, value in options.items() if key != "base"}
    return f"ife_encoder({options['base']!r}, {said(rest)})"
