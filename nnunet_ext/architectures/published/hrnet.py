"""HRNetV2 for segmentation, and HRNet with object-contextual representations: the networks that OVeNet extends.

Papers: Deep High-Resolution Representation Learning for Visual Recognition (J. Wang et al., TPAMI 2020);
Segmentation Transformer: Object-Contextual Representations for Semantic Segmentation (Y. Yuan, X. Chen, J. Wang;
ECCV 2020). Code: github.com/HRNet/HRNet-Semantic-Segmentation, branches pytorch-v1.1 and HRNet-OCR (MIT; read, not
copied).

| width 48, 19 outputs | parameters | multiply-accumulates at 512 x 1024 |
|---|---|---|
| HRNetV2 | 65,859,379 | 186,878,263,296 |
| HRNet + OCR, `ocr=True` | 70,372,678 | 324,474,437,632, of which 637,534,208 of OCR's matrix products |

A stem of stride 4, then four stages; each has one resolution more than the one before, and all stay until the end. The
head sees all of them at stride 4, and its logits are enlarged to the image. As in the authors' codes, the two networks
differ in how maps are enlarged (corners aligned with OCR only) and in the momentum of the batch norms.

Names of parameters are the authors' (`conv1` ... `stage4`, `last_layer`), so timm's ImageNet weights load by name.

Where we differ: K classes of the plan; C channels of the plan; logits at full resolution, which the authors enlarge in
their loss; colour images in 0..1 are normalised inside the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.encoders.named_weights import copy_by_name
from nnunet_ext.architectures.encoders.pretrained import normalization_for
from nnunet_ext.architectures.network import NetworkSpec, TrainingOutput
from nnunet_ext.architectures.padding import nearest_multiple
from nnunet_ext.architectures.published.hrnet_parts import advance, concatenate, first_stage, head, resize
from nnunet_ext.architectures.published.hrnet_parts import stage as stage_of
from nnunet_ext.architectures.published.hrnet_parts import transition as transition_of
from nnunet_ext.architectures.published.hrnet_weights import BACKBONE
from nnunet_ext.architectures.published.ocr import KEYS, WIDTH, SpatialGather, SpatialOCR, ocr_input
from nnunet_ext.architectures.topology import Topology, UnsupportedPlanError

STRIDE, SMALLEST = 32, 64  # of the deepest level; up to 32 pixels, that level is a single pixel
RELEASED = (1, 4, 3)
MOMENTUM, MOMENTUM_OCR = 0.01, 0.1
INITIAL = 1e-3  # standard deviation of the convolutions' first weights


class HRNet(nn.Module):
    """`(B, C, H, W)` -> logits `(B, K, H, W)` for any H and W.

    With OCR, in training, a `TrainingOutput` with the logits of the auxiliary head as `auxiliary`, of the same shape.

    Attributes:
        name: of timm's model with the same layers.
        input_channels: C.
        mean, std: (3,) of the images that its weights expect, in 0..1.

    Args:
        spec: which one.
        topology: of the plan, for its normalisation; None if not known.
        input_channels: C.
        output_channels: K.
    """

    def __init__(self, spec: HRNetSpec, topology: Topology | None, input_channels: int, output_channels: int) -> None:
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        super().__init__()
        self.input_channels, self.ocr, self.align_corners = input_channels, spec.ocr, spec.ocr
        self.name = f"hrnet_w{spec.width}" + ("" if spec.modules == RELEASED else "_modules{}_{}_{}")
        self.name = self.name.format(*spec.modules)
        self.mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
        self.std: tuple[float, ...] = IMAGENET_DEFAULT_STD
        self.normalization = normalization_for(self, topology)
        self._add_backbone(spec)
        self._add_head(spec, output_channels)
        self._initialise()

    def _add_backbone(self, spec: HRNetSpec) -> None:
        norm, c = spec.norm, spec.channels
        self.conv1 = nn.Conv2d(self.input_channels, 64, 3, 2, 1, bias=False)
        self.bn1 = norm(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = norm(64)
        self.layer1 = first_stage(norm)
        self.transition1 = transition_of((256,), c[:2], norm)
        self.stage2 = stage_of(spec.modules[0], c[:2], norm, self.align_corners)
        self.transition2 = transition_of(c[:2], c[:3], norm)
        self.stage3 = stage_of(spec.modules[1], c[:3], norm, self.align_corners)
        self.transition3 = transition_of(c[:3], c, norm)
        self.stage4 = stage_of(spec.modules[2], c, norm, self.align_corners)

    def _add_head(self, spec: HRNetSpec, outputs: int) -> None:
        channels = sum(spec.channels)
        if not spec.ocr:
            self.last_layer = head(channels, outputs, spec.norm)
            return
        self.conv3x3_ocr = ocr_input(channels, spec.norm)
        self.ocr_gather_head = SpatialGather()
        self.ocr_distri_head = SpatialOCR(WIDTH, KEYS, spec.norm)
        self.cls_head = nn.Conv2d(WIDTH, outputs, 1)
        self.aux_head = head(channels, outputs, spec.norm)

    def _initialise(self) -> None:
        """As the authors do: N(0, 0.001), but torch's own in the heads with OCR; biases and norms torch's own."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and (not self.ocr or name.split(".")[0] in BACKBONE):
                nn.init.normal_(module.weight, std=INITIAL)

    # ---------------------------------------------------------------- from the image to logits

    def stage2_maps(self, x: Tensor) -> list[Tensor]:
        """`(B, C, H, W)` -> two maps, at strides 4 and 8."""
        x = F.relu(self.bn1(self.conv1(self.normalization(x))))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        return self.stage2(advance(self.transition1, [x]))

    def stage3_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Two maps -> three, at strides 4, 8 and 16."""
        return self.stage3(advance(self.transition2, maps))

    def stage4_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Three maps -> four, at strides 4, 8, 16 and 32."""
        return self.stage4(advance(self.transition3, maps))

    def scores(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Stage 4's maps -> logits `(B, K, H / 4, W / 4)`: the final ones; with OCR, the auxiliary ones behind them."""
        features = concatenate(maps, self.align_corners)
        if not self.ocr:
            return [self.last_layer(features)]
        auxiliary = self.aux_head(features)
        pixels = self.conv3x3_ocr(features)
        objects = self.ocr_gather_head(pixels, auxiliary)
        return [self.cls_head(self.ocr_distri_head(pixels, objects)), auxiliary]

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """`(B, C, H, W)` -> logits `(B, K, H, W)`, or what the class says of training with OCR."""
        final, *auxiliary = self.scores(self.stage4_maps(self.stage3_maps(self.stage2_maps(x))))
        logits = resize(final, x, self.align_corners)
        if not (self.training and auxiliary):
            return logits
        return TrainingOutput(logits, {"auxiliary": resize(auxiliary[0], x, self.align_corners)})

    # ---------------------------------------------------------------- weights

    def source(self, key: str) -> str | None:
        """Return the name in timm's model of what one of our tensors begins at; None if it has none."""
        return key if key.split(".")[0] in BACKBONE else None

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Copy ImageNet weights and statistics of the backbone; the heads keep theirs.

        Args:
            state: the state dict of timm's model of this name with 3 input channels.

        Raises:
            WeightsError: if it is not that; nothing is copied then.
        """
        sources = {k: s for k in self.state_dict() if (s := self.source(k)) is not None}
        copy_by_name(self, sources, state, self.name, self.input_channels)


@dataclass(frozen=True)
class HRNetSpec(NetworkSpec):
    """HRNetV2-W48 as published; fields choose its relatives.

    Attributes:
        width: channels at stride 4; twice as many at every halving. timm has weights of 18, 30, 32, 40, 44, 48 and 64.
        modules: high-resolution modules of stages 2, 3 and 4.
        ocr: with object-contextual representations.
    """

    width: int = 48
    modules: tuple[int, int, int] = RELEASED
    ocr: bool = False
    dims: ClassVar[tuple[int, ...]] = (2,)
    supports_deep_supervision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width={self.width}: choose 1 or more, e.g. 18, 32 or 48.")
        if len(self.modules) != 3 or min(self.modules) < 1:
            raise ValueError(f"modules={self.modules}: choose 1 or more for each of stages 2, 3 and 4, e.g. {RELEASED}")

    @property
    def channels(self) -> tuple[int, ...]:
        """(4,) channels of the maps, finest first."""
        return tuple(self.width * 2**level for level in range(4))

    @property
    def norm(self) -> partial[nn.BatchNorm2d]:
        """Makes the batch norm of so many channels."""
        return partial(nn.BatchNorm2d, momentum=MOMENTUM_OCR if self.ocr else MOMENTUM)

    def check(self, topology: Topology) -> None:  # noqa: D102
        super().check(topology)
        if min(topology.patch_size) <= STRIDE:
            larger = [max(SMALLEST, p) for p in topology.patch_size]
            raise UnsupportedPlanError(
                f"patch_size {list(topology.patch_size)} has a side of {STRIDE} pixels or less, and the network's "
                f"deepest level, {STRIDE} times smaller, would be a single pixel there, on which batch normalisation "
                f'cannot be trained. Set "patch_size": {larger} or more in this configuration of the plans file.'
            )

    def fitting_size(self, topology: Topology, size: Sequence[float]) -> tuple[int, ...]:  # noqa: D102
        return nearest_multiple(size, (STRIDE, STRIDE), (SMALLEST, SMALLEST))

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        return HRNet(self, topology, input_channels, output_channels)

    def describe(self) -> dict[str, str]:  # noqa: D102
        return super().describe() | {k: str(v) for k, v in asdict(self).items()}
