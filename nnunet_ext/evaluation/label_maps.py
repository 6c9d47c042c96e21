"""Label maps as nnU-Net's readers give them: whole numbers, an axis less for planes, spacing in the file's unit."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nnunet_ext.evaluation.classes import LARGEST_LABEL
from nnunet_ext.evaluation.problems import EvaluationError, Problem, RefusedCase

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".nii.gz", ".nii", ".nrrd", ".mha", ".gipl")
PICTURES = "NaturalImage2DIO"  # nnU-Net's reader of files that know no length


@dataclass(frozen=True)
class LabelMap:
    """One file.

    Attributes:
        labels: `(H, W)` or `(D, H, W)` int32.
        spacing: size of a pixel along each axis, in the reader's unit.
    """

    labels: npt.NDArray[np.int32]
    spacing: tuple[float, ...]


def reader_for(ending: str, dataset: Mapping[str, Any], example: Path) -> type:
    """Return the class of nnU-Net that reads these files: dataset.json's own, else the first that reads `example`.

    Raises `EvaluationError` if there is none.
    """
    from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES, recursive_find_reader_writer_by_name

    wanted = dataset.get("overwrite_image_reader_writer", "None")
    if wanted not in (None, "None"):
        try:
            return cast(type, recursive_find_reader_writer_by_name(wanted))
        except RuntimeError:
            raise EvaluationError(
                f"dataset.json wants the reader {wanted}, which this nnU-Net lacks: mend overwrite_image_reader_writer"
            ) from None
    able = [kind for kind in LIST_OF_IO_CLASSES if ending.lower() in kind.supported_file_endings]
    if not able:
        raise EvaluationError(f"nnU-Net reads no {ending} files; it reads {', '.join(ENDINGS)}")
    for kind in able if len(able) > 1 else ():
        with contextlib.suppress(RefusedCase):
            read_label_map(example, kind, "")
            return cast(type, kind)
    return cast(type, able[0])


def unit_of(reader: type) -> str:
    """Return "px" if a reader's files know no length, else "mm"."""
    return "px" if reader.__name__ == PICTURES else "mm"


def read_label_map(path: Path, reader: type, case: str) -> LabelMap:
    """Read one file; an axis of one plane is dropped, so that its lengths are those of a plane.

    Raises `RefusedCase` if it cannot be read, has several channels, or holds anything but whole numbers from 0.
    """
    where = f"{case}: {path}" if case else str(path)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # readers warn of missing spacings for each file
            data, properties = reader().read_seg(str(path))
    except Exception as error:  # whatever a reader raises, the file is at fault
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _refused("unreadable", "a file cannot be read", f"{where} ({text})", "write the file again") from error
    if len(data) != 1:
        remedy = "write label maps with one channel; `nnunet_ext convert` does it for colour and palette masks"
        raise _refused("channels", "a label map has several channels", f"{where} ({len(data)})", remedy)
    array, spacing = data[0], tuple(float(s) for s in properties["spacing"])
    if array.ndim == 3 and len(array) == 1:
        array, spacing = array[0], spacing[-2:]
    return LabelMap(_whole(array, where), spacing)


def _whole(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.int32]:
    lowest, highest = (array.min(), array.max()) if array.size else (0, 0)
    if lowest >= 0 and highest <= LARGEST_LABEL:  # False for NaN
        labels = array.astype(np.int32)
        if np.array_equal(labels.astype(array.dtype), array):
            return labels
    what = f"a label map holds other values than whole numbers from 0 to {LARGEST_LABEL}"
    found = f"{where} ({lowest:g} to {highest:g})"
    raise _refused("values", what, found, "write label maps, not pictures or probabilities")


def _refused(code: str, what: str, where: str, remedy: str) -> RefusedCase:
    return RefusedCase(Problem(code, what, where, remedy))
