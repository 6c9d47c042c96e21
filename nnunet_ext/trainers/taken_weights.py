"""What `-pretrained_weights` did not take.

nnU-Net lists the tensors that it takes from the file. Those of layers that it passes over (`.seg_layers.`) stay as they
were initialised, whether or not the file has them, without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def tell_what_stays(network: nn.Module, say: Callable[[str], None]) -> list[str]:
    """Say, whenever a network takes weights of which some are its own, which these are.

    nnU-Net's loader puts what it takes into the network's own state dict and loads that, so that tensors which it does
    not take are the network's own.

    Args:
        network: without wrappers around it.
        say: takes a line for the user.

    Returns:
        the names of tensors that were taken from another place, which grows with each loading.
    """
    taken: list[str] = []

    def before_loading(module: nn.Module, state: dict[str, Tensor], *_: Any) -> None:
        own = module.state_dict(keep_vars=True)
        stays = [k for k, v in state.items() if k in own and v.data_ptr() == own[k].data_ptr()]
        taken.extend(k for k in state if k not in set(stays))
        if stays:
            blocks = Counter(".".join(k.split(".")[:2]) for k in stays)
            listed = ", ".join(f"{block} ({n} tensors)" for block, n in blocks.items())
            say(f"pretrained weights: {len(state) - len(stays)} tensors taken; not taken, as initialised: {listed}")

    network.register_load_state_dict_pre_hook(before_loading)
    return taken
