"""`convert`: data into nnU-Net raw format."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cli.errors import CommandLineError

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.convert import ConversionResult, LabelShare


def add_convert(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `convert`."""
    sub.add_argument("-i", type=Path, required=True, metavar="IMAGES", help="folder of training images")
    sub.add_argument("-m", type=Path, required=True, metavar="MASKS", help="folder of their masks, same stems")
    sub.add_argument("-d", type=int, required=True, metavar="ID", help="dataset id, 1 to 999")
    sub.add_argument("-n", required=True, metavar="NAME", help="dataset name, letters, digits, - and _")
    sub.add_argument("--image-suffix", default="", help="end of the images' stems that the masks lack, e.g. _img")
    sub.add_argument("--mask-suffix", default="", help="end of the masks' stems that the images lack, e.g. _mask")
    sub.add_argument("--test-images", type=Path, metavar="DIR", help="folder of test images")
    sub.add_argument("--test-masks", type=Path, metavar="DIR", help="folder of their masks, for evaluation")
    sub.add_argument("--threshold", type=int, help="foreground is above this value, for masks with others than 0/1/255")
    sub.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=VALUE",
        help="classes by their value in the masks, e.g. background=0 road=3 car=8; without it, masks are binary",
    )
    sub.add_argument("--ignore", type=int, metavar="VALUE", help="pixels of this value are neither learnt nor scored")
    sub.add_argument("--overwrite", action="store_true", help="replace the dataset of this id and name")


def convert(args: argparse.Namespace) -> int:
    """Convert image and mask pairs into nnU-Net raw format."""
    from nnunet_ext.dataset_conversion.convert import convert as run

    raw = os.environ.get("nnUNet_raw")
    if not raw:
        raise CommandLineError("nnUNet_raw is not set. Type: export nnUNet_raw=/a/folder/for/datasets")
    _refuse_known_id(args.d, args.n)
    result = run(
        args.i, args.m, args.d, args.n, Path(raw), image_suffix=args.image_suffix, mask_suffix=args.mask_suffix,
        test_images=args.test_images, test_masks=args.test_masks, threshold=args.threshold,
        labels=args.labels, ignore=args.ignore, overwrite=args.overwrite, progress=print,
    )  # fmt: skip
    _print_labels(result.labels)
    for note in result.notes:
        print(f"note: {note}")
    print(
        f"{result.dataset_folder}: {result.n_train} training and {result.n_test} test images "
        f"({result.n_test_labels} with masks), {result.image_mode}, {_content(result)}"
    )
    print(f"next: nnUNetv2_plan_and_preprocess -d {args.d} -c 2d --verify_dataset_integrity")
    return 0


def _content(result: ConversionResult) -> str:
    n_classes = sum(label.name not in ("background", "ignore") for label in result.labels)
    return f"{n_classes} classes" if n_classes > 1 else f"{100 * result.foreground_share:.1f} % foreground"


def _print_labels(labels: Sequence[LabelShare]) -> None:
    if labels:
        width = max(len(label.name) for label in labels)
        print(f"{'label':5}  {'name':{width}}  in masks  of the training pixels")
    for label in labels:
        value = "-" if label.value is None else label.value
        print(f"{label.label:5}  {label.name:{width}}  {value:>8}  {100 * label.share:8.3f} %")


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
