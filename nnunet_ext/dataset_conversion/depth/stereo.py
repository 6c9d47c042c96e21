"""Disparity maps in the encoding of Cityscapes, as they are or turned into metres by the camera's data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.depth.maps import DepthMap, checked_map
from nnunet_ext.dataset_conversion.depth.scaled_images import numbers_of
from nnunet_ext.dataset_conversion.problems import RefusedFile

STEPS = 256.0  # of a pixel
WIDEST_BASELINE = 5.0  # metres between the two cameras on a car


@dataclass(frozen=True)
class Disparity:
    """A disparity map: 16 bits, number ``p`` is the disparity ``(p - 1) / 256`` pixels, 0 is no measurement.

    Attributes:
        path: the map.
        camera: JSON with ``extrinsic.baseline`` (metres) and ``intrinsic.fx`` (pixels); with it, values are metres:
            baseline * fx / disparity. Disparity 0 then is no measurement, for it is infinitely far.
    """

    path: Path
    camera: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The map, and the camera's data if they are used."""
        return (self.path,) if self.camera is None else (self.path, self.camera)

    def read(self) -> DepthMap:
        """Decode.

        Raises:
            RefusedFile: not readable, not 16 bits, nothing measured, or camera data that cannot be right.
        """
        numbers = numbers_of(self.path, 16)
        disparity = (numbers.astype(np.float64) - 1) / STEPS
        if self.camera is None:
            return checked_map(disparity, numbers > 0, "disparity", self.path, np.inf)
        factor = metres_times_pixels(self.camera)
        metres = np.divide(factor, disparity, out=np.full(disparity.shape, np.nan), where=numbers > 1)
        return checked_map(metres, numbers > 1, "metre", self.path, np.inf)


def metres_times_pixels(camera: Path) -> float:
    """Baseline times focal length of a camera file.

    Raises:
        RefusedFile: no such JSON, or numbers that cannot be metres and pixels.
    """
    what, remedy = "camera files that cannot be used", "get camera_trainvaltest.zip of the data set again"
    try:
        data = json.loads(camera.read_text())
        baseline, focal = float(data["extrinsic"]["baseline"]), float(data["intrinsic"]["fx"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = f"{camera}: {error!r}; needed are extrinsic.baseline and intrinsic.fx"
        raise RefusedFile("camera-file", what, where, remedy) from error
    if not 0 < baseline < WIDEST_BASELINE or not focal > 1:
        where = f"{camera}: baseline {baseline:g}, fx {focal:g}; allowed are 0 to {WIDEST_BASELINE:g} m, above 1 pixel"
        raise RefusedFile("camera-file", what, where, remedy)
    return baseline * focal
