"""``cases.csv``: what is known about each case, for evaluation to join; nnU-Net does not read it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.inspecting import Finding

COLUMNS = (
    *("case", "split", "group", "structure", "modality", "image", "mask", "width", "height", "source_mode"),
    *("foreground_share", "labels", "thresholded_pixels", "image_sha256", "mask_sha256", "pixels_hash", "labels_hash"),
)


def cases_csv(cases: Sequence[Case], findings: Sequence[Finding], ignore_label: int | None) -> str:
    """Return the table as text, a row a case.

    Columns: ``case``; ``split`` (train, val, test); ``group``, ``structure``, ``modality`` (empty if not known);
    ``image``, absolute path of the first source file; ``mask``, of all mask files, apart by ";"; ``width`` and
    ``height`` in pixels; ``source_mode``, format and Pillow mode; ``foreground_share``, pixels of all classes but
    background over all that are not ignored; ``labels`` that occur, apart by blanks; ``thresholded_pixels``, that
    were not 0, 1 or 255; SHA-256 checksums of the source files; hashes of the decoded picture and of the
    labels as written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for case, finding in zip(cases, findings, strict=True):
        mask = "" if case.mask is None else ";".join(map(_text, case.mask.files))
        table.writerow(
            [
                *(case.name, case.split, case.group, case.structure, case.modality),
                *(_text(case.image.files[0]), mask, *finding.size, finding.source_mode),
                _share(finding.label_pixels, ignore_label),
                " ".join(map(str, finding.label_pixels)),
                finding.stray_pixels if mask else "",
                *(finding.image_sha256, finding.mask_sha256, finding.pixel_hash, finding.label_hash),
            ]
        )
    return text.getvalue()


def _share(pixels: dict[int, int], ignore_label: int | None) -> str:
    total = sum(n for label, n in pixels.items() if label != ignore_label)
    return f"{(total - pixels.get(0, 0)) / total:.6f}" if total else ""


def _text(path: Path) -> str:
    """Return the same text wherever the conversion was started; links are not followed."""
    return os.path.abspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
