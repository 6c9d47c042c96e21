"""`demo`: several commands in a row."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_ext.cli.parser import say


def add_demo(sub: argparse.ArgumentParser) -> None:
    """Define the arguments of `demo`."""
    sub.add_argument("--output", "-o", type=Path, default=Path("demo_output"), help="folder (default: demo_output)")
    sub.add_argument("--data", type=Path, help="your own pairs: DATA/images, DATA/masks, or train/ and test/ of these")
    sub.add_argument("--device", choices=("cuda", "cpu", "mps"), help="default: a GPU if there is one")
    sub.add_argument("--seed", type=int, default=0, help="of the made dataset (default: 0)")


def demo(args: argparse.Namespace) -> int:
    """Run the main job from images to a report."""
    from nnunet_ext.run.demo import run_demo

    page = run_demo(args.output, data=args.data, device=args.device, seed=args.seed, say=say)
    print(f"\nopen {page}")
    return 0
