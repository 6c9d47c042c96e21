"""What every `nnunet_ext inspect` refuses."""

from __future__ import annotations

from pathlib import Path


class InspectionError(RuntimeError):
    """A model, a class or a folder is not one for inspection; the message says what to type."""


def check_output(images: Path, output: Path) -> None:
    """Refuse a folder for pictures that is a file, or in which nnU-Net would take them for images.

    Raises:
        InspectionError: see above.
    """
    if output.resolve() == images.resolve():
        raise InspectionError(f"-o {output}: nnU-Net would take pictures there for images. Choose another -o.")
    if output.exists() and not output.is_dir():
        raise InspectionError(f"-o {output}: is a file. Choose a folder.")
