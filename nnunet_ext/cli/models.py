"""`predict`, `export`, `import-weights`: what is done with a trained model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnunet_ext.cli import two_stage
from nnunet_ext.cli.errors import CommandLineError
from nnunet_ext.cli.parser import Parser, add_model, say, scale, share, trained_model


def add_predict(sub: Parser) -> None:
    """Define the arguments of `predict`."""
    sub.passes_on, sub.allow_abbrev = True, False
    sub.usage = (
        "nnunet_ext predict -i IN -o OUT -d DATASET -c CONFIGURATION -tr TRAINER ... "
        "[--min-quality Q] [--pictures] [--save-offsets] [--scales S ...] [--scales-sum mean|exp] "
        "[--two-stage [--budget F] [--coarse FOLDER] [--fine FOLDER] ...]"
    )
    sub.epilog = "All other flags are those of nnUNetv2_predict; see: nnUNetv2_predict -h"
    sub.add_argument(
        "--min-quality", type=share, metavar="Q", help="0 to 1: mark cases below it in OUT/quality.csv, and count them"
    )
    sub.add_argument(
        "--pictures", action="store_true", help="write uncertainty and slices of each case to OUT/quality/"
    )
    sub.add_argument(
        "--save-offsets", action="store_true", help="write offset vectors of each case to OUT/offsets/ (OVeNet)"
    )
    sub.add_argument(
        "--scales", type=scale, nargs="+", metavar="S", help="predict at several sizes of the image, e.g. 0.75 1 1.25"
    )
    sub.add_argument(
        "--scales-sum", choices=("mean", "exp"),
        help="add the scales' probabilities (mean, default), or exp(logits) as OVeNet's authors do",
    )  # fmt: skip

    two_stage.add_two_stage(sub)


def predict(args: argparse.Namespace) -> int:
    """Predict as nnUNetv2_predict does; with a quality score each (lifted networks), offsets, at several scales."""
    from nnunet_ext.environment import DISCOVERY, plugin_folder

    if two_stage.wanted(args):
        return two_stage.predict(args)
    if args.scales_sum and not args.scales:
        raise CommandLineError(
            f"--scales-sum {args.scales_sum} says how to add several scales, but there is no --scales. "
            f"Type for example --scales 0.75 1 1.25 --scales-sum {args.scales_sum}"
        )

    if not os.environ.get(DISCOVERY):
        os.environ[DISCOVERY] = str(plugin_folder())
    from nnunet_ext.inference import predict as inference
    from nnunet_ext.inference.offset_report import OffsetReport
    from nnunet_ext.inference.report import QualityReport
    from nnunet_ext.inference.scales import Scales

    inference.predict(
        args.passed_on,
        QualityReport(args.min_quality, args.pictures, say),
        OffsetReport(say) if args.save_offsets else None,
        Scales(tuple(args.scales), args.scales_sum or "mean") if args.scales else None,
    )
    return 0


def add_export(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `export`."""
    add_model(sub)
    sub.add_argument("-f", required=True, nargs="+", metavar="FOLD", help="folds; several give OUT_fold0.onnx, ...")
    sub.add_argument("-o", required=True, type=Path, metavar="OUT.onnx", help="file; OUT.json is written beside it")
    sub.add_argument("--opset", type=int, help="version of ONNX's operators (default: PyTorch's choice)")


def export(args: argparse.Namespace) -> int:
    """Write a trained model's folds as ONNX files."""
    from nnunet_ext.inference.export import export_onnx

    export_onnx(trained_model(args), args.o, args.opset, say)
    return 0


def add_import_weights(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `import-weights`."""
    sub.add_argument("-i", required=True, type=Path, metavar="FILE", help="checkpoint as the paper's authors saved it")
    sub.add_argument("-tr", required=True, metavar="TRAINER", help="trainer of that network")
    sub.add_argument("-o", required=True, type=Path, metavar="OUT.pth", help="file to write")


def import_weights(args: argparse.Namespace) -> int:
    """Write a published checkpoint in the layout of our network, for nnU-Net's -pretrained_weights."""
    from nnunet_ext.trainers.import_weights import import_weights as run

    command = run(args.i, args.tr, args.o)
    print(f"{args.o}\nnext: {command}")
    return 0
