"""`convert`: data into nnU-Net raw format."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cli.convert_flags import add_convert, options_of, source_of
from nnunet_ext.cli.convert_report import (
    print_diagnosis,
    print_dry_run,
    print_layouts,
    print_result,
    progress_bars,
    refuse_unusable_report,
    write_report,
)
from nnunet_ext.cli.errors import CommandLineError

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.datasets import DatasetLayout
    from nnunet_ext.dataset_conversion.options import Target

__all__ = ["add_convert", "convert"]


def convert(args: argparse.Namespace) -> int:
    """Convert 2D images and their annotations into nnU-Net raw format; look at everything first."""
    from nnunet_ext.dataset_conversion.convert import diagnose

    if args.list is not None:
        return print_layouts(args.list)
    if args.report is not None:
        refuse_unusable_report(args.report)
    layout = _layout(args.dataset)
    source = source_of(args, layout)
    target = _target(args, layout)
    _refuse_known_id(target.dataset_id, target.name)
    with progress_bars() as progress:
        diagnosis = diagnose(source, target, options_of(args, layout), progress)
    print_diagnosis(diagnosis)
    if args.report is not None:
        write_report(diagnosis, args.report)
    if args.dry_run:
        return print_dry_run(diagnosis)
    try:
        with progress_bars() as progress:
            result = diagnosis.write(progress)
    except OSError as error:
        place = target.raw if error.errno == errno.ENOSPC else error.filename or target.raw
        raise CommandLineError(
            f"{place}: {error.strerror or error}. The data set was not written, and nothing half-written was left. "
            "Free space, or get the right to write there, or set nnUNet_raw and nnUNet_preprocessed to other folders; "
            "then type the same command again."
        ) from error
    print_result(result, target)
    return 0


def _layout(name: str | None) -> DatasetLayout | None:
    if name is None:
        return None
    from nnunet_ext.dataset_conversion.datasets import find_layout

    return find_layout(name)


def _target(args: argparse.Namespace, layout: DatasetLayout | None) -> Target:
    from nnunet_ext.dataset_conversion.options import Target

    name = args.n or (layout.name if layout else None)
    if args.d is None or name is None:
        missing = "-d ID" if args.d is None else "-n NAME"
        raise CommandLineError(
            f"{missing} is missing. Type for example: nnunet_ext convert -i IMAGES -m MASKS -d 501 -n Polyps"
        )
    folders = {}
    for variable, kind in (("nnUNet_raw", "datasets"), ("nnUNet_preprocessed", "preprocessed data")):
        if not os.environ.get(variable):
            raise CommandLineError(
                f"{variable} is not set. Type: export {variable}=/a/folder/for/{kind.replace(' ', '_')}"
            )
        folders[variable] = Path(os.environ[variable])
    return Target(args.d, name, folders["nnUNet_raw"], folders["nnUNet_preprocessed"])


def _refuse_known_id(dataset_id: int, name: str) -> None:
    """NnU-Net looks an id up in all three of its folders, and takes none if they disagree."""
    for variable in ("nnUNet_preprocessed", "nnUNet_results"):
        folder = os.environ.get(variable)
        for found in Path(folder).glob(f"Dataset{dataset_id:03d}_*") if folder else ():
            if found.name != f"Dataset{dataset_id:03d}_{name}":
                raise CommandLineError(
                    f"{found} has the id {dataset_id} already, under another name than {name}. Choose another -d, "
                    f"or remove that folder if it is not needed."
                )
