"""Depth maps in image files: numbers with a known factor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.depth.maps import DepthMap, checked_map
from nnunet_ext.dataset_conversion.pixels import decode
from nnunet_ext.dataset_conversion.problems import RefusedFile

BITS_OF_MODE = {"L": 8, "I;16": 16, "I;16B": 16, "I;16L": 16}


def numbers_of(path: Path, bits: int) -> np.ndarray:
    """(H, W) uint8 or uint16 numbers of a file with one channel of just so many bits.

    Raises:
        RefusedFile: not readable, several channels, or other bits: a depth map with 16 bits that was saved with 8 has
            lost its scale.
    """
    image = decode(path)
    if BITS_OF_MODE.get(image.mode) != bits:
        where = f"{path} has Pillow mode {image.mode!r}; allowed is one channel with {bits} bits"
        remedy = "get the published file: pictures for looking at, or converted files, do not hold the measured numbers"
        raise RefusedFile("depth-pixel-type", "depth maps with an unexpected pixel type", where, remedy)
    return np.asarray(image)


@dataclass(frozen=True)
class ScaledImage:
    """A depth map whose values are ``number * factor``.

    Attributes:
        path: image file with one channel.
        factor: value of number 1, in ``unit``.
        unit: see :class:`nnunet_ext.dataset_conversion.depth.maps.DepthMap`.
        bits: 8 or 16.
        most: largest value that can be right.
        zero_is_unmeasured: whether number 0 marks pixels without a measurement.
    """

    path: Path
    factor: float
    unit: str = "metre"
    bits: int = 16
    most: float = np.inf
    zero_is_unmeasured: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self) -> DepthMap:
        """Decode, see :func:`numbers_of` and :func:`nnunet_ext.dataset_conversion.depth.maps.checked_map`."""
        numbers = numbers_of(self.path, self.bits)
        measured = numbers > 0 if self.zero_is_unmeasured else np.ones(numbers.shape, bool)
        return checked_map(numbers * self.factor, measured, self.unit, self.path, self.most)
