"""A folder of images with one file that annotates them all: COCO, or a table of run lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.dataset_conversion.annotations.many_images import coco_annotations
from nnunet_ext.dataset_conversion.annotations.run_lengths import RunLengths, runs_by_image
from nnunet_ext.dataset_conversion.cases import Annotation, Case
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.problems import Problem, RefusedFile
from nnunet_ext.dataset_conversion.sources.endings import IMAGE_ENDINGS, composed, ending_of, stem_of


@dataclass(frozen=True)
class CocoSource:
    """Images of a folder with COCO annotations: polygons or run lengths; ``--labels`` names the categories.

    Attributes:
        images: folder of the images.
        file: COCO's JSON file.
    """

    images: Path
    file: Path

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Pair the images with what the file says of them."""
        try:
            annotations: Mapping[str, Annotation] = coco_annotations(self.file)
        except RefusedFile as refused:
            problems.append(refused.problem)
            return []
        return list(_matched(_images(self.images, problems), annotations, self.file, "--coco", problems))


@dataclass(frozen=True)
class RunLengthSource:
    """Images of a folder with a CSV table of run lengths, a row an object or a row an image.

    Attributes:
        images: folder of the images.
        file: the table.
        image_column: column with the image's file name, with or without ending.
        runs_column: column with "start length start length ...", 1-based.
        order: "columns" if runs go down (Kaggle's usual form), "rows" if they go along.
    """

    images: Path
    file: Path
    image_column: str = "ImageId"
    runs_column: str = "EncodedPixels"
    order: str = "columns"

    def cases(self, problems: list[Problem], notes: Counter[str]) -> list[Case]:
        """Pair the images with their rows."""
        try:
            rows = runs_by_image(self.file, self.image_column, self.runs_column)
        except RefusedFile as refused:
            problems.append(refused.problem)
            return []
        annotations = {name: RunLengths(self.file, runs, None, self.order) for name, runs in rows.items()}
        return list(_matched(_images(self.images, problems), annotations, self.file, "--rle", problems))


def _images(folder: Path, problems: list[Problem]) -> list[Path]:
    if not folder.is_dir():
        where, remedy = f"{folder} (-i) is not a folder", "correct the path after -i"
        problems.append(Problem("folder-missing", "folder not found", where, remedy))
        return []
    images = [p for p in sorted(folder.iterdir()) if ending_of(p) in IMAGE_ENDINGS and not p.name.startswith(".")]
    if not images:
        where = f"{folder} (-i) holds no file that ends in {' '.join(IMAGE_ENDINGS)}"
        remedy = "name the folder that holds the images directly"
        problems.append(Problem("folder-empty", "no images in a folder", where, remedy))
    return images


def _matched(
    images: list[Path], annotations: Mapping[str, Annotation], file: Path, flag: str, problems: list[Problem]
) -> Iterator[Case]:
    used = set()
    key_of = {composed(key): key for key in annotations}
    for path in images:
        keys = [key_of[name] for name in map(composed, (path.name, stem_of(path))) if name in key_of]
        if keys:
            used.add(keys[0])
            yield Case(composed(stem_of(path)), ImageFile(path), annotations[keys[0]])
            continue
        where = f"{path}: {file} ({flag}) says nothing of it"
        remedy = "add it there without objects if it shows none, or move the image out of the folder"
        problems.append(Problem("mask-missing", "images without a mask", where, remedy))
    for key in sorted(annotations.keys() - used) if images else ():
        where = f"{file} ({flag}) names {key!r}, which is not in {images[0].parent}"
        problems.append(Problem("image-missing", "masks without an image", where, "add the images, or correct -i"))
