"""The flags of `convert`, and what they mean for the converter."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.cli.convert_ways import WAYS, chosen_way
from nnunet_ext.cli.errors import CommandLineError

if TYPE_CHECKING:
    from nnunet_ext.dataset_conversion.datasets import DatasetLayout
    from nnunet_ext.dataset_conversion.options import Options
    from nnunet_ext.dataset_conversion.sources import Source


def add_convert(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `convert`."""
    sub.add_argument("-d", type=int, metavar="ID", help="dataset id, 1 to 999")
    sub.add_argument("-n", metavar="NAME", help="dataset name, letters, digits, - and _")
    _add_sources(sub.add_argument_group("where the data are"))
    _add_meaning(sub.add_argument_group("what the masks mean"))
    _add_reading(sub.add_argument_group("how files are read"))
    _add_splits(sub.add_argument_group("what trains, validates and tests"))
    output = sub.add_argument_group("what is written")
    output.add_argument("--dry-run", action="store_true", help="look at everything, say what is wrong, write nothing")
    output.add_argument("--report", type=Path, metavar="FILE.csv", help="all problems and warnings as a table")
    output.add_argument("--overwrite", action="store_true", help="replace the dataset of this id and name")
    output.add_argument(
        "--link", action="store_true", help="hard links instead of copies of files that are right as they are"
    )
    output.add_argument("-np", type=int, metavar="N", help="number of processes (default: number of cores)")


def _add_sources(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-i", type=Path, metavar="IMAGES", help="folder of training images, or of a dataset")
    group.add_argument("-m", type=Path, metavar="MASKS", help="folder of their masks, same stems")
    group.add_argument("--image-suffix", default="", help="end of the images' stems that the masks lack, e.g. _img")
    group.add_argument("--mask-suffix", default="", help="end of the masks' stems that the images lack, e.g. _mask")
    group.add_argument("--val-images", type=Path, metavar="DIR", help="folder of validation images: fold 0")
    group.add_argument("--val-masks", type=Path, metavar="DIR", help="folder of their masks")
    group.add_argument("--test-images", type=Path, metavar="DIR", help="folder of test images")
    group.add_argument("--test-masks", type=Path, metavar="DIR", help="folder of their masks, for evaluation")
    about = "matches each image's path below -i; (?P<case>...) names it, also (?P<group>, structure, modality, split"
    group.add_argument("--image-regex", metavar="REGEX", help=f"{about}>...)")
    about = "matches the masks below -m (or -i) with the same (?P<case>...); several of a case are united"
    group.add_argument("--mask-regex", metavar="REGEX", help=f"{about}, or are classes by (?P<label>...)")
    group.add_argument("--train-list", type=Path, metavar="FILE", help="text file with an image a line, and its mask")
    group.add_argument("--val-list", type=Path, metavar="FILE", help="the same for validation")
    group.add_argument("--test-list", type=Path, metavar="FILE", help="the same for test")
    group.add_argument(
        "--replace", nargs=2, metavar=("OLD", "NEW"), help="in a list's folders, to get those of the masks"
    )
    group.add_argument(
        "--manifest", type=Path, metavar="FILE", help="CSV or JSON: image, mask, case, split, group, ..."
    )
    group.add_argument("--root", type=Path, metavar="DIR", help="folder that paths in lists and manifests start at")
    group.add_argument("--coco", type=Path, metavar="FILE", help="COCO annotations of the images in -i")
    group.add_argument("--rle", type=Path, metavar="FILE", help="CSV with run lengths of the images in -i")
    group.add_argument(
        "--rle-columns", nargs=2, metavar=("IMAGE", "RUNS"), default=("ImageId", "EncodedPixels"), help="its columns"
    )
    group.add_argument("--rle-order", choices=("columns", "rows"), default="columns", help="runs go down or along")
    group.add_argument("--dataset", metavar="NAME", help="a published dataset in its own layout, in the folder -i")
    about = "list the published datasets, or show one: layout, licence, counts"
    group.add_argument("--list", nargs="?", const="", metavar="NAME", help=about)


def _add_meaning(group: argparse._ArgumentGroup) -> None:
    about = "foreground is above this value, for masks with others than 0/1/255"
    group.add_argument("--threshold", type=int, help=about)
    group.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=WHAT",
        help="classes by value (road=3), range (car=26-31), colour (car=#404080) or polygon class (car=Car); several "
        "with commas; without it, masks are binary",
    )
    about = "pixels of this value (255), range or colour are neither learnt nor scored"
    group.add_argument("--ignore", metavar="WHAT", help=about)
    group.add_argument("--other", choices=("refuse", "background", "ignore"), help="what --labels does not name")
    about = "region-based training, e.g. whole=edema,core core=core"
    group.add_argument("--regions", nargs="+", metavar="NAME=CLASSES", help=about)


def _add_reading(group: argparse._ArgumentGroup) -> None:
    about = "EXIF orientation: turn the pixels as viewers do, or ignore it"
    group.add_argument("--exif", choices=("refuse", "turn", "ignore"), default="refuse", help=about)
    group.add_argument("--alpha", choices=("refuse", "drop"), default="refuse", help="transparency")
    about = "write three channels or one; auto: three if any image has colour"
    group.add_argument("--color", choices=("auto", "rgb", "grey"), default="auto", help=about)


def _add_splits(group: argparse._ArgumentGroup) -> None:
    about = r"found in case names: '(?P<group>p\d+)_' keeps a patient together; also structure, modality"
    group.add_argument("--group-regex", metavar="REGEX", help=about)
    group.add_argument("--folds", type=int, metavar="N", help="folds of the cross-validation (default: 5)")
    group.add_argument("--val-share", type=float, metavar="S", help="one validation part instead, e.g. 0.3")
    group.add_argument("--test-share", type=float, metavar="S", help="hold this share out for test, e.g. 0.3")
    group.add_argument("--seed", type=int, default=12345, help="of the shuffling (default: nnU-Net's 12345)")
    about = "take official parts although a group is in several"
    group.add_argument("--allow-straddling", action="store_true", help=about)
    about = "pictures that are in two parts: keep them, or drop the copy that trains"
    group.add_argument("--duplicates", choices=("refuse", "keep", "drop"), default="refuse", help=about)
    group.add_argument("--partial", action="store_true", help="take an incomplete published dataset")


def source_of(args: argparse.Namespace, layout: DatasetLayout | None) -> Source:
    """Return where the cases come from.

    Raises:
        CommandLineError: none of the ways is complete, two are mixed, or the chosen one does not read a flag.
    """
    from nnunet_ext.dataset_conversion import sources

    way = chosen_way(args)
    if way == "--manifest":
        return sources.ManifestSource(args.manifest, args.root)
    if way == "--train-list":
        lists = {"train": args.train_list, "val": args.val_list, "test": args.test_list}
        given = {part: file for part, file in lists.items() if file is not None}
        replaced = tuple(args.replace) if args.replace else None
        return sources.ListSource(given, args.root, args.m, args.image_suffix, args.mask_suffix, replaced)
    if args.i is None:
        raise CommandLineError(f"-i is missing. {WAYS}")
    if layout is not None:
        return sources.PublishedSource(layout, args.i)
    if way == "--coco":
        return sources.CocoSource(args.i, args.coco)
    if way == "--rle":
        return sources.RunLengthSource(args.i, args.rle, args.rle_columns[0], args.rle_columns[1], args.rle_order)
    if way == "--image-regex":
        if args.image_regex is None or args.mask_regex is None:
            raise CommandLineError("--image-regex and --mask-regex go together; one of them is missing.")
        return sources.PatternSource(args.i, args.m or args.i, args.image_regex, args.mask_regex)
    return _folders(args)


def _folders(args: argparse.Namespace) -> Source:
    from nnunet_ext.dataset_conversion import sources

    if args.m is None and args.image_suffix == args.mask_suffix:
        raise CommandLineError(f"-m is missing. {WAYS}")
    beside = args.m is None  # masks lie beside the images, told apart by the suffix
    parts = {"train": (args.i, args.i if beside else args.m)}
    for part, images, masks in (
        ("val", args.val_images, args.val_masks),
        ("test", args.test_images, args.test_masks),
    ):
        if images is not None or masks is not None:
            parts[part] = (images, images if beside and masks is None else masks)
    return sources.FolderSource(parts, args.image_suffix, args.mask_suffix)


def options_of(args: argparse.Namespace, layout: DatasetLayout | None) -> Options:
    """Return what the flags say, and where they say nothing, what a published data set needs."""
    from nnunet_ext.dataset_conversion.options import Options
    from nnunet_ext.dataset_conversion.pixels import Reading
    from nnunet_ext.dataset_conversion.splits import NNUNETS_FOLDS, SplitRule
    from nnunet_ext.parallel import usable_cores

    if args.np is not None and args.np < 1:
        raise CommandLineError(f"-np {args.np}: allowed are 1 and more.")
    declared = _declared(layout)
    shares = {name: getattr(args, name) for name in ("folds", "val_share", "test_share")}
    if layout is not None and args.folds is None and args.val_share is None:
        shares["val_share"] = layout.val_share
    if layout is not None and args.test_share is None:
        shares["test_share"] = layout.test_share
    return Options(
        labels=args.labels if args.labels is not None else declared["labels"],
        ignore=args.ignore if args.ignore is not None or args.labels is not None else declared["ignore"],
        threshold=args.threshold if args.threshold is not None or args.labels is not None else declared["threshold"],
        other=args.other or ("refuse" if args.labels is not None else declared["other"]),
        regions=args.regions if args.regions is not None or args.labels is not None else declared["regions"],
        reading=Reading(args.exif, args.alpha, args.color),
        group_regex=args.group_regex,
        splits=SplitRule(
            **shares,
            seed=args.seed,
            straddling=args.allow_straddling or layout is not None,
            usual_folds=layout.folds if layout else NNUNETS_FOLDS,
        ),
        duplicates=args.duplicates,
        expected=dict(layout.counts) if layout else {},
        partial=args.partial,
        about=_about(layout),
        overwrite=args.overwrite,
        link=args.link,
        workers=args.np or usable_cores(),
    )


def _declared(layout: DatasetLayout | None) -> dict[str, Any]:
    if layout is None:
        return {"labels": None, "ignore": None, "threshold": None, "other": "refuse", "regions": None}
    labels: Sequence[str] | None = layout.labels or None
    return {
        "labels": labels,
        "ignore": layout.ignore,
        "threshold": layout.threshold,
        "other": layout.other,
        "regions": layout.regions or None,
    }


def _about(layout: DatasetLayout | None) -> dict[str, str]:
    if layout is None:
        return {}
    return {
        "description": f"{layout.title}; {layout.version}",
        "reference": layout.reference,
        "licence": layout.licence,
    }
