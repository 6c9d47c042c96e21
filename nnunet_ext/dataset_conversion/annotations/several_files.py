"""One image's labels in several mask files: a file for each object, or a file for each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_ext.dataset_conversion.annotations.foreground import labels_of_objects
from nnunet_ext.dataset_conversion.legend import Legend
from nnunet_ext.dataset_conversion.masks import DecodedMask, read_mask
from nnunet_ext.dataset_conversion.problems import RefusedFile

NOBODY = -1  # pixels that no file has marked yet


@dataclass(frozen=True)
class InstanceFiles:
    """Binary mask files of one image, one object each; what any of them marks is foreground.

    Attributes:
        paths: the files. None at all is an image without objects, if ``folder`` says where they would be.
        folder: named in messages if there are no files.
    """

    paths: tuple[Path, ...]
    folder: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The mask files, or the folder without any."""
        return self.paths or ((self.folder,) if self.folder else ())

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Join the files.

        Raises:
            RefusedFile: "mask-none" without files and folder, "masks-disagree" for files of different sizes; see
                :func:`nnunet_ext.dataset_conversion.masks.read_mask` for each file.
        """
        if not self.files:
            what, remedy = "images without mask files", "add the mask files, or remove the image"
            raise RefusedFile("mask-none", what, "an image has an empty list of mask files", remedy)
        union = np.zeros(shape, bool)
        for index, marked in enumerate(_binary_masks(self.paths, legend)):
            union = marked.copy() if index == 0 else union | marked
        return labels_of_objects(union, legend, self.files[0], "several files")


@dataclass(frozen=True)
class ClassFiles:
    """Binary mask files of one image, one class each; where two overlap, the later one in ``--labels`` wins.

    Attributes:
        path_of_class: (class name, file) pairs. The names are what ``--labels`` calls classes of polygon files.
    """

    path_of_class: tuple[tuple[str, Path], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The mask files."""
        return tuple(path for _, path in self.path_of_class)

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Write the classes one over the other; with a binary legend all are foreground.

        Raises:
            RefusedFile: "mask-none" without files, "masks-disagree" for files of different sizes, "unnamed-class" for
                a class that ``--labels`` lacks; see :func:`nnunet_ext.dataset_conversion.masks.read_mask`.
        """
        if not self.path_of_class:
            what, remedy = "images without mask files", "add the mask files, or remove the image"
            raise RefusedFile("mask-none", what, "an image has an empty list of class files", remedy)
        labelled = sorted((legend.label_of_name(name, path), path) for name, path in self.path_of_class)
        labels_of_files = [label for label, _ in labelled]
        written = overlap = np.full(shape, NOBODY, np.int16)
        for index, marked in enumerate(_binary_masks([path for _, path in labelled], legend)):
            if index == 0:
                written, overlap = np.full(marked.shape, NOBODY, np.int16), np.zeros(marked.shape, bool)
            overlap |= marked & (written != NOBODY) & (written != labels_of_files[index])
            written[marked] = labels_of_files[index]
        labels = np.maximum(written, 0).astype(np.uint8)
        return DecodedMask(labels, "several files", overlap=int(overlap.sum()))


def _binary_masks(paths: Sequence[Path], legend: Legend) -> Iterator[np.ndarray]:
    """Yield (H, W) bool for each file, True in the foreground; all have one size."""
    threshold = legend.threshold if legend.is_binary else None
    first: tuple[int, ...] = ()
    for path in paths:
        marked = read_mask(path, threshold, (), legend.rules).labels > 0
        first = first or marked.shape
        if marked.shape != first:
            where = f"{paths[0]} is {_size(first)}, {path} is {_size(marked.shape)} (width x height)"
            remedy = "export the files of one image again, all in its size"
            raise RefusedFile("masks-disagree", "mask files of one image in different sizes", where, remedy)
        yield marked


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
