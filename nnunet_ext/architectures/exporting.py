"""Whether a network is being traced for export, where some operations have no counterpart."""

from __future__ import annotations

import torch

_is_exporting = getattr(torch.compiler, "is_exporting", None)  # of torch 2.7 and later


def exporting() -> bool:
    """Return whether torch.export traces, as for ONNX; False with a torch that cannot tell."""
    return _is_exporting is not None and _is_exporting()
