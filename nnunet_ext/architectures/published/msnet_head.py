"""Pyramid, aggregation and decoder of MSNet and M2SNet, in the published code's reading and in the paper's.

Level i = 1 is the finest. MS_1 are the encoder's maps after reduction; MS_{n+1} of level i is the unit of MS_n of
level i + 1, resized, and MS_n of level i. CE^i sums the MS of a level; the decoder adds from coarse to fine.

| | published code | paper, equation (3) |
|---|---|---|
| reductions to 64 channels | levels 2 to 5 | levels 1 to 5 |
| CE^1 to CE^3 | block of the sum of MS_n, n >= 2 | block of the sum of MS_n, n >= 1 |
| CE^4 | MS_2 as it is | block of MS_1 + MS_2 |
| CE^5 | a second reduction of the encoder's map | block of MS_1 |
| deeper input of the last unit | passes another block | as it is |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Literal

from torch import Tensor, nn

from nnunet_ext.architectures.decoders.multiscale_subtraction import SubtractionUnit, resize_to

Aggregate = Literal["code", "paper"]
Units = Callable[[Mapping[str, nn.Module]], nn.Module]


def convolution_block(in_channels: int, out_channels: int) -> nn.Module:
    """Convolution 3 x 3 with bias, batch norm, ReLU, initialised as torch does."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def unit_name(order: int, level: int) -> str:
    """Return the name of the unit that makes MS_n of level i, both counted from 1."""
    return f"n{order}_i{level}"


class BoxUnits(nn.ModuleDict):
    """Units by name, each with box filters of the difference.

    Args:
        blocks: by the units' names; each `(B, C, H, W)` -> the same shape.
        scales: odd sizes of the boxes; 1 is the difference itself.
        reduce: of a box.
    """

    def __init__(self, blocks: Mapping[str, nn.Module], scales: Sequence[int], reduce: Literal["sum", "mean"]) -> None:
        sizes = [(k, k) for k in scales]
        super().__init__({name: SubtractionUnit(block, sizes, reduce) for name, block in blocks.items()})

    def forward(self, name: str, deep: Tensor, shallow: Tensor) -> Tensor:
        """`(B, C, h, w)` and `(B, C, H, W)` -> `(B, C, H, W)`."""
        return self[name](deep, shallow)


class SubtractionHead(nn.Module):
    """Maps of all levels -> what the last convolution sees.

    Args:
        channels: (L,) of the encoder's maps, finest first.
        width: of the pyramid; with `aggregate="code"` equal to `channels[0]`, which is not reduced.
        units: makes the pyramid's units of their blocks by name, a module `(name, deep, shallow) -> map`.
        aggregate: whose reading.
        block: `(in_channels, out_channels) -> module`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        units: Units,
        aggregate: Aggregate = "code",
        block: Callable[[int, int], nn.Module] = convolution_block,
    ) -> None:
        super().__init__()
        n, code = len(channels), aggregate == "code"
        self.as_coded = code
        self.reductions = nn.ModuleList(block(c, width) for c in channels)
        if code:
            self.reductions[0] = nn.Identity()
        orders = [(order, level) for order in range(2, n + 1) for level in range(n + 1 - order, 0, -1)]
        self.units = units({unit_name(*o): block(width, width) for o in orders})
        self.before_last_unit = block(width, width) if code else nn.Identity()
        self.enhance = nn.ModuleList(block(width, width) for _ in channels)
        if code:
            self.enhance[-2], self.enhance[-1] = nn.Identity(), block(channels[-1], width)
        self.decode = nn.ModuleList(block(width, width) for _ in range(n - 2))  # coarsest first

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """`(B, C_i, H_i, W_i)` of L levels, finest first -> `(B, width, H_1, W_1)`."""
        rows = self.pyramid([r(x) for r, x in zip(self.reductions, features, strict=True)])
        *finer, x = self.aggregate(rows, features[-1])
        for block, enhanced in zip([*self.decode, nn.Identity()], reversed(finer), strict=True):
            x = block(resize_to(x, enhanced) + enhanced)
        return x

    def pyramid(self, maps: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return each level's [MS_1, ..., MS_{L+1-i}]; they are made order after order, each from deep to shallow.

        Args:
            maps: (L,) maps MS_1 `(B, width, H_i, W_i)`, finest first.
        """
        n = len(maps)
        rows = [[m] for m in maps]
        for order in range(2, n + 1):
            for level in range(n + 1 - order, 0, -1):
                deep, shallow = rows[level][order - 2], rows[level - 1][order - 2]
                deep = self.before_last_unit(deep) if order == n else deep
                rows[level - 1].append(self.units(unit_name(order, level), deep, shallow))
        return rows

    def aggregate(self, rows: Sequence[Sequence[Tensor]], deepest: Tensor) -> list[Tensor]:
        """Return (L,) maps CE `(B, width, H_i, W_i)`, finest first.

        Args:
            rows: from `pyramid`.
            deepest: the encoder's last map, not reduced.
        """
        if self.as_coded:
            sums = [*(reduce(add, row[1:]) for row in rows[:-1]), deepest]
        else:
            sums = [reduce(add, row) for row in rows]
        return [enhance(s) for enhance, s in zip(self.enhance, sums, strict=True)]
