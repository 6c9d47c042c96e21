"""Which channels a network with instructive feature enhancement (IFE) selects, window by window of an image.

nnU-Net predicts with its own sliding window; hooks on the network's `ChannelSelection`s note every channel's score.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor, nn

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection
from nnunet_ext.inference.inspection import InspectionError
from nnunet_ext.inference.trained_model import bare_network

Place = tuple[int | slice, ...]


@dataclass(frozen=True)
class Selection:
    """One place of a network where channels are selected.

    Attributes:
        name: of the module in the network.
        stage: of the encoder, 0 for the finest; None if the network does not say.
        module: what selects.
    """

    name: str
    stage: int | None
    module: ChannelSelection

    @property
    def label(self) -> str:
        """Its name, and the stage where it is known."""
        return self.name if self.stage is None else f"{self.name} (stage {self.stage})"

    @property
    def how(self) -> str:
        """What it selects by, for titles."""
        return "at random, scores without meaning" if self.module.score == "random" else f"by {self.module.score}"


@dataclass(frozen=True)
class Window:
    """One window of nnU-Net's over an image `(Z, H, W)`.

    Attributes:
        padded: where it is in the padded image, an index an axis; of a 2D configuration the first is a number.
        image: the part of the image that it holds.
        part: where that part is in the window, a slice for each axis of the patch. The rest is padding.
    """

    padded: Place
    image: Place
    part: tuple[slice, ...]


@dataclass(frozen=True)
class Record:
    """What was selected in an image.

    Attributes:
        windows: W of them.
        scores: of each selection, `(W, C)` float32 on the CPU.
        logits: `(K, Z, H, W)`, nnU-Net's without mirroring.
    """

    windows: list[Window]
    scores: list[Tensor]
    logits: Tensor


def find_selections(network: nn.Module) -> list[Selection]:
    """Return the network's `ChannelSelection`s that select channels, in the order of its modules."""
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, ChannelSelection) and m.k > 0]
    return [Selection(name, _stage(network, name), module) for name, module in found]


def unmirrored(predictor: nnUNetPredictor) -> nnUNetPredictor:
    """Return a copy of a predictor that runs each window once, without the wrapper of torch.compile.

    It collects logits on the CPU: where memory on the GPU is short, nnU-Net would begin again, and windows be noted
    twice.
    """
    own = copy.copy(predictor)
    own.network, own.use_mirroring, own.perform_everything_on_device = bare_network(predictor), False, False
    return own


def windows_of(predictor: nnUNetPredictor, shape: Sequence[int]) -> list[Window]:
    """Return nnU-Net's windows over an image of `shape` (Z, H, W), in its order."""
    blank = torch.empty((1, *shape), device="meta")
    padded, crop = pad_nd_image(
        blank, predictor.configuration_manager.patch_size, "constant", {"value": 0}, True, None
    )  # fmt: skip
    slicers = predictor._internal_get_sliding_window_slicers(padded.shape[1:])
    return [_window(slicer[1:], crop[1:]) for slicer in slicers]


@torch.inference_mode()
def record(predictor: nnUNetPredictor, selections: Sequence[Selection], volume: Tensor) -> Record:
    """Predict an image with nnU-Net's sliding window, and note the scores of all channels.

    Args:
        predictor: from `unmirrored`.
        selections: of its network.
        volume: `(C, Z, H, W)`, preprocessed.

    Raises:
        InspectionError: if the network does not use every selection once in a window.
    """
    windows = windows_of(predictor, volume.shape[1:])
    rows: list[list[Tensor]] = [[] for _ in selections]

    def note(number: int, x: Tensor) -> None:
        rows[number].append(selections[number].module.scores(x)[0].float().cpu())

    with _hooks(selections, note):
        logits = predictor.predict_sliding_window_return_logits(volume)
    for selection, found in zip(selections, rows, strict=True):
        if len(found) != len(windows):
            raise InspectionError(
                f"{selection.name}: selected {len(found)} times in {len(windows)} windows. `nnunet_ext inspect ife` "
                f"takes networks that use each of their selections once in a prediction."
            )
    return Record(windows, [torch.stack(found) for found in rows], logits.float().cpu())


@torch.inference_mode()
def maps_of(
    predictor: nnUNetPredictor, selections: Sequence[Selection], volume: Tensor, window: Window
) -> list[Tensor]:  # fmt: skip
    """Predict one window, and return the maps that each selection chooses from, `(C, *s)` float32 on the CPU."""
    patch = predictor.configuration_manager.patch_size
    padded = pad_nd_image(volume, patch, "constant", {"value": 0}, False, None)
    place = (slice(None), *window.padded)
    x = padded[place][None].to(predictor.device)
    maps: dict[int, Tensor] = {}
    cast = torch.autocast("cuda") if predictor.device.type == "cuda" else nullcontext()  # as nnU-Net's
    with cast, _hooks(selections, lambda number, found: maps.update({number: found[0].float().cpu()})):
        predictor.network(x)
    return [maps[number] for number in range(len(selections))]


def chosen_channels(selection: Selection, scores: Tensor) -> Tensor:
    """Return `(W, C)` bool of `(W, C)` scores: the channels that are selected."""
    return torch.zeros(scores.shape, dtype=torch.bool).scatter_(1, selection.module.choose(scores), True)


def _stage(network: nn.Module, name: str) -> int | None:
    """Return the stage of `PARENT.selections.N`, where the parent has as many numbers of stages as selections."""
    parent, _, number = name.rpartition(".")
    owner, _, last = parent.rpartition(".")
    if last != "selections" or not number.isdigit():
        return None
    stages = getattr(network.get_submodule(owner), "stages", None)
    n_selections = len(list(network.get_submodule(parent).children()))
    if not isinstance(stages, (tuple, list)) or len(stages) != n_selections:
        return None
    stage = stages[int(number)]
    return stage if isinstance(stage, int) else None


def _window(padded: Sequence[int | slice], crop: Sequence[slice]) -> Window:
    image: list[int | slice] = []
    part = []
    for place, box in zip(padded, crop, strict=True):
        if isinstance(place, int):
            image.append(place - int(box.start))
            continue
        low, high = max(place.start, int(box.start)), min(place.stop, int(box.stop))
        image.append(slice(low - int(box.start), high - int(box.start)))
        part.append(slice(low - place.start, high - place.start))
    return Window(tuple(padded), tuple(image), tuple(part))


@contextmanager
def _hooks(selections: Sequence[Selection], hear: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Inside the block, tell of each selection's number and input whenever it is used."""

    def hook(number: int) -> Callable[[nn.Module, tuple, Tensor], None]:
        return lambda module, inputs, output: hear(number, inputs[0])

    handles = [s.module.register_forward_hook(hook(n)) for n, s in enumerate(selections)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
