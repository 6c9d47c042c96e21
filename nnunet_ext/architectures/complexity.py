"""Parameters and multiply-accumulates (MACs) of a network.

Two counts of MACs, because papers differ: `count_macs` counts what convolutions, linear layers and matrix products
really compute (torch's `FlopCounterMode` / 2). `count_thop_macs` follows the rules of the package `thop`, which many
papers quote (Spatial Lifting's Tables II and VI among them): it counts transposed convolutions by their output
elements (4 or 8 times too many at stride 2) and adds normalisation, PReLU and resizing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters; a tensor that stands twice is counted once."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, input_size: Sequence[int]) -> int:
    """Return the MACs of one forward pass in evaluation mode, for one image.

    Shapes only are computed: the network is moved to torch's meta device and **cannot be used afterwards**.

    Args:
        network: any network of ours.
        input_size: `(C, *S)`.
    """
    network = network.to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.empty(1, *input_size, device="meta"))
    return counter.get_total_flops() // 2


def _conv(m: Any, x: Tensor, y: Tensor) -> int:
    return y.numel() * (m.in_channels // m.groups) * math.prod(m.kernel_size)


def _norm(m: Any, x: Tensor, y: Tensor) -> int:
    return x.numel() * (4 if m.affine else 2)


_UPSAMPLE = {"nearest": 1, "bilinear": 11, "trilinear": 0}


def _upsample(m: Any, x: Tensor, y: Tensor) -> int:
    return _UPSAMPLE[m.mode] * y.numel()


# torch's lazily named base classes cover all dimensions of a kind
_RULES: list[tuple[type[nn.Module], Callable[[Any, Tensor, Tensor], int]]] = [
    (nn.modules.conv._ConvNd, _conv),
    (nn.modules.batchnorm._NormBase, _norm),
    (nn.PReLU, lambda m, x, y: x.numel()),
    (nn.modules.pooling._AdaptiveAvgPoolNd, lambda m, x, y: x.numel() + y.numel()),
    (nn.Upsample, _upsample),
    (nn.Linear, lambda m, x, y: y.numel() * m.in_features),
]


def count_thop_macs(network: nn.Module, input_size: Sequence[int]) -> int:
    """Return the MACs of one forward pass as the package `thop` counts them.

    Args and effect on the network: as for `count_macs`.
    """
    total = 0

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        for kind, rule in _RULES:
            if isinstance(module, kind):
                total += rule(module, inputs[0], output)

    handles = [m.register_forward_hook(hook) for m in network.modules()]
    try:
        with torch.no_grad():
            network.to("meta").eval()(torch.empty(1, *input_size, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return total
