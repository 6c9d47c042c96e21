"""Where pretrained weights come from: a file of the user's, or the download of the library that publishes them.

Weights are read when a training begins and at no other time: a network is built without them for prediction, and a
continued training has its own. They are never replaced by random ones: what cannot be had is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "nnUNet_ext_weights"  # environment variable, written as nnU-Net writes its own
ENDINGS = (".pth", ".pt", ".safetensors")
T = TypeVar("T")


class WeightsError(RuntimeError):
    """Pretrained weights cannot be had or do not fit; the message says what to type."""


def local_file(model: str) -> Path | None:
    """Return the user's file of a model's weights.

    Args:
        model: name of the model in its library, e.g. `vgg16` (torchvision) or `res2net50d` (timm). Taken are the files
            `<model>.pth`, `.pt` or `.safetensors`, also with a version behind the name (`vgg16-397923af.pth`,
            `res2net50d.in1k.safetensors`), in the folder that the environment variable `nnUNet_ext_weights` names.

    Returns:
        None if the variable is not set or the folder has no such file.

    Raises:
        WeightsError: if the variable names no folder, or the folder has several files of the model.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    if not os.path.isdir(folder):
        raise WeightsError(f"{FOLDER}={folder} is no folder. Type: export {FOLDER}=/a/folder/with/{model}.pth")
    named = re.compile(rf"{re.escape(model)}([-.].*)?")
    found = sorted(p for p in Path(folder).iterdir() if p.suffix in ENDINGS and named.fullmatch(p.stem))
    if len(found) > 1:
        listed = ", ".join(p.name for p in found)
        raise WeightsError(f"{FOLDER}={folder} has several files of {model}: {listed}. Leave one of them there.")
    return found[0] if found else None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a `.pth`, `.pt` or `.safetensors` file, to the CPU; no code in it is run.

    Raises:
        WeightsError: if the file cannot be read, or holds anything but tensors by name.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}). Give a file of tensors by name, as "
            "torch.save(model.state_dict(), FILE) or safetensors write it."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not tensors by name (a state dict).")
    return content


def fetch(model: str, source: str, download: Callable[[], T], instead: str) -> T:
    """Return what a library's download returns.

    Args:
        model: name of the model, for the message.
        source: who publishes the weights, for the message.
        download: fetches them; its library keeps them for the next time.
        instead: what to type to train without, for the message.

    Raises:
        WeightsError: if it fails, for whatever reason; each library has errors of its own.
    """
    try:
        return download()
    except Exception as error:
        raise WeightsError(
            f"The pretrained weights of {model} could not be fetched from {source} ({type(error).__name__}: {error}). "
            f"{_searched(model)}Put them into a folder as {model}.pth or {model}.safetensors and type: "
            f"export {FOLDER}=/that/folder   Or train without them: {instead}"
        ) from error


def _searched(model: str) -> str:
    """Say what the user's folder holds, if there is one."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return ""
    names = sorted(p.name for p in Path(folder).iterdir())
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"{FOLDER}={folder} has no file {model}.pth, {model}-*.pth or the like; it holds: {shown or 'nothing'}. "
