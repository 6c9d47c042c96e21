"""What SINetV2 is made of: texture enhanced module, neighbour connection decoder, group-reversal attention.

Concealed Object Detection (D.-P. Fan, G.-P. Ji, M.-M. Cheng, L. Shao; TPAMI 2022); code
github.com/GewelsJI/SINet-V2 (Apache License 2.0; read, not copied).

Where we differ: K class maps. Each is reversed by itself, and a group of channels is given all K.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

REACHES = (3, 5, 7)  # sizes of the texture enhanced module's kernels, and dilations behind them


def conv_norm(inputs: int, outputs: int, size: int | tuple[int, int], dilation: int = 1) -> nn.Module:
    """Build a convolution without bias and batch norm; the map keeps its size, and there is no nonlinearity."""
    kernel = (size, size) if isinstance(size, int) else size
    padding = (kernel[0] // 2 * dilation, kernel[1] // 2 * dilation)
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class TextureEnhanced(nn.Module):
    """`(B, C, H, W) -> (B, channels, H, W)`: four receptive fields side by side, and a shortcut."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm(inputs, channels, 1)])
        for k in REACHES:
            cross = conv_norm(channels, channels, (1, k)), conv_norm(channels, channels, (k, 1))
            wide = conv_norm(channels, channels, 3, dilation=k)
            self.branches.append(nn.Sequential(conv_norm(inputs, channels, 1), *cross, wide))
        self.merge = conv_norm(len(self.branches) * channels, channels, 3)
        self.shortcut = conv_norm(inputs, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the enhanced map."""
        return torch.relu(self.merge(torch.cat([b(x) for b in self.branches], 1)) + self.shortcut(x))


class NeighbourConnection(nn.Module):
    """Maps of strides 8, 16 and 32, finest first -> class map `(B, K, H / 8, W / 8)`; a map is gated by coarser ones.

    Args:
        channels: of each map.
        outputs: K.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        c, same = channels, partial(conv_norm, size=3)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.gate_middle, self.gate_fine, self.gate_fine_again = same(c, c), same(c, c), same(c, c)
        self.carry_coarse, self.carry_middle = same(c, c), same(2 * c, 2 * c)
        self.merge_middle, self.merge_fine = same(2 * c, 2 * c), same(3 * c, 3 * c)
        self.score = nn.Sequential(same(3 * c, 3 * c), nn.Conv2d(3 * c, outputs, 1))

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """Return the coarse class map."""
        gated_middle = self.gate_middle(self.up(coarse)) * middle
        gated_fine = self.gate_fine(self.up(gated_middle)) * self.gate_fine_again(self.up(middle)) * fine
        merged = self.merge_middle(torch.cat([gated_middle, self.carry_coarse(self.up(coarse))], 1))
        return self.score(self.merge_fine(torch.cat([gated_fine, self.carry_middle(self.up(merged))], 1)))


class GroupReversal(nn.Module):
    """`(features (B, C, H, W), maps (B, K, H, W))` -> both, refined: maps stand behind each group of channels.

    Args:
        channels: C.
        size: channels of a group.
        outputs: K.
    """

    def __init__(self, channels: int, size: int, outputs: int) -> None:
        super().__init__()
        self.groups = channels // size
        self.residual = nn.Conv2d(channels + self.groups * outputs, channels, 3, padding=1)
        self.score = nn.Conv2d(channels, outputs, 3, padding=1)

    def forward(self, x: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and maps of the same shapes."""
        groups = x.unflatten(1, (self.groups, -1))
        behind = maps.unsqueeze(1).expand(-1, self.groups, -1, -1, -1)
        x = x + torch.relu(self.residual(torch.cat([groups, behind], 2).flatten(1, 2)))
        return x, maps + self.score(x)


class ReverseStage(nn.Module):
    """`(features (B, C, H, W), guidance (B, K, H, W))` -> refined class maps: what the guidance leaves out is sought.

    Args:
        channels: C.
        sizes: channels of a group in each of its blocks.
        outputs: K.
    """

    def __init__(self, channels: int, sizes: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(GroupReversal(channels, size, outputs) for size in sizes)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Return `(B, K, H, W)` class maps."""
        maps = 1 - torch.sigmoid(guidance)
        for block in self.blocks:
            x, maps = block(x, maps)
        return maps + guidance
