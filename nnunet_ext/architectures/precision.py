"""Parts of a network that half precision is too coarse for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device_type: str) -> AbstractContextManager:
    """Return a context in which autocast is off; the caller makes its tensors float32.

    Args:
        device_type: e.g. `cuda`. torch's meta device, on which MACs are counted, has no autocast.
    """
    if not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)
