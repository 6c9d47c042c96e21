"""`predict --two-stage`: a fine network where a coarse one is unsure."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnunet_ext.cli.errors import CommandLineError
from nnunet_ext.cli.parser import say, share

_OURS = {
    "budget": "--budget", "coarse": "--coarse", "fine": "--fine", "coarse_folds": "--coarse-folds",
    "criterion": "--criterion", "max_confidence": "--max-confidence",
}  # fmt: skip
_OTHERS = {
    "min_quality": "--min-quality", "pictures": "--pictures", "save_offsets": "--save-offsets", "scales": "--scales",
    "scales_sum": "--scales-sum",
}  # fmt: skip


def add_two_stage(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `predict --two-stage`."""
    group = sub.add_argument_group("two stages")
    group.add_argument(
        "--two-stage", action="store_true", help="a coarse network first, the fine one where the coarse is unsure"
    )
    group.add_argument("--budget", type=share, metavar="F", help="share of windows to refine (default: the plan's)")
    group.add_argument("--coarse", type=Path, metavar="FOLDER", help="coarse model (default: the plan's)")
    group.add_argument("--fine", type=Path, metavar="FOLDER", help="fine model, in the place of -d -tr -p -c")
    group.add_argument("--coarse-folds", nargs="+", metavar="F", help="folds of the coarse model (default: as -f)")
    group.add_argument(
        "--criterion", choices=("mean_prob", "pixel_margin", "random"),
        help="how sure a window is (default: the plan's, mean_prob); random is a control",
    )  # fmt: skip
    group.add_argument(
        "--max-confidence", type=share, metavar="C", help="never refine windows above it, 0 to 0.5 (default: no limit)"
    )


def wanted(args: argparse.Namespace) -> bool:
    """Whether two stages are asked for.

    Raises:
        CommandLineError: if flags contradict each other.
    """
    given = [flag for name, flag in _OURS.items() if getattr(args, name) is not None]
    if not args.two_stage:
        if given:
            raise CommandLineError(f"{given[0]} is for two stages. Type: nnunet_ext predict --two-stage {given[0]} ...")
        return False
    others = [flag for name, flag in _OTHERS.items() if getattr(args, name)]
    if others:
        raise CommandLineError(
            f"{others[0]} and --two-stage do not go together: the fine network sees parts of an image. "
            f"Leave one of them out."
        )
    if args.fine is not None and args.coarse is None:
        raise CommandLineError(
            f"--fine {args.fine} names the fine network; name the coarse one, too: --coarse FOLDER, "
            "nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION"
        )
    return True


def predict(args: argparse.Namespace) -> int:
    """Predict as nnUNetv2_predict does, in two stages."""
    from nnunet_ext.environment import DISCOVERY, plugin_folder

    os.environ[DISCOVERY] = os.environ.get(DISCOVERY) or str(plugin_folder())
    from nnunet_ext.cascade import predict as cascade
    from nnunet_ext.cascade.predictor import Wanted
    from nnunet_ext.cascade.record import Record

    changes = {name: getattr(args, name) for name in ("budget", "criterion", "max_confidence")}
    changes = {name: value for name, value in changes.items() if value is not None}
    folds = None if args.coarse_folds is None else tuple(args.coarse_folds)
    cascade.predict(args.passed_on, Record(say), Wanted(args.coarse, folds, changes), args.fine)
    return 0
