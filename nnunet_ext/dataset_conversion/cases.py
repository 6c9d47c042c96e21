"""One case of a data set to be converted: where its image and its mask come from, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.legend import Legend
    from nnunet_ext.dataset_conversion.masks import DecodedMask
    from nnunet_ext.dataset_conversion.pixels import DecodedImage, Reading

SPLITS = ("train", "val", "test")


class ImageSource(Protocol):
    """Where the pixels of an image come from. Implementations are frozen dataclasses, so that workers get them."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read; the first one is named in messages and in ``cases.csv``."""

    def read(self, rules: Reading) -> DecodedImage:
        """Decode to grey or RGB.

        Raises:
            RefusedFile: if a file cannot be used.
        """


class Annotation(Protocol):
    """Where the labels of an image come from: a mask file, several, run lengths, polygons."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read; ``cases.csv`` has all of them, messages name the first one."""

    def read(self, legend: Legend, shape: tuple[int, int]) -> DecodedMask:
        """Decode to nnU-Net's labels.

        Args:
            legend: what values, colours and class names mean.
            shape: (H, W) of the image, for annotations that do not know their own size.

        Raises:
            RefusedFile: if a file cannot be used.
        """


@dataclass(frozen=True)
class Case:
    """One image with what belongs to it.

    Attributes:
        name: nnU-Net's case identifier.
        image: source of the image.
        mask: source of the labels; None for a test image without reference.
        split: "train", "val" or "test". Training and validation go to ``imagesTr``, test to ``imagesTs``.
        group: what must not be torn apart by a split, such as the patient or the video; "" if each image is its own.
        structure: what is segmented, such as "Polyp"; "" if it is the same everywhere.
        modality: how the image was made, such as "Colonoscopy".
    """

    name: str
    image: ImageSource
    mask: Annotation | None = None
    split: str = "train"
    group: str = ""
    structure: str = ""
    modality: str = ""

    @property
    def is_test(self) -> bool:
        """Whether the case goes to ``imagesTs``."""
        return self.split == "test"
