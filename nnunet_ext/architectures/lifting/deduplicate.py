"""Exact deduplication: a 3D network on a lifted image, with equal slices computed once.

The lifted image of Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), equation (1), is one slice
repeated D times, and padding at the ends of the depth axis is all that makes slices differ. This goes past the paper:
the same parameters and the same outputs, without computing any slice twice.

A `DistinctVolume` is passed through the unchanged modules of any 3D network. It answers torch functions itself: here
are the rules for convolutions, normalisation, nonlinearities, arithmetic and concatenation. Anything else is given the
whole volume, so that every network stays exact and only what is known gets cheaper.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.encoders.channel_selection import take_channels
from nnunet_ext.architectures.lifting import distinct_convolution, stacked_convolution
from nnunet_ext.architectures.lifting.distinct_volume import RULES, DistinctVolume, element_by_element
from nnunet_ext.architectures.lifting.normalisation import normalise
from nnunet_ext.architectures.lifting.prelu import prelu
from nnunet_ext.architectures.lifting.tap_patterns import (
    Pattern,
    convolution_pattern,
    multiplicities,
    transposed_pattern,
)


def _triple(value: Any) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def _conv3d(
    input: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    x = input
    if groups != 1 or isinstance(padding, str) or _triple(dilation) != (1, 1, 1) or not _is_volume(x):
        return NotImplemented
    (sd, *s), (pd, *p) = _triple(stride), _triple(padding)
    patterns = tuple(convolution_pattern(index, weight.shape[2], sd, pd) for _, index in x.parts)
    if not _all_read_something(patterns):
        return NotImplemented
    if x.stacked:
        return x.like(stacked_convolution.convolve(x.slices, weight, bias, patterns, s, p))
    return _sum_of_parts(x, weight.split(x.channels, 1), patterns, bias, distinct_convolution.convolve, s, p)


def _conv_transpose3d(
    input: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    x = input
    if groups != 1 or _triple(dilation) != (1, 1, 1) or not _is_volume(x):
        return NotImplemented
    (sd, *s), (pd, *p), (od, *o) = _triple(stride), _triple(padding), _triple(output_padding)
    patterns = tuple(transposed_pattern(index, weight.shape[2], sd, pd, od) for _, index in x.parts)
    if not _all_read_something(patterns):
        return NotImplemented
    if x.stacked:
        return x.like(stacked_convolution.transpose_convolve(x.slices, weight, bias, patterns, s, p, o))
    weights = weight.split(x.channels, 0)
    return _sum_of_parts(x, weights, patterns, bias, distinct_convolution.transpose_convolve, s, p, o)


def _all_read_something(patterns: tuple[Pattern, ...]) -> bool:
    """No output slice lies wholly in the padding."""
    return all(sum_ for pattern in patterns for sum_ in pattern.terms)


def _sum_of_parts(
    x: Any, weights: Any, patterns: Any, bias: Tensor | None, convolve: Callable[..., Tensor], *options: Any
) -> Any:
    total = None
    for (part, _), weight, pattern in zip(x.parts, weights, patterns, strict=True):
        y = x.like((convolve(part, weight, bias if total is None else None, pattern, *options), pattern.index))
        total = y if total is None else total + y
    return total


def _cat(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Any:
    if (dim if axis is None else axis) not in (1, -4) or not all(_is_volume(v) for v in tensors):
        return NotImplemented
    return tensors[0].like(*(part for v in tensors for part in v.parts))


def _is_volume(value: Any) -> bool:
    return isinstance(value, DistinctVolume)


def _require_several(x: Any, sizes: Sequence[int]) -> None:
    """Refuse, as torch does, to normalise over a single value."""
    if math.prod(sizes) == 1:
        raise ValueError(f"Expected more than 1 value per channel to normalise over, got input size {x.shape}")


def _instance_norm(
    input: Any, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    x = input
    if running_mean is not None or not use_input_stats:
        return NotImplemented
    _require_several(x, x.shape[2:])
    distinct, index = x.merged()
    return x.like((normalise(distinct, multiplicities(index), weight, bias, eps)[0], index))


def _batch_norm(
    input: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    x = input
    distinct, index = x.merged()
    if not training:
        return x.like((F.batch_norm(distinct, running_mean, running_var, weight, bias, False, momentum, eps), index))
    _require_several(x, (x.shape[0], *x.shape[2:]))
    y, mean, var = normalise(distinct, multiplicities(index), weight, bias, eps, over_batch=True)
    if running_mean is not None and running_var is not None:
        n = x.shape.numel() / x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean.flatten().to(running_mean), momentum)
            running_var.lerp_((var.flatten() * (n / (n - 1))).to(running_var), momentum)
    return x.like((y, index))


def _per_element(func: Callable[..., Tensor]) -> Callable[..., Any]:
    """Rule of a function that maps each element (of each channel) by itself."""

    def rule(input: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        if not _is_volume(input):
            return NotImplemented
        distinct, index = input.merged()
        return input.like((func(distinct, *args, **kwargs), index))

    return rule


def _take_channels(x: Any, chosen: Tensor) -> Any:
    distinct, index = x.merged()
    return x.like((take_channels(distinct, chosen), index))


def _of_two(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Rule of a function of two values; with further arguments (`alpha`), it is one of the whole volume."""

    def rule(input: Any, other: Any, **kwargs: Any) -> Any:
        return NotImplemented if kwargs else element_by_element(function, input, other)

    return rule


_ELEMENTWISE = (F.leaky_relu, F.relu, F.gelu, F.elu, F.silu, torch.relu, torch.sigmoid, torch.tanh)
_ARITHMETIC: dict[Callable[[Any, Any], Any], tuple[Any, ...]] = {
    operator.add: (torch.add, Tensor.add, Tensor.__radd__),
    operator.sub: (torch.sub, Tensor.sub),
    operator.mul: (torch.mul, Tensor.mul, Tensor.__rmul__),
    operator.truediv: (torch.div, Tensor.div),
}
RULES.update(
    {
        F.conv3d: _conv3d,
        F.conv_transpose3d: _conv_transpose3d,
        torch.cat: _cat,
        F.instance_norm: _instance_norm,
        F.batch_norm: _batch_norm,
        take_channels: _take_channels,
        F.prelu: _per_element(prelu),
        **{f: _per_element(f) for f in _ELEMENTWISE},
        **{f: _of_two(function) for function, functions in _ARITHMETIC.items() for f in functions},
    }
)


def run_deduplicated(network: nn.Module, x: Tensor, depth: int, stacked: bool = True) -> Any:
    """Return `network(replicate(x, depth))`, computing equal slices once.

    Args:
        network: `(B, C, D, H, W) -> (B, K, D, H, W)`; its modules are not changed.
        x: `(B, C, H, W)`.
        depth: D.
        stacked: as for `DistinctVolume`.

    Returns:
        `(B, K, D, H, W)`, contiguous; or what else the network returns.
    """
    out = network(DistinctVolume((x.unsqueeze(2), (0,) * depth), stacked=stacked))
    return out.full().contiguous() if isinstance(out, DistinctVolume) else out
