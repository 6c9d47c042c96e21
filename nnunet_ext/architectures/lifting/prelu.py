"""PReLU with a quick gradient on the CPU.

PyTorch's own gradient of PReLU takes many times as long as its forward pass there, and was a fifth of a training step
of a lifted network. With one slope for all channels it is LeakyReLU's gradient and a sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        dx = torch.ops.aten.leaky_relu_backward(dy, x, slope.item(), False)
        dslope = torch.clamp(x, max=0).mul_(dy).sum().view_as(slope)
        return dx, dslope


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`max(0, x) + slope * min(0, x)`.

    Args:
        x: `(B, C, *S)`.
        slope: `(1,)` or `(C,)`.
    """
    quick = x.device.type == "cpu" and slope.numel() == 1 and x.dtype == slope.dtype
    if quick and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _PReLU.apply(x, slope)
    return F.prelu(x, slope)
