"""The command `nnunet_ext`. Sub-commands import what they need when they run.

A module a group of commands; what a command's own arguments are stands beside it. Only this room prints.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable

from nnunet_ext import __version__
from nnunet_ext.cli.about import add_doctor, add_info, doctor, info, path
from nnunet_ext.cli.cascade import add_cascade
from nnunet_ext.cli.datasets import add_convert, convert
from nnunet_ext.cli.errors import USER_ERRORS, CommandLineError, expected_errors
from nnunet_ext.cli.evaluation import add_evaluate, evaluate
from nnunet_ext.cli.inspection import add_inspect
from nnunet_ext.cli.models import (
    add_export,
    add_import_weights,
    add_predict,
    export,
    import_weights,
    predict,
)
from nnunet_ext.cli.parser import Parser
from nnunet_ext.cli.planning import add_plan, plan
from nnunet_ext.cli.report import add_report, report
from nnunet_ext.cli.runs import add_demo, demo
from nnunet_ext.cli.termination import ends_when_told

__all__ = ["USER_ERRORS", "CommandLineError", "main"]

Command = Callable[[argparse.Namespace], int]


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; 0 if it worked, 1 if not, 2 for a wrong call, 130 if interrupted."""
    args = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.")
    with ends_when_told():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if not isinstance(error, expected_errors()):
            raise
        print(f"nnunet_ext: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nnunet_ext", description="Trainers and tools around stock nnU-Net v2.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)

    def command(run: Command | None, name: str, about: str) -> Parser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run)
        return sub

    command(path, "path", 'the folder for: export nnUNet_extTrainer="$(nnunet_ext path)"')
    add_doctor(command(doctor, "doctor", "check this machine; each finding with the line that mends it"))
    add_info(command(info, "info", "all trainers and parts, or parameters and MACs of one trainer"))
    add_convert(command(convert, "convert", "pairs of 2D images and masks into nnU-Net raw format"))
    add_plan(command(plan, "plan", "plans of nnU-Net with a coarse network that says where the fine one looks"))
    add_cascade(command(None, "cascade", "train and validate two stages: a coarse network, and a fine one"))
    about = (
        "nnUNetv2_predict with quality scores (lifted networks), offset vectors (OVeNet), several scales, two stages"
    )
    add_predict(command(predict, "predict", about))
    add_evaluate(command(evaluate, "evaluate", "scores of predictions: per case, class and group; any 2D or 3D format"))
    add_demo(command(demo, "demo", "convert, plan, train, predict, evaluate and report on a small made dataset"))
    add_report(command(report, "report", "finished folds of any trainers, compared on one page"))
    add_inspect(command(None, "inspect", "look inside a trained model"))
    add_export(command(export, "export", "a trained model as an ONNX file, checked against PyTorch"))
    about = "a published checkpoint as a file for nnU-Net's -pretrained_weights"
    add_import_weights(command(import_weights, "import-weights", about))
    return parser
