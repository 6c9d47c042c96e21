"""timm's pretrained weights in networks that have the layers of its models under the same names, by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nnunet_ext.weights import WeightsError


def copy_by_name(
    network: nn.Module, sources: Mapping[str, str], state: Mapping[str, Tensor], name: str, input_channels: int
) -> None:
    """Copy tensors of timm's model into a network's own ones, which an optimiser may hold already: all or none.

    Args:
        network: to be loaded.
        sources: names of its tensors -> names in the state; a name in the state may stand several times.
        state: the state dict of timm's model with 3 input channels.
        name: of the model, for the message.
        input_channels: C of the network, to which timm adapts `conv1`: one channel gets the sum over red, green and
            blue, more get them in turn, scaled.

    Raises:
        WeightsError: if the state has not all of them, in these shapes.
    """
    from timm.models import adapt_input_conv

    given = dict(state)
    if "conv1.weight" in given:
        given["conv1.weight"] = adapt_input_conv(input_channels, given["conv1.weight"])
    own = network.state_dict()
    missing = sorted({s for s in sources.values() if s not in given})
    shapes = [s for k, s in sources.items() if s in given and given[s].shape != own[k].shape]
    differs = {"are missing": missing, "have another shape": shapes}
    if any(differs.values()):
        told = "; ".join(f"{len(k)} {what}, e.g. {', '.join(k[:2])}" for what, k in differs.items() if k)
        raise WeightsError(
            f"these are not the weights of timm's {name}: of the {len(set(sources.values()))} tensors that the network "
            f'takes, {told}. Give the whole model, as timm.create_model("{name}", pretrained=True).state_dict().'
        )
    with torch.no_grad():
        for key, source in sources.items():
            own[key].copy_(given[source])
