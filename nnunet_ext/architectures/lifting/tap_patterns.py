"""Which slices of a lifted volume are equal, and which products a convolution along the depth has to compute.

Spatial Lifting for Dense Prediction (M. Xu, T. Zhou, Y. Li, Y. Zhang) lifts an image by copying it, so that many
slices of the first volumes are equal. A volume of D slices is described by an *index*: `index[d]` is the number of the
distinct slice that stands at depth d; distinct slices are numbered in the order of their first appearance.

A convolution writes each output slice as a sum over taps t of `W_t * x[position(o, t)]`. Taps that fall on padding
contribute nothing and are dropped; taps that read equal slices are added before the product, `(W_s + W_t) * x`; output
slices with the same sum are one slice. Pure integers; nothing here knows tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

Taps = tuple[int, ...]
Term = tuple[int, Taps]  # (distinct input slice, taps whose kernels are added before the product)


class Group(NamedTuple):
    """Output slices that are computed with the same kernels.

    Attributes:
        taps: (q,) tap sets; the kernel of the group has q slices, each the sum of a set.
        members: (m, q) distinct input slices that each of the m output slices reads.
        outputs: (m,) numbers of the distinct output slices.
    """

    taps: tuple[Taps, ...]
    members: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]


class Pattern(NamedTuple):
    """What a convolution along the depth computes.

    Attributes:
        index: (D',) distinct output slice at each output depth.
        terms: (n',) what each distinct output slice is the sum of.
        groups: the same sums, arranged by equal kernels.
        by_tap: each tap of each slice is computed once and added afterwards (transposed convolutions, where it takes
            fewer products).
    """

    index: tuple[int, ...]  # type: ignore[assignment]  # not the method of tuples
    terms: tuple[tuple[Term, ...], ...]
    groups: tuple[Group, ...]
    by_tap: bool


def number_distinct(keys: list[tuple]) -> tuple[tuple[int, ...], tuple[tuple, ...]]:
    """Give keys numbers, in the order of their first appearance.

    Returns:
        (D,) numbers, and the distinct keys.
    """
    distinct = dict.fromkeys(keys)
    numbers = {key: i for i, key in enumerate(distinct)}
    return tuple(numbers[key] for key in keys), tuple(distinct)


def _pattern(index: tuple[int, ...], depth: int, kernel: int, position: Callable[[int, int], int | None]) -> Pattern:
    """Arrange the sums of `depth` output slices.

    Args:
        index: of the input.
        depth: number of output slices.
        kernel: number of taps.
        position: `(o, t) -> ` input depth that tap t of output slice o reads, or None.
    """
    sums = []
    for o in range(depth):
        taps: dict[int, list[int]] = {}
        for t in range(kernel):
            p = position(o, t)
            if p is not None and 0 <= p < len(index):
                taps.setdefault(index[p], []).append(t)
        sums.append(tuple((i, tuple(taps[i])) for i in sorted(taps)))
    out, terms = number_distinct(sums)
    found: dict[tuple[Taps, ...], list[int]] = {}
    for number, term in enumerate(terms):
        found.setdefault(tuple(taps for _, taps in term), []).append(number)
    groups = tuple(
        Group(taps, tuple(tuple(i for i, _ in terms[n]) for n in numbers), tuple(numbers))
        for taps, numbers in found.items()
    )
    return Pattern(out, terms, groups, False)


@lru_cache(maxsize=1024)
def convolution_pattern(index: tuple[int, ...], kernel: int, stride: int, padding: int) -> Pattern:
    """Return the products of a convolution along the depth: tap t of output o reads depth o stride - padding + t."""
    depth = (len(index) + 2 * padding - kernel) // stride + 1
    return _pattern(index, depth, kernel, lambda o, t: o * stride - padding + t)


@lru_cache(maxsize=1024)
def transposed_pattern(index: tuple[int, ...], kernel: int, stride: int, padding: int, output_padding: int) -> Pattern:
    """Return the products of a transposed convolution: tap t of input i is added to depth i stride - padding + t."""
    depth = (len(index) - 1) * stride - 2 * padding + kernel + output_padding

    def position(o: int, t: int) -> int | None:
        i, rest = divmod(o + padding - t, stride)
        return i if rest == 0 else None

    pattern = _pattern(index, depth, kernel, position)
    single = {(i, t) for terms in pattern.terms for i, taps in terms for t in taps}
    return pattern._replace(by_tap=len(single) < sum(len(terms) for terms in pattern.terms))


@lru_cache(maxsize=1024)
def combine(indices: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return the common refinement of several volumes' indices.

    Returns:
        the index of the combined volume, and for each volume the (n,) slices of it that the distinct ones take.
    """
    index, distinct = number_distinct(list(zip(*indices, strict=True)))
    return index, tuple(zip(*distinct, strict=True))


@lru_cache(maxsize=1024)
def multiplicities(index: tuple[int, ...]) -> tuple[int, ...]:
    """Return how often each distinct slice stands in the volume, (n,)."""
    return tuple(index.count(i) for i in range(max(index) + 1))


@lru_cache(maxsize=1024)
def refine(patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """Return patterns of the same depth with the same distinct output slices, those that tell all of them apart."""
    index, taken = combine(tuple(p.index for p in patterns))
    return tuple(Pattern(index, tuple(p.terms[i] for i in t), (), False) for p, t in zip(patterns, taken, strict=True))
