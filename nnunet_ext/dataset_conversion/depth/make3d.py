"""Make3D: outdoor photographs with coarse distances by a laser scanner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.datasets.finding import files_by_key
from nnunet_ext.dataset_conversion.depth.layout import DepthCase, DepthLayout
from nnunet_ext.dataset_conversion.depth.maps import DepthMap, checked_map
from nnunet_ext.dataset_conversion.depth.mat import arrays_of
from nnunet_ext.dataset_conversion.depth.pairs import with_depth
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile

GRID = "Position3DGrid"
DISTANCE = 3  # channel: distance along the ray; 0 to 2 are the vertical, the horizontal and the projective distance
FARTHEST = 81.9  # metres; the scanner gives a little more where no light comes back
IMPLAUSIBLE = 83.0
PREFIX = "10.21"  # some names have it in one of the two folders only
FOLDERS = (("train", "Train400", "Train400Depth"), ("test", "Test134", "Test134Depth|Gridlaserdata"))


@dataclass(frozen=True)
class LaserGrid:
    """A MATLAB file with an array ``Position3DGrid``, rows x columns x 4, in metres."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self) -> DepthMap:
        """Decode; readings beyond the scanner's reach of 81.9 m are no measurements.

        Raises:
            RefusedFile: not readable, no such array, another shape, nothing measured, or not in metres.
        """
        grid = arrays_of(self.path).get(GRID)
        if grid is None or grid.ndim != 3 or grid.shape[2] != 4:
            found = "no such array" if grid is None else f"its shape is {grid.shape}"
            where = f"{self.path}: {found}; allowed is {GRID} with (rows, columns, 4)"
            raise RefusedFile("depth-shape", "depth maps of an unexpected shape", where, "get the published file")
        distance = grid[..., DISTANCE]
        whole = checked_map(distance, np.ones(distance.shape, bool), "metre", self.path, IMPLAUSIBLE)
        return checked_map(whole.values, (distance > 0) & (distance <= FARTHEST), "metre", self.path, IMPLAUSIBLE)


def find(root: Path, problems: list[Problem]) -> list[DepthCase]:
    """Find all cases of the official parts; the group of "img-math7-p-282t0.jpg" is the place, "math7"."""
    cases = []
    for split, folder, depth_folders in FOLDERS:
        images = files_by_key(root, f"{folder}*/*.jpg", rf"{folder}\w*/img-(.+)\.jpg", problems)
        name = rf"(?:{depth_folders})/(?:.+/)?depth_sph_corr-(.+)\.mat"
        depths = files_by_key(root, "**/depth_sph_corr-*.mat", name, problems)
        for key, image, depth in with_depth(images, _renamed(depths, images), problems):
            cases.append(DepthCase(key, ImageFile(image), LaserGrid(depth), split, key.partition("-p-")[0]))
    return cases


def _renamed(depths: dict[str, Path], images: dict[str, Path]) -> dict[str, Path]:
    """Depth maps by the keys of their images."""
    renamed = {}
    for key, path in depths.items():
        other = key.removeprefix(PREFIX) if key.startswith(PREFIX) else PREFIX + key
        renamed[other if key not in images and other in images and other not in depths else key] = path
    return renamed


LAYOUTS = (
    DepthLayout(
        name="make3d",
        title="Make3D, range images",
        papers=("spatial_lifting",),
        reference="Saxena et al., Make3D: Learning 3D Scene Structure from a Single Still Image, IEEE PAMI 31, 2009",
        url="http://make3d.cs.cornell.edu/data.html",
        licence="not stated: http://make3d.cs.cornell.edu/data.html",
        tree=(
            "Train400Img/img-math7-p-282t0.jpg\nTrain400Depth/depth_sph_corr-math7-p-282t0.mat\n"
            "Test134/img-math13-p-139t0.jpg\nTest134Depth/Gridlaserdata/depth_sph_corr-math13-p-139t0.mat"
        ),
        version="Train400Img, Train400Depth, Test134 and Test134Depth (which may also be called Gridlaserdata)",
        confirmed=(
            "public loaders with the URLs, folders, names and the text of the data set's Readme; not confirmed: that "
            "the prefix 10.21 is missing in one folder (one loader says so)"
        ),
        cases=find,
        unit="metre",
        metres=(0.0, FARTHEST),
        counts={"train": 400, "test": 134},
        same_size=False,
        notes=(
            "depth maps have 55 rows and 305 columns, the upright images 2272 rows and 1704 columns, of the same field "
            "of view: a value is for 41.3 rows and 5.6 columns of the image",
            "readings beyond 81.9 m are left out; scores are customarily computed below 70 m",
            "the paper's 375 + 50 pairs are not these 400 + 134; the authors' publication of 2005 (NIPS) had 425",
        ),
    ),
)
