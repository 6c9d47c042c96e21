"""`plan`: plans of nnU-Net with what two stages need."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nnunet_ext.cli.parser import Parser, say

if TYPE_CHECKING:
    from nnunet_ext.planning.two_stage import Planned

TRAINER = "nnUNetTrainerTwoStage"
PLANS_NAME = "nnUNetTwoStagePlans"
CONFIGURATION = "2d_selective"  # what `cascade train` takes without -c


def add_plan(sub: Parser) -> None:
    """Define the arguments of `plan`."""
    sub.add_argument("--two-stage", action="store_true", required=True, help="a coarse network, and a fine one")
    sub.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    sub.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans to copy (default: nnUNetPlans)")
    sub.add_argument("--plans-name", default=PLANS_NAME, help=f"name of the copy (default: {PLANS_NAME})")
    sub.add_argument("--factor", type=int, help="2, 4 or 8: how much coarser (default: chosen from the labels)")
    sub.add_argument("--budget", type=float, help="0 to 1: share of windows refined (default: chosen from the labels)")
    sub.add_argument("--windows", type=int, default=4, metavar="N", help="fine patches along each axis (default: 4)")
    about = "Dice that factor and budget must be able to reach (default: 0.97)"
    sub.add_argument("--tau", type=float, default=0.97, help=about)
    sub.add_argument("--coarse-trainer", metavar="NAME", help="trainer of the coarse network, if it is another one")


def plan(args: argparse.Namespace) -> int:
    """Write plans for two stages, and say what to type next."""
    from nnunet_ext.planning.two_stage import Request, plan_two_stage

    request = Request(
        args.d, args.p, args.plans_name, args.factor, args.budget, args.windows, args.tau, args.coarse_trainer
    )
    planned = plan_two_stage(request, say)
    for line in next_commands(planned):
        print(line)
    return 0


def next_commands(planned: Planned) -> list[str]:
    """Return what is typed after planning."""
    name, number, request = planned.request.plans_name, planned.source.number, planned.request
    folders = {c: _data_folder(planned, c) for c in (planned.coarse, planned.full)}
    missing = [c for c, folder in folders.items() if not (planned.source.preprocessed / folder).is_dir()]
    lines = [f"wrote {planned.path}", "next:"]
    if missing:
        lines.append(f"  nnUNetv2_preprocess -d {number} -plans_name {name} -c {' '.join(missing)}")
    coarse_trainer = request.coarse_trainer or TRAINER
    lines += [
        f"  nnUNetv2_train {number} {planned.coarse} FOLD -p {name} -tr {coarse_trainer}   (FOLD: 0 1 2 3 4)",
        f"  nnUNetv2_train {number} {planned.fine} FOLD -p {name} -tr {TRAINER}   (after the same fold of the first)",
    ]
    flags = "" if planned.fine == CONFIGURATION else f" -c {planned.fine}"
    flags += "" if name == PLANS_NAME else f" -p {name}"
    return [*lines, "or all of this:", f"  nnunet_ext cascade train -d {number}{flags}"]


def _data_folder(planned: Planned, configuration: str) -> str:
    return str(planned.plans["configurations"][configuration]["data_identifier"])
