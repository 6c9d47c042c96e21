"""What a user gets of the offset vectors: a file of arrays and a picture a case, each whole or not there."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from nnunet_ext.inference.gathering import unwrapped
from nnunet_ext.inference.offset_fields import OffsetFields, OffsetGatherer, has_offsets
from nnunet_ext.inference.offset_maps import OffsetMaps, maps_of
from nnunet_ext.inference.predictor import QualityPredictor, reason
from nnunet_ext.inference.slices import lifted_network

FOLDER = "offsets"


class OffsetError(RuntimeError):
    """Offset vectors cannot be had as asked; the message says why and what to type."""


class OffsetReport:
    """Listens to a predictor and writes `offsets/NAME.npz` and `offsets/NAME.png` into the folder of predictions.

    The arrays of NAME.npz lie on the grid of the predicted file, in the order in which nnU-Net reads it, as those of
    its own `--save_probabilities` do:

    - `offsets`: `(n, *S)` float16 voxels (a vector's error is below 0.05 %), the mean over passes, windows and folds;
    - `axes`: (n,) the axis of S along which each channel of `offsets` points: in-plane axes for 2D configurations;
    - `confidence`: `(*S)` float16, F, 0 to 1;
    - `initial`: `(*S)` uint8 or uint16, the labels before the refinement.

    Args:
        say: takes a line for the user.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self._say = say
        self._predictor: QualityPredictor | None = None
        self._folder: Path | None = None
        self._written, self._keeps = 0, False
        self._without: list[str] = []  # cases

    # ---------------------------------------------------------------- before work

    def gatherer(self, predictor: QualityPredictor) -> OffsetGatherer:
        """Return what gathers the network's offset vectors.

        Raises:
            OffsetError: if it has none, or images are predicted at several scales.
        """
        network = unwrapped(predictor.network)
        if lifted_network(network) is not None:
            raise OffsetError(
                f"--save-offsets writes one field of vectors of an image; of {predictor.trainer_name}, a lifted "
                "network, each slice has its own, if any. Leave --save-offsets out to predict without them."
            )
        if network is None or not has_offsets(network):
            raise OffsetError(
                "--save-offsets needs a network with offset vectors (nnUNetTrainerOVeNet, or nnUNetTrainerExt_<parts> "
                f"with OVe); {predictor.trainer_name} has none. Leave --save-offsets out to predict without them."
            )
        if predictor.scales is not None:
            raise OffsetError(
                f"--save-offsets writes one field of vectors, but --scales {predictor.scales} gives one at each scale. "
                "Leave --scales or --save-offsets out."
            )
        self._predictor = predictor
        return OffsetGatherer(network)

    def folder(self, path: str, keep: bool, part: int = 0, n_parts: int = 1) -> None:
        """Make the folder; each case has files of its own, so that parts of a divided prediction share it.

        Raises:
            OffsetError: if it cannot be made.
        """
        folder = Path(path) / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OffsetError(
                f"--save-offsets writes to the folder {folder}, which cannot be made ({reason(error)}). "
                "Move what stands there away, or choose another folder with -o."
            ) from error
        self._folder, self._keeps = folder, keep

    # ---------------------------------------------------------------- cases

    def case(self, name: str, found: OffsetFields, image: Tensor) -> None:
        """Write a case; a picture that cannot be drawn costs nothing but itself.

        Raises:
            OffsetError: if it is not known where the image lies in its file.
        """
        if self._folder is None or self._predictor is None:
            return
        if self._predictor.properties is None:
            raise OffsetError("nnU-Net does not say here how it preprocessed the image")
        maps = maps_of(found, image, self._predictor.properties, self._predictor)
        self._remove(name)
        with _whole(self._folder / f"{name}.npz") as file:
            _save(file, maps)
        self._written += 1
        from nnunet_ext.inference import offset_picture

        try:
            with _whole(self._folder / f"{name}.png") as file:
                offset_picture.draw(file, name, maps)
        except Exception as error:  # matplotlib and Pillow raise many kinds
            self._say(f"warning: no picture of the offsets of {name} ({reason(error)})")

    def failed(self, name: str, why: str) -> None:
        """Say that a case has no offsets; those of an earlier prediction of it go."""
        self._without.append(name)
        self._say(f"warning: no offsets of {name} ({why}); its prediction is not affected")
        with contextlib.suppress(OSError):  # said already, if that is why
            self._remove(name)

    def finish(self) -> None:
        """Say how many cases have offsets, and where."""
        if self._without:
            self._say(f"warning: {len(self._without)} cases have no offsets: {', '.join(self._without)}")
        if self._keeps and not self._written and not self._without:
            self._say("no case was predicted now: finished cases are not predicted again, nor are their offsets made")
        if self._written:
            self._say(f"offset vectors of {self._written} cases: {self._folder}")

    def _remove(self, name: str) -> None:
        for ending in ("npz", "png") if self._folder is not None else ():
            (self._folder / f"{name}.{ending}").unlink(missing_ok=True)  # type: ignore[operator]


def _save(file: IO[bytes], maps: OffsetMaps) -> None:
    np.savez_compressed(
        file,
        offsets=maps.offsets.astype(np.float16),
        axes=np.array(maps.axes),
        confidence=maps.confidence.astype(np.float16),
        initial=maps.initial,
    )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when it is written, so that what has the name is whole."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
