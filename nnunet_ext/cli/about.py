"""`path`, `doctor`, `info`: this package and the machine it is on."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from pathlib import Path
from typing import Any

from nnunet_ext.cli.errors import CommandLineError

_MARK = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def path(args: argparse.Namespace) -> int:
    """Print the folder for nnUNet_extTrainer."""
    from nnunet_ext.environment import plugin_folder

    print(plugin_folder())
    return 0


def add_doctor(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `doctor`."""
    sub.add_argument("--json", action="store_true", help="as JSON")


def doctor(args: argparse.Namespace) -> int:
    """Print every check with the line that mends it; the exit code is 1 if something does not work."""
    from nnunet_ext.environment import examine

    checks = []
    for check in examine():
        checks.append(check)
        if not args.json:
            print(f"{_MARK[check.status]} {check.name:20} {check.found}")
            if check.remedy:
                print(f"{'':28} -> {check.remedy}")
    errors = sum(c.status == "error" for c in checks)
    if args.json:
        print(json.dumps([vars(c) for c in checks], indent=2))
    else:
        print("all works" if not errors else f"{errors} to mend")
    return 1 if errors else 0


def add_info(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `info`."""
    sub.add_argument("trainer", nargs="?", help="a trainer's name; without it: all")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub.add_argument(
        "-d", help="dataset id or name whose plan decides the patch size; without it: a plan for 512 x 512"
    )
    sub.add_argument("-c", default="2d", help="configuration (default: 2d)")
    sub.add_argument("-p", default="nnUNetPlans", help="plans identifier (default: nnUNetPlans)")


def info(args: argparse.Namespace) -> int:
    """Print all trainers and parts, or what one trainer is at a plan's patch size."""
    if args.trainer is None:
        return _info_all(args.json)
    from nnunet_ext.trainers.describe import describe_trainer

    plans, dataset = _plans(args)
    if args.c not in plans["configurations"]:
        known = ", ".join(plans["configurations"])
        raise CommandLineError(f"-c {args.c} is not in {_plan_name(args)}, which has: {known}")
    found = describe_trainer(args.trainer, plans, args.c, dataset)
    found["plan"] = _plan_name(args)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for key, value in found.items():
        text = (", ".join(f"{k} {v}" for k, v in value.items()) or "nnU-Net's") if isinstance(value, dict) else value
        print(f"{key:16} {f'{text:,}' if isinstance(text, int) else text}")
    return 0


def _plan_name(args: argparse.Namespace) -> str:
    return "nnU-Net's plan for 512 x 512 RGB images" if args.d is None else f"{args.p} of dataset {args.d}"


def _info_all(as_json: bool) -> int:
    from nnunet_ext.trainers import naming
    from nnunet_ext.trainers.suffixes import SUFFIXES

    if as_json:
        parts = [vars(p) for p in naming.PARTS]
        found = {"trainers": naming.PRESETS, "parts": parts, "slots": naming.SLOTS, "suffixes": SUFFIXES}
        print(json.dumps(found, indent=2))
        return 0
    print("Trainers (nnUNetv2_train DATASET 2d FOLD -tr NAME):")
    for name, about in naming.PRESETS.items():
        print(f"  {name:41} {about}")
    slots = [s for s in naming.SLOTS if any(p.slot == s for p in naming.PARTS)]
    print(f"\nCompositions: {naming.COMPOSITION}_<parts>, in the order {', '.join(slots)}; each is optional:")
    for part in naming.PARTS:
        print(f"  {part.name:12} {part.slot:12} {part.summary}")
    print("\nSuffixes, in this order:")
    for name, about in SUFFIXES.items():
        print(textwrap.fill(about, 92, initial_indent=f"  {name:15} ", subsequent_indent=" " * 18))
    print(f"\nStock nnU-Net with a budget or another loss, to compare with: {naming.STOCK}_<suffixes>")
    print("Parameters and multiply-accumulates: nnunet_ext info NAME [-d DATASET -c 2d]")
    return 0


def _plans(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    from nnunet_ext.trainers.describe import example_plans

    if args.d is None:
        return example_plans()
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    base = os.environ.get("nnUNet_preprocessed")
    if not base:
        raise CommandLineError("-d needs nnUNet_preprocessed. Type: export nnUNet_preprocessed=/a/folder")
    try:
        folder = Path(base) / maybe_convert_to_dataset_name(int(args.d) if args.d.isdigit() else args.d)
    except RuntimeError as error:
        raise CommandLineError(f"-d {args.d}: {error} `nnunet_ext doctor` shows nnU-Net's folders.") from None
    plans = folder / f"{args.p}.json"
    if not plans.is_file():
        raise CommandLineError(f"{plans} does not exist. Type: nnUNetv2_plan_and_preprocess -d {args.d} -c {args.c}")
    return json.loads(plans.read_text()), json.loads((folder / "dataset.json").read_text())
