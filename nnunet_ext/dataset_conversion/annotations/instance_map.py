"""Objects numbered in one file: every value, or every colour, but 0 is an object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.annotations.foreground import labels_of_objects
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask
from nnunet_ext.dataset_conversion.pixels import LOSSY_FORMATS, decode, refuse_transparency
from nnunet_ext.dataset_conversion.problems import RefusedFile

NUMBER_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "F")


@dataclass(frozen=True)
class InstanceMap:
    """One file that numbers the objects 1, 2, ... of an image, background is 0; all objects are foreground.

    Attributes:
        path: PNG, TIFF, BMP, GIF or PPM with one channel of 8, 16 or 32 bits. Palettes count by their indices.
        coloured: objects have colours in RGB instead; any colour but black is an object.
    """

    path: Path
    coloured: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Decode; whether the size is ``shape`` is checked elsewhere.

        Raises:
            RefusedFile: "mask-lossy", "instances-coloured" for colours that are not expected, "instances-values" for
                values that number no objects; see :func:`nnunet_ext.dataset_conversion.pixels.decode`.
        """
        image = decode(self.path, legend.rules)
        if image.format in LOSSY_FORMATS:
            what, remedy = "masks in a lossy format", "export the instance maps again as PNG or TIFF"
            raise RefusedFile("mask-lossy", what, f"{self.path} is a JPEG; objects have no sharp numbers", remedy)
        if image.mode in ("LA", "RGBA") and legend.rules.alpha == "refuse":
            refuse_transparency(image, self.path)
        if self.coloured:
            objects = np.asarray(image.convert("RGB")).max(axis=2) > 0
        elif image.mode in NUMBER_MODES:
            objects = self._numbered(np.asarray(image))
        else:
            objects = self._numbered(self._one_of_equal_channels(np.asarray(image)))
        return labels_of_objects(objects, legend, self.path, "instances")

    def _numbered(self, values: np.ndarray) -> np.ndarray:
        strange = (values < 0) | (values != np.floor(values))
        if strange.any():
            where = f"{self.path} holds {values[strange][0]}; allowed are 0, 1, 2, ..."
            what, remedy = "instance maps with values that number no object", "export whole numbers, 0 for background"
            raise RefusedFile("instances-values", what, where, remedy)
        return np.asarray(values > 0)

    def _one_of_equal_channels(self, pixels: np.ndarray) -> np.ndarray:
        """First channel of (H, W, C), if the colour channels are equal."""
        colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
        coloured = (colours != colours[..., :1]).any(axis=2)
        if coloured.any():
            example = tuple(colours[coloured][0].tolist())
            where = f"{self.path}: {int(coloured.sum())} pixels are not grey, such as RGB {example}; allowed is grey"
            remedy = "export object numbers in one channel, or read the file as an instance map in colour"
            raise RefusedFile("instances-coloured", "instance maps in colour", where, remedy)
        return colours[..., 0]
