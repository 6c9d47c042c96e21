"""`report`: finished trainings compared on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_ext.cli.parser import say


def add_report(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `report`."""
    sub.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    every = "(default: all that are there)"
    sub.add_argument("-c", nargs="+", default=[], metavar="CONFIGURATION", help=f"configurations {every}")
    sub.add_argument("-tr", nargs="+", default=[], metavar="TRAINER", help=f"trainers, stock ones, too {every}")
    sub.add_argument("-p", nargs="+", default=[], metavar="PLANS", help=f"plans identifiers {every}")
    sub.add_argument("-f", nargs="+", default=[], metavar="FOLD", help="folds (default: all finished ones)")
    sub.add_argument("-o", type=Path, metavar="OUT", help="folder (default: nnUNet_results/DATASET/nnunet_ext_report)")
    sub.add_argument(
        "--baseline", metavar="TRAINER", help="the others are compared with it (default: stock nnU-Net, or the first)"
    )
    about = "Dice (default), IoU, precision, recall, specificity, F0.3, E-measure, accuracy, MAE"
    sub.add_argument("--metric", default="Dice", help=about)
    sub.add_argument(
        "--by", metavar="COLUMN", help="of cases.csv, e.g. group, structure (default, if it varies), modality"
    )
    sub.add_argument(
        "--partial", action="store_true",
        help="where something is missing or does not fit, compare the folds that all have, and say so on the page",
    )  # fmt: skip
    sub.add_argument(
        "--repeats", nargs="+", type=Path, default=[], metavar="RESULTS",
        help="other nnUNet_results folders with further trainings of the same trainers",
    )  # fmt: skip


def report(args: argparse.Namespace) -> int:
    """Compare finished folds, and write the report."""
    from nnunet_ext.run.report import make_report
    from nnunet_ext.run.report_request import Request

    request = Request(
        dataset=args.d,
        configurations=tuple(args.c),
        trainers=tuple(args.tr),
        plans=tuple(args.p),
        folds=tuple(args.f),
        output=args.o,
        baseline=args.baseline,
        metric=args.metric,
        by=args.by,
        partial=args.partial,
        repeats=tuple(args.repeats),
    )
    page = make_report(request, say)
    print(f"\nopen {page}")
    return 0
