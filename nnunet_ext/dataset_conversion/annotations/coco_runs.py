"""COCO's run lengths: counts of pixels, background first, down the columns; as a list or packed into a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BITS = 5
SIGN, MORE = 0x10, 0x20
FIRST_CHARACTER = 48


@dataclass(frozen=True)
class CocoRuns:
    """One object of COCO as run lengths.

    Attributes:
        name: class name.
        counts: pixels outside, inside, outside, ... one column after the other, from the upper left.
        shape: (H, W).
    """

    name: str
    counts: tuple[int, ...] | str
    shape: tuple[int, int]

    @property
    def erases(self) -> bool:
        """COCO has no holes of their own."""
        return False

    def pixels(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns inside.

        Raises:
            ValueError: see :meth:`mask`, and for an image of another shape.
        """
        if shape != self.shape:
            raise ValueError(f"run lengths for {self.shape[1]} x {self.shape[0]}, image of {shape[1]} x {shape[0]}")
        columns, rows = np.nonzero(self.mask().T)
        return rows, columns

    def is_outside(self, shape: tuple[int, int]) -> bool:
        """Run lengths cannot leave the image."""
        return False

    def mask(self) -> np.ndarray:
        """(H, W) bool.

        Raises:
            ValueError: if the counts do not fill the shape exactly.
        """
        counts = unpacked(self.counts) if isinstance(self.counts, str) else list(self.counts)
        height, width = self.shape
        if min(counts, default=0) < 0 or sum(counts) != height * width:
            total = sum(counts)
            raise ValueError(f"run lengths of {total} pixels for an image of {width} x {height} = {height * width}")
        inside = np.arange(len(counts)) % 2 == 1
        return np.repeat(inside, counts).reshape(width, height).T


def unpacked(text: str) -> list[int]:
    """Decode the counts that COCO packs into a text.

    Each number is a row of characters, character code minus 48 being 6 bits: the lower 5 are bits of the number, the
    lowest ones first, and the highest says that more characters follow. The last character's bit of value 16 is the
    sign (two's complement). From the fourth number on, what is stored is the difference to the number two before it.

    Raises:
        ValueError: if the text ends within a number, or has other characters.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - FIRST_CHARACTER
        if not 0 <= code < 2 * MORE:
            raise ValueError(f"character {character!r} in packed run lengths")
        value |= (code & (MORE - 1)) << shift
        shift += BITS
        if code & MORE:
            continue
        if code & SIGN:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("packed run lengths that end within a number")
    return numbers
