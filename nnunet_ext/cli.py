"""The command `nnunet_ext`. Sub-commands import what they need when they run."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from nnunet_ext import __version__

USER_ERRORS = {
    "nnunet_ext.dataset_conversion.problems": "ConversionError",
    "nnunet_ext.run.commands": "CommandError",
    "nnunet_ext.run.demo_folder": "DemoFolderError",
    "nnunet_ext.run.demo_data": "DemoDataError",
    "nnunet_ext.trainers.naming": "TrainerNameError",
    "nnunet_ext.trainers.checkpoints": "CheckpointError",
    "nnunet_ext.evaluation.summary": "SummaryError",
    "nnunet_ext.evaluation.quality": "QualityTableError",
    "nnunet_ext.inference.table": "QualityError",
    "nnunet_ext.architectures.topology": "UnsupportedPlanError",
    "nnunet_ext.inference.trained_model": "TrainedModelError",
    "nnunet_ext.inference.onnx_file": "OnnxError",
    "nnunet_ext.inference.attribution": "AttributionError",
    "nnunet_ext.inference.cases": "CasesError",
    "nnunet_ext.inference.inspect_lifting": "InspectionError",
}
_MARK = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def path(args: argparse.Namespace) -> int:
    """Print the folder for nnUNet_extTrainer."""
    from nnunet_ext.environment import plugin_folder

    print(plugin_folder())
    return 0


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

    if as_json:
        parts = [vars(p) for p in naming.PARTS]
        print(json.dumps({"trainers": naming.PRESETS, "parts": parts, "slots": naming.SLOTS}, indent=2))
        return 0
    print("Trainers (nnUNetv2_train DATASET 2d FOLD -tr NAME):")
    for name, about in naming.PRESETS.items():
        print(f"  {name:32} {about}")
    slots = [s for s in naming.SLOTS if any(p.slot == s for p in naming.PARTS)]
    print(f"\nCompositions: {naming.COMPOSITION}_<parts>, in the order {', '.join(slots)}; each is optional:")
    for part in naming.PARTS:
        print(f"  {part.name:12} {part.slot:12} {part.summary}")
    print("\nSuffixes, in this order:")
    print("  _<N>epochs   number of epochs\n  _<N>iters    training iterations an epoch")
    print("  _paper       the paper's optimiser, schedule, loss and augmentation instead of nnU-Net's;")
    print("               compositions have none")
    print(f"\nStock nnU-Net with a budget, to compare with: {naming.STOCK}_<N>epochs_<N>iters")
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


def convert(args: argparse.Namespace) -> int:
    """Convert image and mask pairs into nnU-Net raw format."""
    from nnunet_ext.dataset_conversion.convert import convert as run

    raw = os.environ.get("nnUNet_raw")
    if not raw:
        raise CommandLineError("nnUNet_raw is not set. Type: export nnUNet_raw=/a/folder/for/datasets")
    _refuse_known_id(args.d, args.n)
    result = run(
        args.i, args.m, args.d, args.n, Path(raw), image_suffix=args.image_suffix, mask_suffix=args.mask_suffix,
        test_images=args.test_images, test_masks=args.test_masks, threshold=args.threshold,
        overwrite=args.overwrite, progress=print,
    )  # fmt: skip
    for note in result.notes:
        print(f"note: {note}")
    print(
        f"{result.dataset_folder}: {result.n_train} training and {result.n_test} test images "
        f"({result.n_test_labels} with masks), {result.image_mode}, {100 * result.foreground_share:.1f} % foreground"
    )
    print(f"next: nnUNetv2_plan_and_preprocess -d {args.d} -c 2d --verify_dataset_integrity")
    return 0


def _refuse_known_id(dataset_id: int, name: str) -> None:
    """NnU-Net looks an id up in all three of its folders, and takes none if they disagree."""
    for variable in ("nnUNet_preprocessed", "nnUNet_results"):
        folder = os.environ.get(variable)
        for found in Path(folder).glob(f"Dataset{dataset_id:03d}_*") if folder else ():
            if found.name != f"Dataset{dataset_id:03d}_{name}":
                raise CommandLineError(
                    f"{found} has the id {dataset_id} already, under another name than {name}. Choose another -d, "
                    f"or remove that folder if it is not needed."
                )


def predict(args: argparse.Namespace) -> int:
    """Predict as nnUNetv2_predict does; a lifted network's predictions also get a quality score each."""
    from nnunet_ext.environment import DISCOVERY, plugin_folder

    if not os.environ.get(DISCOVERY):
        os.environ[DISCOVERY] = str(plugin_folder())
    from nnunet_ext.inference import predict as inference
    from nnunet_ext.inference.report import QualityReport

    inference.predict(args.passed_on, QualityReport(args.min_quality, args.pictures, _say))
    return 0


def demo(args: argparse.Namespace) -> int:
    """Run the main job from images to a report."""
    from nnunet_ext.run.demo import run_demo

    page = run_demo(args.output, data=args.data, device=args.device, seed=args.seed, say=_say)
    print(f"\nopen {page}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write a trained model's folds as ONNX files."""
    from nnunet_ext.inference.export import export_onnx

    export_onnx(_trained_model(args), args.o, args.opset, _say)
    return 0


def inspect_lifting(args: argparse.Namespace) -> int:
    """Draw what the slices of a lifted network see."""
    from nnunet_ext.inference.inspect_lifting import Wanted, inspect

    wanted = Wanted(args.cases, args.class_name, args.attribution, args.layer)
    inspect(_trained_model(args), args.i, args.o, wanted, args.device, _say)
    return 0


def _trained_model(args: argparse.Namespace) -> Any:
    """Find the model of -d -c -tr -f; nnU-Net finds our trainers, whether or not the user exported the variable."""
    from nnunet_ext.environment import DISCOVERY, plugin_folder
    from nnunet_ext.inference.trained_model import find_trained_model

    os.environ[DISCOVERY] = os.environ.get(DISCOVERY) or str(plugin_folder())
    folds = args.f if isinstance(args.f, list) else [args.f]
    return find_trained_model(args.d, args.c, args.tr, folds, args.p, args.chk)


def _say(line: str) -> None:
    print(line, flush=True)


class CommandLineError(Exception):
    """Something about the call itself; the message says what to type."""


class _Parser(argparse.ArgumentParser):
    """Refuses flags that it does not know, or, with `passes_on`, keeps them in `args.passed_on` for another command."""

    passes_on = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        known, others = super().parse_known_args(args, namespace)
        if self.passes_on:
            known.passed_on, others = others, []
        return known, others


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nnunet_ext", description="Trainers and tools around stock nnU-Net v2.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(run: Any, name: str, about: str) -> _Parser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run)
        return sub

    command(path, "path", 'the folder for: export nnUNet_extTrainer="$(nnunet_ext path)"')
    sub = command(doctor, "doctor", "check this machine; each finding with the line that mends it")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub = command(info, "info", "all trainers and parts, or parameters and MACs of one trainer")
    sub.add_argument("trainer", nargs="?", help="a trainer's name; without it: all")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub.add_argument(
        "-d", help="dataset id or name whose plan decides the patch size; without it: a plan for 512 x 512"
    )
    sub.add_argument("-c", default="2d", help="configuration (default: 2d)")
    sub.add_argument("-p", default="nnUNetPlans", help="plans identifier (default: nnUNetPlans)")
    _add_convert(command(convert, "convert", "pairs of 2D images and masks into nnU-Net raw format"))
    _add_predict(command(predict, "predict", "nnUNetv2_predict with a quality score for each case (lifted networks)"))
    sub = command(demo, "demo", "convert, plan, train, predict, evaluate and report on a small made dataset")
    sub.add_argument("--output", "-o", type=Path, default=Path("demo_output"), help="folder (default: demo_output)")
    sub.add_argument("--data", type=Path, help="your own pairs: DATA/images, DATA/masks, or train/ and test/ of these")
    sub.add_argument("--device", choices=("cuda", "cpu", "mps"), help="default: a GPU if there is one")
    sub.add_argument("--seed", type=int, default=0, help="of the made dataset (default: 0)")
    _add_inspect(command(None, "inspect", "look inside a trained model"))
    _add_export(command(export, "export", "a trained model as an ONNX file, checked against PyTorch"))
    return parser


def _add_model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    sub.add_argument("-c", required=True, metavar="CONFIGURATION", help="configuration, e.g. 2d")
    sub.add_argument("-tr", required=True, metavar="TRAINER", help="trainer's name")
    sub.add_argument("-p", default="nnUNetPlans", help="plans identifier (default: nnUNetPlans)")
    sub.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: checkpoint_final.pth)")


def _add_export(sub: argparse.ArgumentParser) -> None:
    _add_model(sub)
    sub.add_argument("-f", required=True, nargs="+", metavar="FOLD", help="folds; several give OUT_fold0.onnx, ...")
    sub.add_argument("-o", required=True, type=Path, metavar="OUT.onnx", help="file; OUT.json is written beside it")
    sub.add_argument("--opset", type=int, help="version of ONNX's operators (default: PyTorch's choice)")


def _add_inspect(sub: argparse.ArgumentParser) -> None:
    about = "Spatial Lifting: every slice's probabilities, which slices predict, where they look"
    sub = sub.add_subparsers(title="what", required=True, metavar="WHAT").add_parser(
        "lifting", help=about, description=about
    )
    sub.set_defaults(run=inspect_lifting)
    _add_model(sub)
    sub.add_argument("-f", required=True, metavar="FOLD", help="fold")
    sub.add_argument("-i", required=True, type=Path, metavar="IMAGES", help="folder of images named as nnU-Net's")
    sub.add_argument("-o", required=True, type=Path, metavar="OUT", help="folder for the pictures")
    sub.add_argument("--cases", nargs="+", metavar="CASE", help="only these of the folder (default: all)")
    sub.add_argument("--class", dest="class_name", metavar="NAME", help="class to show (default: the first foreground)")
    sub.add_argument("--attribution", choices=("none", "saliency", "gradcam"), default="none", help="default: none")
    sub.add_argument("--layer", help="of Grad-CAM (default: the last with several channels before the output)")
    sub.add_argument("-device", choices=("cpu", "cuda", "mps"), help="default: a GPU if there is one")


def _add_convert(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-i", type=Path, required=True, metavar="IMAGES", help="folder of training images")
    sub.add_argument("-m", type=Path, required=True, metavar="MASKS", help="folder of their masks, same stems")
    sub.add_argument("-d", type=int, required=True, metavar="ID", help="dataset id, 1 to 999")
    sub.add_argument("-n", required=True, metavar="NAME", help="dataset name, letters, digits, - and _")
    sub.add_argument("--image-suffix", default="", help="end of the images' stems that the masks lack, e.g. _img")
    sub.add_argument("--mask-suffix", default="", help="end of the masks' stems that the images lack, e.g. _mask")
    sub.add_argument("--test-images", type=Path, metavar="DIR", help="folder of test images")
    sub.add_argument("--test-masks", type=Path, metavar="DIR", help="folder of their masks, for evaluation")
    sub.add_argument("--threshold", type=int, help="foreground is above this value, for masks with others than 0/1/255")
    sub.add_argument("--overwrite", action="store_true", help="replace the dataset of this id and name")


def _add_predict(sub: _Parser) -> None:
    sub.passes_on, sub.allow_abbrev = True, False
    sub.usage = (
        "nnunet_ext predict -i IN -o OUT -d DATASET -c CONFIGURATION -tr TRAINER ... [--min-quality Q] [--pictures]"
    )
    sub.epilog = "All other flags are those of nnUNetv2_predict; see: nnUNetv2_predict -h"
    sub.add_argument(
        "--min-quality", type=_share, metavar="Q", help="0 to 1: mark cases below it in OUT/quality.csv, and count them"
    )
    sub.add_argument(
        "--pictures", action="store_true", help="write uncertainty and slices of each case to OUT/quality/"
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1; type for example 0.8")
    return value


def _expected_errors() -> tuple[type[BaseException], ...]:
    """Errors whose message is for the user; found without importing rooms that were not used."""
    loaded = [getattr(sys.modules[module], name) for module, name in USER_ERRORS.items() if module in sys.modules]
    return (CommandLineError, *loaded)


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; 0 if it worked, 1 if not, 2 for a wrong call, 130 if interrupted."""
    args = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.")
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a command we started ends with us
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(f"nnunet_ext: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
