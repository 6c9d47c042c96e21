"""A volume that is held as its distinct slices and passes for the tensor that it stands for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.architectures.lifting.tap_patterns import combine

Part = tuple[Tensor, tuple[int, ...]]
RULES: dict[Any, Callable[..., Any]] = {}  # torch function -> what it does to volumes; filled by deduplicate.py


class DistinctVolume:
    """A tensor `(B, C, D, H, W)`, held as its distinct slices.

    Functions with a rule are computed on the distinct slices. Others, and all methods, are given the whole volume; what
    changes a tensor in place changes this object.

    Args:
        parts: `(distinct slices (B, C_i, n_i, H, W), index (D,))`, concatenated along the channels. Kept apart, since
            a convolution of a concatenation is the sum of the convolutions, each with its own equal slices.
        stacked: convolve with slices as channels (`stacked_convolution.py`), or each product once
            (`distinct_convolution.py`).
    """

    ndim = 5

    def __init__(self, *parts: Part, stacked: bool = True) -> None:
        self.parts, self.stacked = parts, stacked

    def like(self, *parts: Part) -> DistinctVolume:
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

    def merged(self) -> Part:
        """Return distinct slices of all channels together, and their index."""
        if len(self.parts) == 1:
            return self.parts[0]
        index, taken = combine(tuple(i for _, i in self.parts))
        return torch.cat([expand(x, t) for (x, _), t in zip(self.parts, taken, strict=True)], 1), index

    def full(self) -> Tensor:
        """Return the whole volume, `(B, C, D, H, W)`."""
        return expand(*self.merged())

    def become(self, value: Any) -> DistinctVolume:
        """Take another value, as a tensor does that is changed in place."""
        self.parts = ((value, tuple(range(value.shape[2]))),) if isinstance(value, Tensor) else value.parts
        return self

    # ---------------------------------------------------------------- as a tensor

    @property
    def shape(self) -> torch.Size:
        """(B, C, D, H, W)."""
        b, _, _, *size = self.parts[0][0].shape
        return torch.Size((b, sum(self.channels), len(self.parts[0][1]), *size))

    @property
    def device(self) -> torch.device:
        """The slices' device."""
        return self.parts[0][0].device

    @property
    def dtype(self) -> torch.dtype:
        """The slices' type."""
        return self.parts[0][0].dtype

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or one number of it."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """Return 5."""
        return 5

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self.full()[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "parts":
            raise AttributeError(name)
        found = getattr(self.full(), name)
        if not name.endswith("_"):
            return found
        return lambda *args, **kwargs: self.become(found(*whole(args), **whole(kwargs)))

    def __add__(self, other: Any) -> Any:
        return element_by_element(operator.add, self, other)

    def __sub__(self, other: Any) -> Any:
        return element_by_element(operator.sub, self, other)

    def __mul__(self, other: Any) -> Any:
        return element_by_element(operator.mul, self, other)

    def __truediv__(self, other: Any) -> Any:
        return element_by_element(operator.truediv, self, other)

    def __pow__(self, other: Any) -> Any:
        return element_by_element(operator.pow, self, other)

    def __radd__(self, other: Any) -> Any:
        return element_by_element(operator.add, other, self)

    def __rsub__(self, other: Any) -> Any:
        return element_by_element(operator.sub, other, self)

    def __rmul__(self, other: Any) -> Any:
        return element_by_element(operator.mul, other, self)

    def __rtruediv__(self, other: Any) -> Any:
        return element_by_element(operator.truediv, other, self)

    def __neg__(self) -> Any:
        return self * -1

    def __abs__(self) -> Any:
        return self.full().abs()

    def __iadd__(self, other: Any) -> DistinctVolume:
        return self.become(self + other)

    def __isub__(self, other: Any) -> DistinctVolume:
        return self.become(self - other)

    def __imul__(self, other: Any) -> DistinctVolume:
        return self.become(self * other)

    def __itruediv__(self, other: Any) -> DistinctVolume:
        return self.become(self / other)

    def __lt__(self, other: Any) -> Any:
        return self.full() < whole(other)

    def __gt__(self, other: Any) -> Any:
        return self.full() > whole(other)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func)
        result = NotImplemented if rule is None else rule(*args, **kwargs)
        if result is NotImplemented:
            result = func(*whole(args), **whole(kwargs))
        name = getattr(func, "__name__", "")
        in_place = kwargs.get("inplace") or (name.endswith("_") and not name.endswith("__"))
        if in_place and args and isinstance(args[0], DistinctVolume):
            return args[0].become(result)
        return result


def expand(x: Tensor, index: tuple[int, ...]) -> Tensor:
    """Take slices of the depth axis, `(B, C, n, H, W) -> (B, C, len(index), H, W)`."""
    if index == tuple(range(x.shape[2])):
        return x
    if x.shape[2] == 1:
        return x.expand(-1, -1, len(index), -1, -1)
    return x.index_select(2, torch.tensor(index, device=x.device))


def whole(value: Any) -> Any:
    """Put tensors in the place of volumes, also inside lists, tuples and dictionaries."""
    if isinstance(value, DistinctVolume):
        return value.full()
    if isinstance(value, list | tuple):
        return type(value)(whole(v) for v in value)
    if isinstance(value, dict):
        return {k: whole(v) for k, v in value.items()}
    return value


def element_by_element(function: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """Apply a function of two values, one or both of them volumes, to each distinct pair of slices.

    Values that differ along the depth, and are no volume, make it a function of the whole volume.
    """
    both = isinstance(x, DistinctVolume) and isinstance(y, DistinctVolume)
    volume, other = (x, y) if isinstance(x, DistinctVolume) else (y, x)
    if both and (x.shape[0], *x.shape[2:]) == (y.shape[0], *y.shape[2:]):
        (a, i), (b, j) = x.merged(), y.merged()
        if i == j:
            return x.like((function(a, b), i))
        index, (first, second) = combine((i, j))
        return x.like((function(expand(a, first), expand(b, second)), index))
    number = isinstance(other, int | float) or (isinstance(other, Tensor) and other.dim() == 0)
    if number or (isinstance(other, Tensor) and other.dim() == 5 and _fits_every_slice(other, volume)):
        distinct, index = volume.merged()
        return volume.like((function(distinct, other) if volume is x else function(other, distinct), index))
    return function(whole(x), whole(y))


def _fits_every_slice(other: Tensor, volume: DistinctVolume) -> bool:
    """Whether a tensor is a map `(B or 1, C or 1, 1, H or 1, W or 1)`, which does not make the volume larger."""
    return other.shape[2] == 1 and all(o in (1, v) for o, v in zip(other.shape, volume.shape, strict=True))
