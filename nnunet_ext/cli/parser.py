"""What the definitions of the sub-commands' arguments share."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any


class Parser(argparse.ArgumentParser):
    """Refuses flags that it does not know, or, with `passes_on`, keeps them in `args.passed_on` for another command."""

    passes_on = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as argparse does; unknown flags come back, or go to `args.passed_on`."""
        known, others = super().parse_known_args(args, namespace)
        if self.passes_on:
            known.passed_on, others = others, []
        return known, others


def add_model(sub: argparse.ArgumentParser) -> None:
    """Define the flags that name a trained model, as nnU-Net's commands have them."""
    sub.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    sub.add_argument("-c", required=True, metavar="CONFIGURATION", help="configuration, e.g. 2d")
    sub.add_argument("-tr", required=True, metavar="TRAINER", help="trainer's name")
    sub.add_argument("-p", default="nnUNetPlans", help="plans identifier (default: nnUNetPlans)")
    sub.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: checkpoint_final.pth)")


def trained_model(args: argparse.Namespace) -> Any:
    """Find the model of -d -c -tr -f; nnU-Net finds our trainers, whether or not the user exported the variable."""
    from nnunet_ext.environment import DISCOVERY, plugin_folder
    from nnunet_ext.inference.trained_model import find_trained_model

    os.environ[DISCOVERY] = os.environ.get(DISCOVERY) or str(plugin_folder())
    folds = args.f if isinstance(args.f, list) else [args.f]
    return find_trained_model(args.d, args.c, args.tr, folds, args.p, args.chk)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1; type for example 0.8")
    return value


def scale(text: str) -> float:
    """Read a scale of the image, above 0 up to 8."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 8:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number above 0, up to 8; type for example --scales 0.5 0.75 1 1.25 1.5 1.75"
        )
    return value


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)
