"""OVeNet: HRNet, or HRNet with OCR, with a second head that predicts offset vectors and their confidence.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Sections 3.2 and
3.3. Code: github.com/stamatisalex/OVeNet (its licence is unclear; implemented from facts about it, nothing copied).
The maths of offsets is in `heads/offset_vectors.py`, the base network in `hrnet.py`.

| width 48, 19 outputs | parameters | multiply-accumulates at 512 x 1024 |
|---|---|---|
| OVeNet on HRNet | 98,795,926 | 252,075,048,960 |
| with 3 modules in the branch's stage 4 | 114,670,678 | 275,974,717,440 |
| `branch=3` | 110,463,478 | 304,677,912,576 |
| `branch=3`, `branch_modules=(4, 3)` | 130,171,990 | 345,998,622,720 |
| OVeNet on HRNet + OCR | 103,309,225 | 389,671,223,296, of which 637,534,208 of OCR's matrix products |

The first stages are shared. The offset branch has its own copy of the last one or two, and a head like the semantic one
with three outputs: two axes of the offset and the confidence. Everything is looked up and fused at stride 4, then
enlarged. With OCR, the same offsets and confidence refine the final and the auxiliary logits.

The paper says that the branch follows HRNet's structure; the released configurations have a module less in each of its
stages (`branch_modules`). Its tau is 0.5; the released configurations with OCR have 0.2.

Where we differ from the code: the largest offset is that of the plan's patch, whatever the size of the image; the axes
are in tensor order, the code's are x, y; with `frozen`, the statistics of batch norms are frozen as well; branching
off before stage 2 is left out, the paper has no such network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.heads.offset_vectors import Fuse, OffsetRefinement, Refined, check_fuse
from nnunet_ext.architectures.network import TrainingOutput
from nnunet_ext.architectures.published.hrnet import INITIAL, HRNet, HRNetSpec
from nnunet_ext.architectures.published.hrnet_parts import advance, concatenate, head, resize, stage, transition
from nnunet_ext.architectures.topology import Topology

BRANCH, SKIPPED = "offset_branch", "seg_layers"
CERTAIN = 1e-6  # nearest that an enlarged confidence comes to 0 and 1
RELEASED_BRANCH, PAPERS_BRANCH = (3, 2), (4, 3)


class OffsetBranch(nn.Module):
    """Own stages and a head: maps of stage 3 or 2 -> `(B, 3, H / 4, W / 4)`, offsets before tanh, confidence logit.

    Its layers are in `seg_layers`, a name that nnU-Net's `-pretrained_weights` passes over: the weights of a finished
    HRNet load into the network around it.

    Args:
        spec: of the network.
    """

    def __init__(self, spec: OVeNetHRNetSpec) -> None:
        super().__init__()
        self.align_corners, norm, c = spec.ocr, spec.norm, spec.channels
        self.head_name = "aux_head_offset" if spec.ocr else "offset_layer"
        third, fourth = spec.branch_modules
        layers: dict[str, nn.Module] = {}
        if spec.branch == 3:
            layers["transition2_2"] = transition(c[:2], c[:3], norm)
            layers["stage3_2"] = stage(third, c[:3], norm, self.align_corners)
        layers["transition3_2"] = transition(c[:3], c, norm)
        layers["stage4_2"] = stage(fourth, c, norm, self.align_corners)
        layers[self.head_name] = head(sum(c), 3, norm)
        self.seg_layers = nn.ModuleDict(layers)
        self._initialise()

    def _initialise(self) -> None:
        """As `HRNet` does; at the first step, offsets are near 0 and every confidence near 1/2."""
        for name, module in self.seg_layers.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("aux_head_offset."):
                nn.init.normal_(module.weight, std=INITIAL)
        last: nn.Conv2d = self.seg_layers[self.head_name][-1]  # type: ignore[index]
        nn.init.normal_(last.weight, std=INITIAL)
        assert last.bias is not None
        nn.init.zeros_(last.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Take the maps where the branch leaves, finest first; return the raw output, axes in tensor order."""
        for number in (3, 4):
            if f"stage{number}_2" in self.seg_layers:
                step: nn.ModuleList = self.seg_layers[f"transition{number - 1}_2"]  # type: ignore[assignment]
                maps = self.seg_layers[f"stage{number}_2"](advance(step, maps))
        return self.seg_layers[self.head_name](concatenate(maps, self.align_corners))


class OVeNetHRNet(HRNet):
    """`(B, C, H, W)` -> the refined logits `(B, K, H, W)`; in training, a `TrainingOutput` with all of `Refined`.

    With OCR it also holds `auxiliary_fused`, `auxiliary_initial` and `auxiliary_seed`. All are at full resolution.

    Args:
        spec: which one.
        topology: of the plan; its patch decides how far offsets reach.
        input_channels, output_channels: C, K.
    """

    def __init__(self, spec: OVeNetHRNetSpec, topology: Topology, input_channels: int, output_channels: int) -> None:
        super().__init__(spec, topology, input_channels, output_channels)
        self.leaves, self.frozen = spec.branch, spec.frozen
        self.offset_branch = OffsetBranch(spec)
        largest = largest_offset(topology.patch_size, spec.tau)
        self.refine = OffsetRefinement(largest, spec.fuse, spec.in_voxels)
        if self.frozen:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith(f"{BRANCH}."))
            self.train()

    def train(self, mode: bool = True) -> OVeNetHRNet:
        """Switch as torch does; what is frozen stays in evaluation mode, so that its statistics do not move."""
        super().train(mode)
        if self.frozen:
            for name, part in self.named_children():
                part.train(mode and name == BRANCH)
        return self

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """`(B, C, H, W)` -> as the class says."""
        (final, *auxiliary), raw = self._scores_and_raw(x)
        refined = self.refine(final, raw)
        if not self.training:
            return resize(refined.fused, x, self.align_corners)
        refined = self._enlarged(refined, x)
        extra = refined.beside
        for logits in auxiliary:
            beside = self.refine(logits, raw)
            for name in ("fused", "initial", "seed"):
                extra[f"auxiliary_{name}"] = resize(getattr(beside, name), x, self.align_corners)
        return TrainingOutput(refined.fused, extra)

    def refined(self, x: Tensor) -> Refined:
        """Return the final logits and what they were made of, at full resolution, in either mode."""
        (final, *_), raw = self._scores_and_raw(x)
        return self._enlarged(self.refine(final, raw), x)

    def _scores_and_raw(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        second = self.stage2_maps(x)
        third = self.stage3_maps(second)
        raw = self.offset_branch(second if self.leaves == 3 else third)
        return self.scores(self.stage4_maps(third)), raw

    def _enlarged(self, refined: Refined, x: Tensor) -> Refined:
        """Enlarge to the image; F itself, as the authors' loss does, and offsets to its pixels."""
        fused, initial, seed = (resize(t, x, self.align_corners) for t in refined[:3])
        confidence = torch.logit(resize(torch.sigmoid(refined.confidence), x, False), CERTAIN)
        small, size = refined.offsets.shape[2:], x.shape[2:]
        offsets = resize(refined.offsets, x, False)
        scaled = [offsets[:, a] * ((size[a] - 1) / max(small[a] - 1, 1)) for a in range(2)]
        return Refined(fused, initial, seed, confidence, torch.stack(scaled, 1))

    def source(self, key: str) -> str | None:
        """As for `HRNet`; the branch's stages begin at the weights of those that they run beside."""
        inside = key.removeprefix(f"{BRANCH}.{SKIPPED}.")
        if inside == key:
            return super().source(key)
        part, rest = inside.split(".", 1)
        return f"{part.removesuffix('_2')}.{rest}" if part.endswith("_2") else None


def largest_offset(patch_size: Sequence[int], tau: float) -> list[float]:
    """(2,) pixels of the map at stride 4: tau times half its extent, along each axis."""
    return [tau / 2 * (-(-p // 4) - 1) for p in patch_size]


@dataclass(frozen=True)
class OVeNetHRNetSpec(HRNetSpec):
    """OVeNet on HRNetV2-W48 as released; fields choose the others.

    Attributes:
        width, modules, ocr: of the base network.
        branch: the stage from which on the offset branch has its own.
        branch_modules: high-resolution modules of the branch's stages 3 (with `branch=3`) and 4. (4, 3) is the paper's
            wording.
        tau: largest offset along each axis, in halves of the plan's patch.
        fuse: logits, or the probabilities of labels (`softmax`) or regions (`sigmoid`).
        in_voxels: the branch's output is in pixels of the map, as the trainers have it (`offset_vectors.py` says why),
            not in largest offsets (the authors').
        frozen: train the offset branch alone (the paper's Table 5); begin at a finished base network.
    """

    branch: Literal[4, 3] = 4
    branch_modules: tuple[int, int] = RELEASED_BRANCH
    tau: float = 0.5
    fuse: Fuse = "logits"
    in_voxels: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.branch not in (4, 3):
            raise ValueError(f"branch={self.branch}: choose 4 or 3.")
        for number, ours, base in zip((3, 4), self.branch_modules, self.modules[1:], strict=True):
            if number >= self.branch and not 1 <= ours <= base:
                raise ValueError(
                    f"branch_modules={self.branch_modules}: stage {number} of the base network has {base} modules, at "
                    f"whose weights the branch's begin. Choose 1 to {base} for it."
                )
        if not 0 < self.tau <= 2:
            raise ValueError(f"tau={self.tau}: choose more than 0 and up to 2, the whole patch. The paper's is 0.5.")
        check_fuse(self.fuse)

    def build(  # noqa: D102
        self, topology: Topology | None, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        if topology is None:
            raise ValueError("the largest offset is a part of the plan's patch: give the plan's topology.")
        return OVeNetHRNet(self, topology, input_channels, output_channels)

    def describe(self) -> dict[str, str]:
        """As for the base; not `frozen`, which says how the network is trained, not what it computes."""
        return {k: v for k, v in super().describe().items() if k != "frozen"}
