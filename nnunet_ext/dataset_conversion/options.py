"""What a user can decide about a conversion: where it goes, and how files are read, divided and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.dataset_conversion.legend import OTHERS
from nnunet_ext.dataset_conversion.pixels import ALPHA_RULES, COLOR_RULES, EXIF_RULES, PLAIN, Reading
from nnunet_ext.dataset_conversion.splits import FIVE_FOLDS, SplitRule
from nnunet_ext.dataset_conversion.writing import SPLITS_FILE

DUPLICATES = ("refuse", "keep", "drop")


@dataclass(frozen=True)
class Target:
    """Where the data set goes.

    Attributes:
        dataset_id: nnU-Net's data set id, 1 to 999, not in use in ``raw``.
        name: letters, digits, "-" and single "_".
        raw: ``nnUNet_raw``; created if it does not exist.
        preprocessed: ``nnUNet_preprocessed``, where nnU-Net looks for ``splits_final.json``; None to leave the file in
            the raw folder only, where nnU-Net does not look.
    """

    dataset_id: int
    name: str
    raw: Path
    preprocessed: Path | None = None

    @property
    def folder(self) -> Path:
        """``Dataset<id>_<name>`` in ``nnUNet_raw``."""
        return self.raw / f"Dataset{self.dataset_id:03d}_{self.name}"

    @property
    def splits_file(self) -> Path | None:
        """``splits_final.json`` where nnU-Net reads it."""
        return None if self.preprocessed is None else self.preprocessed / self.folder.name / SPLITS_FILE


@dataclass(frozen=True)
class Options:
    """How files are read, divided and written; each attribute is a flag of ``nnunet_ext convert``.

    Attributes:
        labels: ``NAME=WHAT`` for each class, see :func:`nnunet_ext.dataset_conversion.legend.legend_from_flags`;
            None for binary masks.
        ignore: values or colours that nnU-Net neither learns nor scores; their label is the highest.
        threshold: foreground is value > threshold; needed if masks hold other values than 0/1 or 0/255.
        other: what becomes of values that no flag names: "refuse", "background" or "ignore".
        regions: ``NAME=CLASS,CLASS`` for region-based training.
        reading: what is done with EXIF orientation, transparency, and grey among colour.
        group_regex: searched in each case name; its named groups ``group``, ``structure``, ``modality`` fill those
            columns.
        splits: how cases are divided.
        duplicates: pictures that are in two parts: "refuse", "keep", or "drop" the copy that trains.
        expected: cases in each part of a complete published data set; {} if not known.
        partial: accept another number of cases than ``expected``.
        about: further entries of ``dataset.json``.
        overwrite: replace a data set of the same id and name. It stays as it is if the conversion fails.
        link: hard links to files that can be used unchanged, instead of copies.
        workers: number of processes; with several, a script needs the guard ``if __name__ == "__main__":``.
    """

    labels: Sequence[str] | None = None
    ignore: int | str | None = None
    threshold: int | None = None
    other: str = "refuse"
    regions: Sequence[str] | None = None
    reading: Reading = PLAIN
    group_regex: str | None = None
    splits: SplitRule = FIVE_FOLDS
    duplicates: str = "refuse"
    expected: Mapping[str, int] = field(default_factory=dict)
    partial: bool = False
    about: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    link: bool = False
    workers: int = 1

    def choices(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """``{flag: (value, allowed)}``."""
        return {
            "--other": (self.other, OTHERS),
            "--exif": (self.reading.exif, EXIF_RULES),
            "--alpha": (self.reading.alpha, ALPHA_RULES),
            "--color": (self.reading.color, COLOR_RULES),
            "--duplicates": (self.duplicates, DUPLICATES),
        }
