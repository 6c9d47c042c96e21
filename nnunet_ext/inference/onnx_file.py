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
ATOL, RTOL = 1e-3, 1e-4  # a logit z may differ by ATOL + RTOL |z|
CHECKED_BATCHES = (1, 2)
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class OnnxError(RuntimeError):
    """A network cannot be written as ONNX; the message says why and what to do."""


@dataclass(frozen=True)
class Comparison:
    """How the logits of a file and of its network compare, over all checked batches.

    Attributes:
        difference: largest absolute difference of a logit, NaN if there is one.
        excess: largest absolute difference in parts of what this logit may differ by; above 1 is too much.
        other_labels: share of voxels with another label, 0 to 1.
    """

    difference: float
    excess: float
    other_labels: float


@dataclass(frozen=True)
class OnnxFile:
    """A written file, and how it compares with the network.

    Attributes:
        path: the file.
        opset: version of ONNX's operators that it uses.
        found: how their logits compare.
    """

    path: Path
    opset: int
    found: Comparison


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


def write_onnx(
    network: nn.Module, size: Sequence[int], path: Path, opset: int | None = None, sigmoid: bool = False
) -> OnnxFile:
    """Write a network with free batch size and fixed image size, and compare the two on random images.

    Args:
        network: in evaluation mode, on the CPU, `(B, C, *S) -> (B, K, *S)` logits.
        size: `(C, *S)`.
        path: ends in .onnx; an existing file is replaced once the new one has passed.
        opset: version of ONNX's operators; None: PyTorch's default.
        sigmoid: each output is a sigmoid of its own, for the labels that are compared; else one softmax.

    Raises:
        OnnxError: if the network cannot be traced or written, or a logit z of the file differs by more than
            `ATOL` + `RTOL` |z|. No file is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written = _save(_trace(network, size), draft, opset)
        found = compare(network, draft, size, sigmoid)
        if not found.excess <= 1:
            raise OnnxError(
                f"{path} was not written: its logits z would differ from PyTorch's by {found.difference:.3g}, up to "
                f"{found.excess:.3g} times what is allowed ({ATOL:g} + {RTOL:g} |z|), and the label of "
                f"{found.other_labels:.3%} of the voxels. Another --opset may help."
            )
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return OnnxFile(path, written, found)


def compare(network: nn.Module, path: Path, size: Sequence[int], sigmoid: bool = False) -> Comparison:
    """Run a network and its file on the same normal random images, a batch of each of `CHECKED_BATCHES`.

    `sigmoid` as for `write_onnx`.

    Raises `OnnxError` if the file does not run, or gives another shape.
    """
    session = _session(path)
    generator = torch.Generator().manual_seed(0)
    differences, excesses, labels = [], [], []
    for batch in CHECKED_BATCHES:
        image = torch.randn(batch, *size, generator=generator)
        with torch.inference_mode():
            expected = network(image).float()
        found = torch.from_numpy(_run(session, image))
        if found.shape != expected.shape:
            raise OnnxError(f"The file gives logits {tuple(found.shape)}, PyTorch {tuple(expected.shape)}.")
        difference = (found - expected).abs()
        differences.append(difference.max())
        excesses.append((difference / (ATOL + RTOL * expected.abs())).max())
        labels.append((_labels(found, sigmoid) != _labels(expected, sigmoid)).any(1).flatten())
    return Comparison(
        float(torch.stack(differences).max()),
        float(torch.stack(excesses).max()),
        float(torch.cat(labels).float().mean()),
    )


def _labels(logits: Tensor, sigmoid: bool) -> Tensor:
    """Return the regions of sigmoids, `(B, K, *S)`, or the label of a softmax, `(B, 1, *S)`."""
    return logits > 0 if sigmoid else logits.argmax(1, keepdim=True)


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
