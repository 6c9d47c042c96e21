"""`cascade`: two networks, trained and validated together."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnunet_ext.cli.parser import say, share

TRAINER, PLANS = "nnUNetTrainerTwoStage", "nnUNetTwoStagePlans"
CONFIGURATION = "2d_selective"


def add_cascade(sub: argparse.ArgumentParser) -> None:
    """Define what is done with two stages, and its arguments."""
    kinds = sub.add_subparsers(title="what", required=True, metavar="WHAT")
    about = "Dice against cost: the validation cases of each fold at several budgets, in one pass"
    _add_validate(kinds.add_parser("validate", help=about, description=about))
    about = "both stages of each fold with nnU-Net's own commands, in the right order; goes on where it was ended"
    _add_train(kinds.add_parser("train", help=about, description=about))


def validate(args: argparse.Namespace) -> int:
    """Draw how Dice falls with the budget."""
    _find_trainers()
    from nnunet_ext.cascade.curve_plan import Request
    from nnunet_ext.cascade.curve_run import validate as run

    request = Request(
        args.d, args.c, args.tr, args.p, args.fine, args.coarse, tuple(args.f), tuple(args.budgets), args.criterion,
        not args.disable_tta, args.step_size, args.chk, args.device,
    )  # fmt: skip
    run(request, args.o, args.overwrite, say)
    return 0


def train(args: argparse.Namespace) -> int:
    """Train what is not trained yet."""
    _find_trainers()
    from nnunet_ext.run.cascade import train_both
    from nnunet_ext.run.cascade_stages import Request

    folds = None if args.f is None else tuple(args.f)
    request = Request(args.d, args.c, args.p, args.tr, args.coarse_trainer, folds, args.npz, args.device)
    train_both(request, args.dry_run, say)
    return 0


def _find_trainers() -> None:
    from nnunet_ext.environment import DISCOVERY, plugin_folder

    os.environ[DISCOVERY] = os.environ.get(DISCOVERY) or str(plugin_folder())


def _add_model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-c", default=CONFIGURATION, metavar="CONFIGURATION", help=f"default: {CONFIGURATION}")
    sub.add_argument("-tr", default=TRAINER, metavar="TRAINER", help=f"default: {TRAINER}")
    sub.add_argument("-p", default=PLANS, metavar="PLANS", help=f"plans identifier (default: {PLANS})")


def _add_validate(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(run=validate)
    sub.add_argument("-d", metavar="DATASET", help="dataset id or name (not needed with --fine)")
    _add_model(sub)
    sub.add_argument("-f", nargs="+", default=list("01234"), metavar="FOLD", help="folds (default: 0 1 2 3 4)")
    sub.add_argument(
        "--budgets", type=share, nargs="+", default=[1, 0.5, 0.25, 0.125, 0.0625], metavar="B",
        help="shares of the windows, 0 to 1 (default: 1 0.5 0.25 0.125 0.0625); 0 is always there",
    )  # fmt: skip
    about = "folder of a trained model, TRAINER__PLANS__CONFIGURATION, in the place of"
    sub.add_argument("--fine", type=Path, metavar="FOLDER", help=f"{about} -c -tr -p")
    sub.add_argument("--coarse", type=Path, metavar="FOLDER", help=f"{about} the coarse one that the plan names")
    sub.add_argument("--criterion", choices=("mean_prob", "pixel_margin", "random"), help="default: the plan's")
    sub.add_argument("--disable_tta", action="store_true", help="do not mirror for the fine network")
    sub.add_argument("-step_size", type=float, default=0.5, help="of the windows, share of the patch (default: 0.5)")
    sub.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: checkpoint_final.pth)")
    sub.add_argument("-device", choices=("cpu", "cuda", "mps"), help="default: a GPU if there is one")
    sub.add_argument("-o", required=True, type=Path, metavar="OUT", help="new folder for predictions, tables, picture")
    sub.add_argument("--overwrite", action="store_true", help="replace the curve that is in OUT")


def _add_train(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(run=train)
    sub.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    _add_model(sub)
    sub.add_argument("--coarse-trainer", metavar="NAME", help="must be the plan's; without it the plan's is taken")
    sub.add_argument("-f", nargs="+", metavar="FOLD", help="folds (default: all of splits_final.json)")
    sub.add_argument("--npz", action="store_true", help="keep validation probabilities, for ensembles")
    sub.add_argument("-device", choices=("cpu", "cuda", "mps"), help="default: a GPU if there is one")
    sub.add_argument("--dry-run", action="store_true", help="say what would be done")
