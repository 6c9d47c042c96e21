"""What a machine needs before nnU-Net and this package can work: checks, each with the line that mends it.

Nothing heavy is imported before a check needs it.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from nnunet_ext import weights

DISCOVERY = "nnUNet_extTrainer"
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
NNUNET = ((2, 8), (2, 9))  # at least, below
LEAST_PYTHON = (3, 10)
LEAST_FREE_GB = 5.0
SAMPLE_TRAINER = "nnUNetTrainerSLUNet_5L1Res"
PRETRAINED = ("vgg16", "res2net50d", "hrnet_w48", "resnet101.tv_in1k")


@dataclass(frozen=True)
class Check:
    """One finding of `nnunet_ext doctor`.

    Attributes:
        name: what was looked at.
        status: "ok", "warning" (works, but look at it) or "error" (does not work).
        found: what was found.
        remedy: what to type or do; empty if ok.
    """

    name: str
    status: Literal["ok", "warning", "error"]
    found: str
    remedy: str = ""


def plugin_folder() -> Path:
    """Return the folder that nnUNet_extTrainer has to name."""
    return Path(__file__).resolve().parent / "_nnunet_plugin"


def check_python() -> Check:
    """Check the interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return Check("python", "error", found, "Install Python 3.10 or newer and nnunet-ext in it.")
    return Check("python", "ok", f"{found} ({sys.executable})")


def check_torch() -> Iterator[Check]:
    """Check that torch imports, and which device it offers."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:
        yield Check("torch", "error", f"{type(error).__name__}: {error}", "pip install --force-reinstall torch")
        return
    yield Check("torch", "ok", torch.__version__)
    if torch.cuda.is_available():
        yield Check("device", "ok", f"cuda: {torch.cuda.get_device_name(0)} (one of {torch.cuda.device_count()})")
    elif torch.backends.mps.is_available():
        yield Check("device", "warning", "mps (Apple)", "Add -device mps to nnUNetv2_train and nnUNetv2_predict.")
    else:
        yield Check(
            "device",
            "warning",
            "no GPU: training takes days",
            "Add -device cpu to nnUNetv2_train and nnUNetv2_predict.",
        )


def check_nnunet() -> Check:
    """Check that the installed nnU-Net is one that this package was tested against."""
    low, high = (".".join(map(str, v)) for v in NNUNET)
    remedy = f"pip install 'nnunetv2>={low},<{high}'"
    try:
        version = metadata.version("nnunetv2")
    except metadata.PackageNotFoundError:
        return Check("nnunetv2", "error", "not installed", remedy)
    major, minor = (int(v) for v in re.findall(r"\d+", f"{version}.0")[:2])
    if not NNUNET[0] <= (major, minor) < NNUNET[1]:
        return Check("nnunetv2", "error", f"{version}, needed is >={low},<{high}", remedy)
    return Check("nnunetv2", "ok", version)


def check_folder(name: str) -> Check:
    """Check one of nnU-Net's folders: set, there, writable, with space.

    Args:
        name: nnUNet_raw, nnUNet_preprocessed or nnUNet_results.
    """
    value = os.environ.get(name)
    if not value:
        return Check(name, "error", "not set", f"export {name}=/a/folder/of/yours/{name}")
    folder = Path(value)
    if not folder.is_dir():
        return Check(name, "error", f"{value}: no such folder", f"mkdir -p {value!r}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(name, "error", f"{value}: cannot be written ({error.strerror})", f"chmod u+rwx {value!r}")
    free = shutil.disk_usage(folder).free / 1e9
    if free < LEAST_FREE_GB:
        remedy = f"Free some space, or export {name}= a folder on another disk."
        return Check(name, "warning", f"{value}: {free:.1f} GB free", remedy)
    return Check(name, "ok", f"{value} ({free:.0f} GB free)")


def check_discovery() -> Check:
    """Check that nnU-Net will look into this package's plug-in folder."""
    remedy = f'export {DISCOVERY}="$(nnunet_ext path)"'
    value = os.environ.get(DISCOVERY)
    if not value:
        return Check(DISCOVERY, "error", "not set: nnU-Net cannot find our trainers", remedy)
    folders = [f for f in value.split(os.pathsep) if f]
    missing = [f for f in folders if not Path(f).is_dir()]
    others = [f for f in folders if f not in missing and not _ours(Path(f))]  # of other packages: they stay
    remedy = f'export {DISCOVERY}="{os.pathsep.join(["$(nnunet_ext path)", *others])}"'
    if not any(Path(f).resolve() == plugin_folder() for f in folders):
        return Check(DISCOVERY, "error", f"{value}: not this installation's {plugin_folder()}", remedy)
    if missing:
        return Check(DISCOVERY, "warning", f"no such folder, skipped by nnU-Net: {missing}", remedy)
    return Check(DISCOVERY, "ok", value)


def _ours(folder: Path) -> bool:
    """Whether a folder is the plug-in folder of an installation of this package, or another folder inside this one."""
    return (folder / "nnunet_ext_trainers.py").is_file() or plugin_folder().parent in folder.resolve().parents


def check_lookup() -> Check:
    """Ask nnU-Net itself for one of our trainers."""
    import contextlib
    import io

    try:
        find = importlib.import_module("nnunetv2.utilities.find_objects").recursive_find_trainer_class_by_name
        with contextlib.redirect_stdout(io.StringIO()):
            found = find(SAMPLE_TRAINER)
    except Exception as error:
        line = str(error).splitlines()[0][:200] if str(error) else ""
        return Check("look-up", "error", f"{SAMPLE_TRAINER} not found: {type(error).__name__}: {line}",
                     f'export {DISCOVERY}="$(nnunet_ext path)"')  # fmt: skip
    return Check("look-up", "ok", f"nnU-Net finds {found.__name__}")


def check_workers() -> Check:
    """Check nnU-Net's number of data workers, which its planner takes as a number of threads."""
    name = "nnUNet_n_proc_DA"
    value = os.environ.get(name)
    if value is not None and not value.isdigit():
        return Check(name, "error", f"{value!r} is not a number of processes", f"export {name}=2   (or: unset {name})")
    if value == "0":
        found = "0: works for training, but nnUNetv2_plan_* of nnU-Net 2.8 fails with it"
        return Check(name, "warning", found, f"Plan with {name}=1 in front: {name}=1 nnUNetv2_plan_and_preprocess ...")
    return Check(name, "ok", "not set" if value is None else value)


def check_weights() -> Check:
    """Check the folder of pretrained weights: which of the files that our trainers look for are in it."""
    value = os.environ.get(weights.FOLDER)
    if not value:
        return Check(weights.FOLDER, "ok", "not set: pretrained weights are downloaded when a trainer needs them")
    try:
        found = {model: weights.local_file(model) for model in PRETRAINED}
    except weights.WeightsError as error:
        return Check(weights.FOLDER, "error", f"{value}", str(error))
    there = ", ".join(path.name for path in found.values() if path is not None) or "none"
    missing = ", ".join(model for model, path in found.items() if path is None)
    if missing:
        remedy = f"Nothing to do if this machine is connected: {missing} will be downloaded where a trainer needs it."
        return Check(weights.FOLDER, "warning", f"{value}: {there}; no file of {missing}", remedy)
    return Check(weights.FOLDER, "ok", f"{value}: {there}")


def examine() -> Iterator[Check]:
    """Run all checks, in the order in which a newcomer would mend them."""
    yield check_python()
    yield from check_torch()
    yield check_nnunet()
    for name in FOLDERS:
        yield check_folder(name)
    yield check_workers()
    yield check_discovery()
    yield check_lookup()
    yield check_weights()
