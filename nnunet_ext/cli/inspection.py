"""`inspect`: what is inside of a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_ext.cli.parser import add_model, say, trained_model


def add_inspect(sub: argparse.ArgumentParser) -> None:
    """Define what can be inspected, and its arguments."""
    kinds = sub.add_subparsers(title="what", required=True, metavar="WHAT")
    about = "Spatial Lifting: every slice's probabilities, which slices predict, where they look"
    _add_lifting(kinds.add_parser("lifting", help=about, description=about))
    about = "IFE: which channels are selected in each image, their maps and scores, and how often"
    _add_ife(kinds.add_parser("ife", help=about, description=about))


def inspect_lifting(args: argparse.Namespace) -> int:
    """Draw what the slices of a lifted network see."""
    from nnunet_ext.inference.inspect_lifting import Wanted, inspect

    wanted = Wanted(args.cases, args.class_name, args.attribution, args.layer)
    inspect(trained_model(args), args.i, args.o, wanted, args.device, say)
    return 0


def inspect_ife(args: argparse.Namespace) -> int:
    """Draw and count the channels that instructive feature enhancement selects."""
    from nnunet_ext.inference.inspect_ife import Wanted, inspect

    inspect(trained_model(args), args.i, args.o, Wanted(args.cases, args.channels), args.device, say)
    return 0


def _add_lifting(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(run=inspect_lifting)
    _add_shared(sub)
    sub.add_argument("--class", dest="class_name", metavar="NAME", help="class to show (default: the first foreground)")
    sub.add_argument("--attribution", choices=("none", "saliency", "gradcam"), default="none", help="default: none")
    sub.add_argument("--layer", help="of Grad-CAM (default: the last with several channels before the output)")


def _add_ife(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(run=inspect_ife)
    _add_shared(sub)
    sub.add_argument(
        "--channels", type=int, default=6, metavar="N",
        help="maps of chosen channels to show of each selection, and as many of others (default: 6)",
    )  # fmt: skip


def _add_shared(sub: argparse.ArgumentParser) -> None:
    add_model(sub)
    sub.add_argument("-f", required=True, metavar="FOLD", help="fold")
    sub.add_argument("-i", required=True, type=Path, metavar="IMAGES", help="folder of images named as nnU-Net's")
    sub.add_argument("-o", required=True, type=Path, metavar="OUT", help="folder for the pictures")
    sub.add_argument("--cases", nargs="+", metavar="CASE", help="only these of the folder (default: all)")
    sub.add_argument("-device", choices=("cpu", "cuda", "mps"), help="default: a GPU if there is one")
