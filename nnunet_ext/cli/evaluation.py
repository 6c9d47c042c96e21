"""`evaluate`: scores of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cli.convert_report import progress_bars
from nnunet_ext.cli.errors import CommandLineError
from nnunet_ext.cli.evaluation_report import print_evaluation

if TYPE_CHECKING:
    from nnunet_ext.evaluation.evaluation_files import Evaluation

ONLY_IMAGES = ("labels", "ignore", "spacing", "probabilities", "chill")


def add_evaluate(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `evaluate`."""
    sub.add_argument("-r", type=Path, metavar="REFERENCES", help="folder of reference label maps, e.g. labelsTs")
    sub.add_argument("-p", type=Path, metavar="PREDICTIONS", help="folder of predictions, files of the same names")
    about = "in the place of -r and -p: nnU-Net's summary.json; metrics of its counts, no image is read"
    sub.add_argument("--summary", type=Path, metavar="FILE", help=about)
    about = "what the labels are (default: dataset.json beside the predictions or references)"
    sub.add_argument("-djfile", type=Path, metavar="FILE", help=about)
    sub.add_argument("-o", type=Path, metavar="OUT", help="output folder (default: evaluation in the predictions)")
    about = "e.g. dice hd95 nsd; counts, distances, probabilities, all are sets (default: the usual ones)"
    sub.add_argument("--metrics", nargs="+", metavar="NAME", help=about)
    _add_labels(sub.add_argument_group("what is scored"))
    _add_groups(sub.add_argument_group("groups"))
    sub.add_argument("-np", type=int, metavar="N", help="number of processes (default: number of cores)")


def _add_labels(group: argparse._ArgumentGroup) -> None:
    about = "classes in the place of dataset.json's; a region has several labels, as whole=1,2"
    group.add_argument("--labels", nargs="+", default=[], metavar="NAME=LABEL", help=about)
    about = "pixels of the reference with this label are left out (default: dataset.json's ignore)"
    group.add_argument("--ignore", type=int, metavar="LABEL", help=about)
    about = "mm of a pixel along each axis, in the order of the arrays (default: the files' own; pictures: pixels)"
    group.add_argument("--spacing", type=float, nargs="+", metavar="MM", help=about)
    about = "read CASE.npz beside each prediction, from nnUNetv2_predict --save_probabilities"
    group.add_argument("--probabilities", action="store_true", help=about)
    about = "leave references without prediction out, e.g. beside one fold's validation"
    group.add_argument("--chill", action="store_true", help=about)


def _add_groups(group: argparse._ArgumentGroup) -> None:
    about = "table with a row a case, as `nnunet_ext convert` writes (default with --by: above the references)"
    group.add_argument("--cases", type=Path, metavar="FILE.csv", help=about)
    about = "columns of that table for whose values there are averages, e.g. structure modality group"
    group.add_argument("--by", nargs="+", default=[], metavar="COLUMN", help=about)


def evaluate(args: argparse.Namespace) -> int:
    """Score predictions, write and print the tables; the exit code is 1 if a case was left out or in no group."""
    from nnunet_ext.evaluation.evaluation_files import refuse_other_files

    _check(args)
    folder = args.o or (args.p if args.summary is None else args.summary.parent) / "evaluation"
    refuse_other_files(folder)
    evaluation = _of_folders(args) if args.summary is None else _of_summary(args)
    files = evaluation.write(folder)
    print_evaluation(evaluation, files)
    return 1 if evaluation.problems else 0


def _check(args: argparse.Namespace) -> None:
    """Raise `CommandLineError` if the call does not say what to score, or says it twice."""
    if args.summary is None:
        if args.r is None or args.p is None:
            missing = "-r REFERENCES" if args.r is None else "-p PREDICTIONS"
            raise CommandLineError(f"{missing} is missing. Type for example: nnunet_ext evaluate -r labelsTs -p OUTPUT")
        if args.np is not None and args.np < 1:
            raise CommandLineError(f"-np {args.np}: at least one process")
        if args.spacing and not all(0 < value < float("inf") for value in args.spacing):
            raise CommandLineError(f"--spacing {' '.join(map(str, args.spacing))}: lengths are above 0")
        return
    others = [f"--{name}" for name in ONLY_IMAGES if getattr(args, name)]
    others += [flag for flag, value in (("-r", args.r), ("-p", args.p)) if value is not None]
    if others:
        raise CommandLineError(f"--summary reads no images: leave {', '.join(others)} out, or --summary")


def _of_folders(args: argparse.Namespace) -> Evaluation:
    from nnunet_ext.evaluation.choosing import DEFAULT
    from nnunet_ext.evaluation.folders import evaluate_folders
    from nnunet_ext.parallel import usable_cores

    with progress_bars() as progress:
        return evaluate_folders(
            args.r,
            args.p,
            dataset_json=args.djfile,
            metrics=args.metrics or (("all",) if args.probabilities else DEFAULT),
            labels=args.labels,
            ignore=args.ignore,
            spacing=args.spacing,
            probabilities=args.probabilities,
            cases=args.cases,
            by=args.by,
            chill=args.chill,
            workers=args.np or usable_cores(),
            progress=progress,
        )


def _of_summary(args: argparse.Namespace) -> Evaluation:
    from nnunet_ext.evaluation.from_summary import evaluate_summary

    metrics = args.metrics or ("counts",)
    return evaluate_summary(args.summary, dataset_json=args.djfile, metrics=metrics, cases=args.cases, by=args.by)
