"""The all-ones filters of M2SNet as its published code has them, at the cost of one channel.

Code: github.com/Xiaoqi-Zhao-DLUT/MSNet-M2SNet (no licence; read, not copied). Where the paper's equation (2) takes
box filters of the two maps, the code convolves with dense C x C x k x k ones, which sums over all channels too and
makes every output channel the same map. Batch norm and ReLU follow, one k = 3 and one k = 5 for all units of the
network, so that the running statistics mix all levels and depend on the order of the calls: evaluation is another
function than training. At random weights and after 60 training forwards on noise, the largest logit in evaluation is
about 200, with box filters about 6.

Where we differ: the convolution is a sum over channels, a box over one channel and a broadcast. That is the same
number for C times C fewer multiply-accumulates; nothing fixed stands in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.decoders.multiscale_subtraction import resize_to

SIZES = (3, 5)


class DenseFilter(nn.Module):
    """Dense convolution with ones, batch norm, ReLU.

    Args:
        channels: C.
        size: k, odd.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same shape, not negative."""
        # the sum of 25 C numbers can leave half precision
        total = x.sum(1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        box = F.avg_pool2d(total, self.size, 1, self.size // 2, divisor_override=1)
        return F.relu(self.norm(box.expand(-1, x.shape[1], -1, -1)))


class DenseUnits(nn.Module):
    """Units by name that share their filters: `block(|A - B| + sum_k |f_k(A) - f_k(B)|)`, A the deeper map.

    Args:
        blocks: by the units' names; each `(B, C, H, W)` -> the same shape.
        channels: C.
    """

    def __init__(self, blocks: Mapping[str, nn.Module], channels: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList(DenseFilter(channels, k) for k in SIZES)
        self.blocks = nn.ModuleDict(blocks)

    def forward(self, name: str, deep: Tensor, shallow: Tensor) -> Tensor:
        """`(B, C, h, w)` and `(B, C, H, W)` -> `(B, C, H, W)`; the filters see deep before shallow, 3 before 5."""
        deep = resize_to(deep, shallow)
        front = (deep - shallow).abs()
        for f in self.filters:
            front = front + (f(deep) - f(shallow)).abs()
        return self.blocks[name](front)
