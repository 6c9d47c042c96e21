"""Exact deduplication: a 3D network on a lifted image, with equal slices computed once.

The lifted image of Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang), equation (1), is one slice
repeated D times, and padding at the ends of the depth axis is all that makes slices differ. This goes past the paper:
the same parameters and the same outputs, without computing any slice twice.

`DistinctVolume` stands for a tensor `(B, C, D, *S)` and is passed through the unchanged modules of any 3D network. It
answers torch functions itself (`__torch_function__`): convolutions, normalisation, nonlinearities, sums and
concatenation are computed on its distinct slices; anything else is given the whole volume, so that every network
stays exact and only what is known gets cheaper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.architectures.lifting import distinct_convolution, stacked_convolution
from nnunet_ext.architectures.lifting.normalisation import normalise
from nnunet_ext.architectures.lifting.prelu import prelu
from nnunet_ext.architectures.lifting.tap_patterns import (
    Pattern,
    combine,
    convolution_pattern,
    multiplicities,
    transposed_pattern,
)


class DistinctVolume:
    """A volume `(B, C, D, H, W)` held as its distinct slices.

    Args:
        stacked: convolve with slices as channels (`stacked_convolution.py`), or each product once
            (`distinct_convolution.py`).
        parts: `(distinct slices (B, C_i, n_i, H, W), index (D,))`, concatenated along the channels. Kept apart, since
            a convolution of a concatenation is the sum of the convolutions, each with its own equal slices.
    """

    def __init__(self, *parts: tuple[Tensor, tuple[int, ...]], stacked: bool = True) -> None:
        self.parts, self.stacked = parts, stacked

    def like(self, *parts: tuple[Tensor, tuple[int, ...]]) -> DistinctVolume:
        """Return a volume that is computed as this one is."""
        return DistinctVolume(*parts, stacked=self.stacked)

    @property
    def slices(self) -> list[Tensor]:
        """Distinct slices of each part."""
        return [x for x, _ in self.parts]

    @property
    def channels(self) -> list[int]:
        """Channels of each part."""
        return [x.shape[1] for x, _ in self.parts]

    @property
    def shape(self) -> torch.Size:
        """(B, C, D, H, W)."""
        b, _, _, *size = self.parts[0][0].shape
        return torch.Size((b, sum(x.shape[1] for x, _ in self.parts), len(self.parts[0][1]), *size))

    def size(self, axis: int | None = None) -> Any:
        """As a tensor's."""
        return self.shape if axis is None else self.shape[axis]

    def dim(self) -> int:
        """Return 5."""
        return 5

    ndim = property(dim)

    def merged(self) -> tuple[Tensor, tuple[int, ...]]:
        """Return distinct slices of all channels together, and their index."""
        if len(self.parts) == 1:
            return self.parts[0]
        index, taken = combine(tuple(i for _, i in self.parts))
        return torch.cat([_expand(x, t) for (x, _), t in zip(self.parts, taken, strict=True)], 1), index

    def full(self) -> Tensor:
        """Return the whole volume, `(B, C, D, H, W)`."""
        return _expand(*self.merged())

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, DistinctVolume):
            return self.full() + other
        (x, i), (y, j) = self.merged(), other.merged()
        if i == j:
            return self.like((x + y, i))
        index, (first, second) = combine((i, j))
        return self.like((_expand(x, first) + _expand(y, second), index))

    __radd__ = __add__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.full(), name)  # methods and attributes of a tensor that have no rule

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = RULES.get(func)
        if rule is not None:
            result = rule(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*_whole(args), **_whole(kwargs or {}))


def _expand(x: Tensor, index: tuple[int, ...]) -> Tensor:
    """Take slices of the depth axis, `(B, C, n, H, W) -> (B, C, len(index), H, W)`."""
    if index == tuple(range(x.shape[2])):
        return x
    if x.shape[2] == 1:
        return x.expand(-1, -1, len(index), -1, -1)
    return x.index_select(2, torch.tensor(index, device=x.device))


def _whole(value: Any) -> Any:
    if isinstance(value, DistinctVolume):
        return value.full()
    if isinstance(value, list | tuple):
        return type(value)(_whole(v) for v in value)
    if isinstance(value, dict):
        return {k: _whole(v) for k, v in value.items()}
    return value


def _triple(value: Any) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def _conv3d(
    x: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
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
    x: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
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


def _cat(volumes: Any, dim: int = 0, *, axis: int | None = None) -> Any:
    if (dim if axis is None else axis) not in (1, -4) or not all(_is_volume(v) for v in volumes):
        return NotImplemented
    return volumes[0].like(*(part for v in volumes for part in v.parts))


def _is_volume(value: Any) -> bool:
    return isinstance(value, DistinctVolume)


def _instance_norm(
    x: Any, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if running_mean is not None or not use_input_stats:
        return NotImplemented
    distinct, index = x.merged()
    return x.like((normalise(distinct, multiplicities(index), weight, bias, eps)[0], index))


def _batch_norm(
    x: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    distinct, index = x.merged()
    if not training:
        return x.like((F.batch_norm(distinct, running_mean, running_var, weight, bias, False, momentum, eps), index))
    y, mean, var = normalise(distinct, multiplicities(index), weight, bias, eps, over_batch=True)
    if running_mean is not None and running_var is not None:
        n = x.shape.numel() / x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean.flatten().to(running_mean), momentum)
            running_var.lerp_((var.flatten() * (n / (n - 1))).to(running_var), momentum)
    return x.like((y, index))


def _per_element(func: Callable[..., Tensor]) -> Callable[..., Any]:
    """Rule of a function that maps each element (of each channel) by itself."""

    def rule(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_volume(x):
            return NotImplemented
        distinct, index = x.merged()
        return x.like((func(distinct, *args, **kwargs), index))

    return rule


RULES: dict[Any, Callable[..., Any]] = {
    F.conv3d: _conv3d,
    F.conv_transpose3d: _conv_transpose3d,
    torch.cat: _cat,
    F.instance_norm: _instance_norm,
    F.batch_norm: _batch_norm,
    F.prelu: _per_element(prelu),
    **{f: _per_element(f) for f in (F.leaky_relu, F.relu, F.gelu, F.elu, F.silu, torch.sigmoid, torch.tanh)},
}


def run_deduplicated(network: nn.Module, x: Tensor, depth: int, stacked: bool = True) -> Tensor:
    """Return `network(replicate(x, depth))`, computing equal slices once.

    Args:
        network: `(B, C, D, H, W) -> (B, K, D, H, W)`; its modules are not changed.
        x: `(B, C, H, W)`.
        depth: D.
        stacked: as for `DistinctVolume`.

    Returns:
        `(B, K, D, H, W)`, contiguous.
    """
    out = network(DistinctVolume((x.unsqueeze(2), (0,) * depth), stacked=stacked))
    return out.full().contiguous() if isinstance(out, DistinctVolume) else out
