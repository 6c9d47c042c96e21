"""What HRNet is made of: high-resolution modules, the transitions between its stages, a head over all resolutions.

Deep High-Resolution Representation Learning for Visual Recognition (J. Wang et al., TPAMI 2020); code
github.com/HRNet/HRNet-Semantic-Segmentation (MIT; read, not copied). Parameters have the authors' names, which are
timm's. The residual blocks are timm's.

A coarser map is enlarged to the size of the finer one, whatever that is, so any size of image works; timm enlarges by
a factor of 2, and to the nearest neighbour. `norm` makes the batch norm of so many channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
BLOCKS = 4  # residual blocks of each resolution of a module, and of the first stage


def resize(x: Tensor, like: Tensor, align_corners: bool) -> Tensor:
    """Resize `(B, C, h, w)` bilinearly to the height and width of another map."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=align_corners)


def concatenate(maps: Sequence[Tensor], align_corners: bool) -> Tensor:
    """Return maps `(B, C_i, H_i, W_i)` at the first one's size, one behind the other: `(B, sum C_i, H_0, W_0)`."""
    first, *others = maps
    return torch.cat([first, *[resize(m, first, align_corners) for m in others]], 1)


def conv_norm(inputs: int, outputs: int, norm: Norm, *, size: int = 3, stride: int = 1, relu: bool = True) -> nn.Module:
    """Build a convolution without bias, its norm, and a ReLU if wanted."""
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), norm(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def first_stage(norm: Norm) -> nn.Module:
    """Build `layer1`: four bottlenecks, 64 channels to 256, at the same resolution."""
    from timm.models.resnet import Bottleneck

    widen = conv_norm(64, 256, norm, size=1, relu=False)
    others = [Bottleneck(256, 64, norm_layer=norm) for _ in range(BLOCKS - 1)]  # type: ignore[arg-type]
    return nn.Sequential(Bottleneck(64, 64, downsample=widen, norm_layer=norm), *others)  # type: ignore[arg-type]


class HighResolutionModule(nn.Module):
    """Residual blocks at each resolution, then each resolution is the sum of all of them.

    Args:
        channels: of each resolution, finest first; each is half as fine as the one before.
        norm: as above.
        align_corners: of enlarging.
    """

    def __init__(self, channels: Sequence[int], norm: Norm, align_corners: bool) -> None:
        from timm.models.resnet import BasicBlock

        super().__init__()
        self.align_corners = align_corners
        self.branches = nn.ModuleList(
            nn.Sequential(*[BasicBlock(c, c, norm_layer=norm) for _ in range(BLOCKS)])  # type: ignore[arg-type]
            for c in channels
        )
        levels = range(len(channels))
        self.fuse_layers = nn.ModuleList(nn.ModuleList(_bring(channels, j, i, norm) for j in levels) for i in levels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """`(B, C_i, H_i, W_i)` maps, finest first -> the same shapes."""
        maps = [branch(m) for branch, m in zip(self.branches, maps, strict=True)]
        return [self._fused(maps, i) for i in range(len(maps))]

    def _fused(self, maps: Sequence[Tensor], to: int) -> Tensor:
        """Sum all maps at the resolution `to`."""
        total: Tensor | None = None
        for j, m in enumerate(maps):
            brought = self.fuse_layers[to][j](m)  # type: ignore[index]
            if j > to:
                brought = resize(brought, maps[to], self.align_corners)
            total = brought if total is None else total + brought
        assert total is not None
        return F.relu(total)


def _bring(channels: Sequence[int], source: int, to: int, norm: Norm) -> nn.Module:
    """Build what makes of a resolution's map what is added to another: 1x1, or a convolution of stride 2 a halving."""
    if source == to:
        return nn.Identity()
    if source > to:
        return conv_norm(channels[source], channels[to], norm, size=1, relu=False)
    halvings = [conv_norm(channels[source], channels[source], norm, stride=2) for _ in range(to - source - 1)]
    return nn.Sequential(*halvings, conv_norm(channels[source], channels[to], norm, stride=2, relu=False))


def stage(modules: int, channels: Sequence[int], norm: Norm, align_corners: bool) -> nn.Sequential:
    """Build a stage: so many modules one after the other, lists of maps in and out."""
    return nn.Sequential(*[HighResolutionModule(channels, norm, align_corners) for _ in range(modules)])


def transition(before: Sequence[int], after: Sequence[int], norm: Norm) -> nn.ModuleList:
    """Build what stands between two stages: each map to its new channels, and one more, half as fine as the last.

    Args:
        before: channels of the maps that there are.
        after: channels of the next stage's maps, one more.
        norm: as above.
    """
    kept = [nn.Identity() if a == b else conv_norm(b, a, norm) for b, a in zip(before, after, strict=False)]
    return nn.ModuleList([*kept, nn.Sequential(conv_norm(before[-1], after[-1], norm, stride=2))])


def advance(step: nn.ModuleList, maps: Sequence[Tensor]) -> list[Tensor]:
    """Apply a transition: the maps of a stage -> those that enter the next."""
    return [layer(maps[min(i, len(maps) - 1)]) for i, layer in enumerate(step)]


def head(channels: int, outputs: int, norm: Norm) -> nn.Sequential:
    """Build `last_layer` and its like: 1x1 and norm, ReLU, 1x1 to the outputs; both with a bias."""
    hidden = [nn.Conv2d(channels, channels, 1), norm(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*hidden, nn.Conv2d(channels, outputs, 1))
