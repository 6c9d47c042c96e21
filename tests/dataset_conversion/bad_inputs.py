"""For the table of bad inputs: a place with good pairs to spoil, and the rows, which register themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dataset_conversion.conversion_flags import with_options
from PIL import Image

from nnunet_ext.dataset_conversion.convert import Diagnosis, Options, Target, diagnose
from nnunet_ext.dataset_conversion.sources import FolderSource

SIZE = (32, 40)  # H, W
RGB = np.random.default_rng(5).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
DISC = np.zeros(SIZE, np.uint8)
DISC[4:12, 5:15] = 255
N = 6
Pixels = np.ndarray | Image.Image


def save(pixels: Pixels, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


class Place:
    """Six good RGB pairs, `images/c0.png` and `masks/c0.png`; rows of the table spoil `c3`."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.masks, self.raw = root, root / "images", root / "masks", root / "raw"
        for index in range(N):
            save(np.roll(RGB, index, 0), self.images / f"c{index}.png")
            save(DISC, self.masks / f"c{index}.png")

    @property
    def image(self) -> Path:
        return self.images / "c3.png"

    @property
    def mask(self) -> Path:
        return self.masks / "c3.png"

    def every_image(self, change: Callable[[np.ndarray], Pixels], ending: str = ".png") -> None:
        for path in sorted(self.images.iterdir()):
            pixels = np.asarray(Image.open(path))
            path.unlink()
            save(change(pixels), path.with_suffix(ending))

    def every_mask(self, pixels: Pixels) -> None:
        for path in self.masks.iterdir():
            save(pixels, path)

    def add(self, part: str, name: str, image: Pixels | None = None, mask: Pixels | None = DISC) -> None:
        """Add a pair to `val` or `test`."""
        unseen = np.roll(RGB, 7 + len(list(self.root.rglob("*.png"))), 1)
        save(unseen if image is None else image, self.root / part / "images" / f"{name}.png")
        if mask is not None:
            save(mask, self.root / part / "masks" / f"{name}.png")

    def source(self, **suffixes: str) -> FolderSource:
        parts: dict[str, tuple[Path | None, Path | None]] = {"train": (self.images, self.masks)}
        for part in ("val", "test"):
            if (folder := self.root / part).is_dir():
                parts[part] = (folder / "images", folder / "masks" if (folder / "masks").is_dir() else None)
        return FolderSource(parts, **suffixes)

    def diagnose(self, **more: Any) -> Diagnosis:
        """With what the row returned: a source, id and name, options, or suffixes of the stems."""
        suffixes = {key: more.pop(key) for key in ("image_suffix", "mask_suffix") if key in more}
        source = more.pop("source", None) or self.source(**suffixes)
        preprocessed = more.pop("preprocessed", None)
        target = Target(more.pop("dataset_id", 501), more.pop("name", "Discs"), self.raw, preprocessed)
        progress, options = more.pop("progress", None), with_options(more)
        assert options.keys() == {"options"}
        assert isinstance(options["options"], Options)
        return diagnose(source, target, options["options"], progress)

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


Spoil = Callable[[Place], dict[str, Any] | None]


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        code: of the problem.
        spoil: makes the bad file, and returns flags, if any.
        where: what the problem's place must hold: file or flag, and value.
        remedy: what the remedy must hold.
    """

    code: str
    spoil: Spoil
    where: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}-{getattr(self.spoil, '__name__', '')}"


ERRORS: list[Row] = []
WARNINGS: list[Row] = []


def error(code: str, *where: str, remedy: str) -> Callable[[Spoil], Spoil]:
    """Register a row that must be refused."""
    return _registered(ERRORS, code, where, remedy)


def warning(code: str, *where: str, remedy: str) -> Callable[[Spoil], Spoil]:
    """Register a row that must be converted with a warning."""
    return _registered(WARNINGS, code, where, remedy)


def _registered(rows: list[Row], code: str, where: tuple[str, ...], remedy: str) -> Callable[[Spoil], Spoil]:
    def register(spoil: Spoil) -> Spoil:
        rows.append(Row(code, spoil, where, remedy))
        return spoil

    return register
