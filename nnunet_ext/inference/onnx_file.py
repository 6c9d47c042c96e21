"""A network as an ONNX file that was compared with the network before it got its name."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

INPUT, OUTPUT, BATCH = "image", "logits", "batch"
LEAST_OPSET = 18  # PyTorch's exporter writes no older operators
TOLERANCE = 1e-3  # of the largest logit, and of 1 where all are smaller
CHECKED_BATCHES = (1, 2)
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class OnnxError(RuntimeError):
    """A network cannot be written as ONNX; the message says why and what to do."""


@dataclass(frozen=True)
class OnnxFile:
    """A written file, and how it compares with the network.

    Attributes:
        path: the file.
        opset: version of ONNX's operators that it uses.
        difference: largest absolute difference of the logits, over all checked batches.
        allowed: the difference up to which a file is kept, for the logits that were seen.
    """

    path: Path
    opset: int
    difference: float
    allowed: float


def require_onnx() -> None:
    """Raise `OnnxError` if a package of the extra `onnx` is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise OnnxError(f'{", ".join(missing)}: not installed. Type: pip install "nnunet-ext[onnx]"')


def check_opset(opset: int | None) -> None:
    """Raise `OnnxError` if a version of the operators cannot be written; None is the exporter's own choice."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset is not None and not LEAST_OPSET <= opset <= newest:
        raise OnnxError(f"--opset {opset}: allowed are {LEAST_OPSET} to {newest}; without --opset, PyTorch chooses.")


def write_onnx(network: nn.Module, size: Sequence[int], path: Path, opset: int | None = None) -> OnnxFile:
    """Write a network with free batch size and fixed image size, and compare the two on random images.

    Args:
        network: in evaluation mode, on the CPU, `(B, C, *S) -> (B, K, *S)` logits.
        size: `(C, *S)`.
        path: ends in .onnx; an existing file is replaced once the new one has passed.
        opset: version of ONNX's operators; None: PyTorch's default.

    Raises:
        OnnxError: if the network cannot be traced or written, or the file's logits differ by more than `TOLERANCE`
            times the largest logit (at least times 1). No file is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written = _save(_trace(network, size), draft, opset)
        difference, largest = compare(network, draft, size)
        allowed = TOLERANCE * max(1.0, largest)
        if not difference <= allowed:
            raise OnnxError(
                f"{path} was not written: its logits would differ from PyTorch's by {difference:.3g}, "
                f"more than {allowed:.3g} ({TOLERANCE:g} of the largest logit). Another --opset may help."
            )
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return OnnxFile(path, written, difference, allowed)


def compare(network: nn.Module, path: Path, size: Sequence[int]) -> tuple[float, float]:
    """Run a network and its file on the same normal random images, a batch of each of `CHECKED_BATCHES`.

    Returns the largest absolute difference of the logits, NaN if there is one, and the network's largest absolute
    logit.

    Raises `OnnxError` if the file does not run, or gives another shape.
    """
    session = _session(path)
    generator = torch.Generator().manual_seed(0)
    differences, largest = [], 0.0
    for batch in CHECKED_BATCHES:
        image = torch.randn(batch, *size, generator=generator)
        with torch.inference_mode():
            expected = network(image).float()
        found = torch.from_numpy(_run(session, image))
        if found.shape != expected.shape:
            raise OnnxError(f"The file gives logits {tuple(found.shape)}, PyTorch {tuple(expected.shape)}.")
        differences.append((found - expected).abs().max())
        largest = max(largest, float(expected.abs().max()))
    return float(torch.stack(differences).max()), largest


def _trace(network: nn.Module, size: Sequence[int]) -> Any:
    """Trace for any batch size; without TorchDynamo first, which takes most, then with it.

    Python code that asks for `len(batch)` fixes the batch size in the first way, but not in the second.
    """
    example = torch.randn(2, *size)
    failures: list[str] = []
    for strict in (False, True):
        try:
            with _quiet(), torch.no_grad():
                return torch.export.export(network, (example,), dynamic_shapes=_free_batch(), strict=strict)
        except Exception as error:  # the tracers raise many kinds
            failures.append(f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}")
            last = error
    raise OnnxError(f"PyTorch cannot trace {type(network).__name__}: {'; then '.join(failures)}") from last


def _save(program: Any, path: Path, opset: int | None) -> int:
    check_opset(opset)
    with _quiet():
        converted = torch.onnx.export(
            program, dynamo=True, verbose=False, opset_version=opset,
            input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=_free_batch(),
        )  # fmt: skip
    if converted is None:
        raise OnnxError("PyTorch returned no ONNX program.")
    found = converted.model.opset_imports[""]
    if opset is not None and found != opset:
        raise OnnxError(f"--opset {opset}: this network could only be written with {found}. Type: --opset {found}")
    converted.save(path, external_data=False)
    return int(found)


def _free_batch() -> tuple[dict[int, Any], ...]:
    return ({0: torch.export.Dim(BATCH)},)


def _session(path: Path) -> Any:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        onnx.checker.check_model(str(path))
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # both raise kinds of their own, derived from Exception only
        raise OnnxError(f"onnxruntime cannot load what was written: {error}") from error


def _run(session: Any, image: Tensor) -> Any:
    try:
        return session.run([OUTPUT], {INPUT: image.numpy()})[0]
    except Exception as error:
        raise OnnxError(f"onnxruntime cannot run what was written on a batch of {len(image)}: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' notes on their own progress to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
