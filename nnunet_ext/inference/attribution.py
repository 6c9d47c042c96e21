"""What in the image each slice of a lifted network rests on: gradients and Grad-CAM, through captum.

The score of slice d is the mean log-odds of one class in that slice, over the pixels of interest. Log-odds, because
probabilities near 0 and 1 have no gradient left.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.inference.log_odds import log_odds


class AttributionError(RuntimeError):
    """An attribution cannot be computed; the message says what to type."""


@dataclass(frozen=True)
class Target:
    """What the scores are of.

    Attributes:
        output: index of the class among the network's outputs.
        pixels: `(H, W)` bool, at least one True: where its log-odds are averaged.
    """

    output: int
    pixels: Tensor


def require_captum() -> None:
    """Raise `AttributionError` if captum is not installed."""
    if importlib.util.find_spec("captum") is None:
        raise AttributionError('captum is not installed. Type: pip install "nnunet-ext[inspect]"')


def slice_scores(network: LiftedNetwork, image: Tensor, target: Target) -> Tensor:
    """Return the mean log-odds of the target's class over the target's pixels in every slice.

    Args:
        image: `(B, C, H, W)`.

    Returns:
        `(B, D)`.
    """
    odds = log_odds(network.slices(image), target.output, bool(network.selection.uses_sigmoid))
    return odds[..., target.pixels].mean(-1)


def saliency(network: LiftedNetwork, image: Tensor, target: Target) -> Tensor:
    """Return |d score of slice d / d image|, the largest over the channels.

    Args:
        network: in evaluation mode.
        image: `(1, C, H, W)`, preprocessed.

    Returns:
        `(D, H, W)`, on the CPU; change of the log-odds per unit of the preprocessed image.
    """
    from captum.attr import Saliency

    method = Saliency(lambda x: slice_scores(network, x, target))
    with plain_volumes(network):
        x = image.detach().clone().requires_grad_()
        maps = [method.attribute(x, target=d).detach()[0].amax(0).cpu() for d in range(network.depth)]
    return torch.stack(maps)


def grad_cam(network: LiftedNetwork, image: Tensor, target: Target, layer: str | None = None) -> Tensor:
    """Return each slice's Grad-CAM: a layer's channels, weighted by their mean gradients, negative values cut off.

    The layer's volume is interpolated to the size that the network works at, cut at slice d, and the padding that
    the network adds inside is cut off.

    Args:
        network: in evaluation mode.
        image: `(1, C, H, W)`, preprocessed.
        layer: name of a module inside the network, one of `layers`; None: `default_layer`.

    Returns:
        `(D, H, W)`, on the CPU, not normalised.

    Raises:
        AttributionError: for an unknown layer; the message lists all.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    with plain_volumes(network):
        module = network.network.get_submodule(choose_layer(network, image, layer))
        working_size = _working_size(network, image)
        method = LayerGradCam(lambda x: slice_scores(network, x, target), module)
        maps = []
        for d in range(network.depth):
            cam = method.attribute(image, target=d, relu_attributions=True).detach()[:1]
            volume = LayerAttribution.interpolate(cam, working_size, interpolate_mode="trilinear")
            maps.append(_cut_padding(volume[0, 0, d], image.shape[2:]).cpu())
    return torch.stack(maps)


def layers(network: LiftedNetwork, image: Tensor) -> dict[str, int]:
    """Return the channels of the modules inside the network that give volumes of several, in the order of use.

    Where a module only passes on what its last part gave, the outer one is named.

    Args:
        image: `(1, C, H, W)`, of any size that the network takes.
    """
    found: dict[str, int] = {}
    latest: Tensor | None = None

    def note(name: str, output: Any) -> None:
        nonlocal latest
        if not isinstance(output, Tensor) or output.ndim != 5 or output.shape[1] < 2:
            return
        if output is latest:
            found.popitem()
        found.pop(name, None)
        found[name], latest = output.shape[1], output

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in network.network.named_modules()
        if name
    ]
    try:
        with plain_volumes(network), torch.no_grad():
            network.slices(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def choose_layer(network: LiftedNetwork, image: Tensor, layer: str | None) -> str:
    """Return `layer` if it is one of `layers`, and for None the last one that has other channels than the output's.

    The network's last modules have a channel for each class; before them stands the last one with features.

    Raises:
        AttributionError: for an unknown layer, or if there is no default; the message lists all.
    """
    known = layers(network, image)
    if layer in known:
        return layer
    listed = "".join(f"\n  {name} ({channels} channels)" for name, channels in known.items())
    if layer is not None:
        raise AttributionError(f"--layer {layer}: not a layer with a volume of several channels. These are:{listed}")
    with torch.no_grad():
        outputs = network.slices(image).shape[1]
    features = [name for name, channels in known.items() if channels != outputs]
    if not features:
        raise AttributionError(f"No layer is the default for Grad-CAM. Choose one with --layer:{listed}")
    return features[-1]


@contextlib.contextmanager
def plain_volumes(network: LiftedNetwork) -> Iterator[None]:
    """Let the modules inside see ordinary tensors `(B, C, D, H, W)` with all slices, so that hooks on them work."""
    before, network.form = network.form, "plain"
    try:
        yield
    finally:
        network.form = before


def _working_size(network: LiftedNetwork, image: Tensor) -> tuple[int, ...]:
    """Return (D, H, W) of the volume that the 3D network gets, padding included."""
    seen: list[tuple[int, ...]] = []
    hook = network.network.register_forward_pre_hook(lambda _m, inputs: seen.append(tuple(inputs[0].shape[2:])))
    try:
        with torch.no_grad():
            network.slices(image)
    finally:
        hook.remove()
    return seen[0]


def _cut_padding(values: Tensor, size: torch.Size) -> Tensor:
    """Cut `(H, W)` evenly to a size, as `architectures.padding` padded it."""
    top, left = ((have - want) // 2 for have, want in zip(values.shape, size, strict=True))
    return values[top : top + size[0], left : left + size[1]]
