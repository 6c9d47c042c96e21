"""A folder of images with one file that annotates them all: COCO, or a table of run lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
        images: folder of the images, and of the sub-folders that the file's names have.
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
        return list(_matched(self.images, annotations, self.file, "--coco", problems))


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
        return list(_matched(self.images, annotations, self.file, "--rle", problems))


def _images(folder: Path, names: Iterable[str], problems: list[Problem]) -> list[str]:
    """Paths below ``folder``, with "/", of the images in it and in those of its sub-folders that ``names`` names."""
    if not folder.is_dir():
        where, remedy = f"{folder} (-i) is not a folder", "correct the path after -i"
        problems.append(Problem("folder-missing", "folder not found", where, remedy))
        return []
    inside = [PurePosixPath(name).parent for name in map(_posix, names)]
    parents = {PurePosixPath(), *(parent for parent in inside if not parent.is_absolute() and ".." not in parent.parts)}
    images = [
        (parent / path.name).as_posix()
        for parent in sorted(parents)
        for path in (sorted((folder / parent).iterdir()) if (folder / parent).is_dir() else ())
        if ending_of(path) in IMAGE_ENDINGS and not path.name.startswith(".")
    ]
    if not images:
        where = f"{folder} (-i) holds no file that ends in {' '.join(IMAGE_ENDINGS)}"
        remedy = "name the folder that holds the images directly, or that the paths in the annotations start at"
        problems.append(Problem("folder-empty", "no images in a folder", where, remedy))
    return images


def _matched(
    folder: Path, annotations: Mapping[str, Annotation], file: Path, flag: str, problems: list[Problem]
) -> Iterator[Case]:
    """Pair by the path below ``folder``, with or without ending; the case is called by its stem if no two share it."""
    images = _images(folder, annotations, problems)
    used = set()
    key_of = {_posix(key): key for key in annotations}
    stems = Counter(stem_of(Path(image)) for image in images)
    for image in images:
        path, stem = folder / image, stem_of(Path(image))
        bare = image[: len(image) - len(ending_of(path))]
        keys = [key_of[name] for name in map(composed, (image, bare)) if name in key_of]
        if keys:
            used.add(keys[0])
            name = stem if stems[stem] == 1 else bare.replace("/", "_")
            yield Case(composed(name), ImageFile(path), annotations[keys[0]])
            continue
        where = f"{path}: {file} ({flag}) says nothing of it"
        remedy = "add it there without objects if it shows none, or move the image out of the folder"
        problems.append(Problem("mask-missing", "images without a mask", where, remedy))
    for key in sorted(annotations.keys() - used) if images else ():
        where = f"{file} ({flag}) names {key!r}, which is not in {folder}"
        problems.append(Problem("image-missing", "masks without an image", where, "add the images, or correct -i"))


def _posix(name: str) -> str:
    """Return a path of an annotation file as the paths of images are compared: with "/", accents composed."""
    return PurePosixPath(composed(name).replace("\\", "/")).as_posix()
