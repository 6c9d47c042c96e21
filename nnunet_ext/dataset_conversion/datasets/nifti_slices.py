"""Axial slices of NIfTI volumes as images and annotations, with a window of intensities for 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.dataset_conversion.datasets.nifti_volumes import Grid, read_grid, read_slice
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.pixels import DecodedImage, Reading
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.legend import Legend

LUNG_WINDOW = (-1250.0, 250.0)  # Hounsfield units


@dataclass(frozen=True)
class SliceImage:
    """One axial slice in 8-bit grey: the lower end of the window is 0, the upper 255.

    Attributes:
        path: ``.nii`` or ``.nii.gz``.
        index: slice, counted from the feet.
        grid: of the volume.
        window: lowest and highest intensity that is told apart, in the volume's unit.
    """

    path: Path
    index: int
    grid: Grid
    window: tuple[float, float]

    @property
    def files(self) -> tuple[Path, ...]:
        """The volume."""
        return (self.path,)

    def read(self, rules: Reading) -> DecodedImage:
        """Decode the slice.

        Raises:
            RefusedFile: "unreadable", "volume-shape" if the file has changed since its grid was read, "not-finite".
        """
        values = read_slice(self.path, self.index, self.grid)
        if not np.isfinite(values).all():
            where, remedy = f"{self.path}, slice {self.index}", "replace NaN and infinity by intensities"
            raise RefusedFile("not-finite", "images with values that are no numbers", where, remedy)
        low, high = self.window
        grey = np.rint((np.clip(values, low, high) - low) * (255 / (high - low))).astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=2) if rules.color == "rgb" else grey
        return DecodedImage("L" if pixels.ndim == 2 else "RGB", pixels, (), "NIfTI")


@dataclass(frozen=True)
class SliceMask:
    """Labels of one axial slice of a volume of labels.

    Attributes:
        path: ``.nii`` or ``.nii.gz``.
        index: slice, counted from the feet.
        grid: of the image's volume: voxels belong together, whatever the mask's own header says.
    """

    path: Path
    index: int
    grid: Grid

    @property
    def files(self) -> tuple[Path, ...]:
        """The volume."""
        return (self.path,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Decode the slice.

        Raises:
            RefusedFile: "unreadable", "volume-shape" if the volume is not as large as the image's, "mask-not-whole"
                for values that are no whole numbers from 0 to 65535, "unnamed-values" for those without a class.
        """
        values = read_slice(self.path, self.index, self.grid)
        whole = np.rint(values)
        if not np.array_equal(values, whole) or whole.min() < 0 or whole.max() > np.iinfo(np.uint16).max:
            where = f"{self.path}, slice {self.index}: from {values.min():g} to {values.max():g}"
            what, remedy = "masks whose values are no labels", "export labels as whole numbers from 0 to 65535"
            raise RefusedFile("mask-not-whole", what, where, remedy)
        return legend.of_values(np.ascontiguousarray(whole).astype(np.uint16), self.path)


def slices(image: Path, mask: Path | None, window: tuple[float, float], problems: list[Problem]) -> Iterator[
    tuple[int, SliceImage, SliceMask | None]
]:  # fmt: skip
    """Yield ``(index, image, mask)`` for each axial slice; only the header of the image is read."""
    try:
        grid = read_grid(image)
    except RefusedFile as refused:
        problems.append(refused.problem)
        return
    for index in range(grid.n_slices):
        yield (
            index,
            SliceImage(image, index, grid, window),
            None if mask is None else SliceMask(mask, index, grid),
        )
