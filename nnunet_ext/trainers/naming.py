"""Trainer names: what users type after `-tr`, and the classes that they mean.

    <preset>[_<N>epochs][_<N>iters][_paper]             nnUNetTrainerSLUNet_5L1Res_20epochs_50iters
    nnUNetTrainerExt_<parts>[_<N>epochs][_<N>iters]      nnUNetTrainerExt_Plain_UNet_20epochs
    nnUNetTrainer_<N>epochs_<N>iters                     stock nnU-Net with a budget, for comparisons

Names are resolved on demand. The class found belongs to this module (`getattr(naming, NAME)` finds it again, so it
pickles) and is the same object each time. Nothing heavy is imported before a name is resolved.
"""

from __future__ import annotations

import difflib
import importlib
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

STOCK = "nnUNetTrainer"
COMPOSITION = "nnUNetTrainerExt"

PRESETS: dict[str, str] = {
    "nnUNetTrainerSLUNet": "Spatial Lifting, the paper's 8L2Res network (2D)",
    "nnUNetTrainerSLUNet_5L1Res": "Spatial Lifting, 5 levels, 1 residual convolution (2D)",
    "nnUNetTrainerSLUNet_5L2Res": "Spatial Lifting, 5 levels, 2 residual convolutions (2D)",
    "nnUNetTrainerSLUNet_8L1Res": "Spatial Lifting, 8 levels, 1 residual convolution (2D)",
    "nnUNetTrainerSLUNet_8L2Res": "Spatial Lifting, 8 levels, 2 residual convolutions (2D)",
    "nnUNetTrainerMonaiUNet_5L1Res": "Spatial Lifting's 2D baseline, 5 levels, 1 residual convolution",
    "nnUNetTrainerMonaiUNet_5L2Res": "Spatial Lifting's 2D baseline, 5 levels, 2 residual convolutions",
    "nnUNetTrainerMonaiUNet_8L1Res": "Spatial Lifting's 2D baseline, 8 levels, 1 residual convolution",
    "nnUNetTrainerMonaiUNet_8L2Res": "Spatial Lifting's 2D baseline, 8 levels, 2 residual convolutions",
}


@dataclass(frozen=True)
class Part:
    """A part of a composition.

    Attributes:
        slot: its place in a name; `SLOTS` gives the order.
        name: what users type; of a part with numbers, an example.
        builder: `module:attribute`. A part with numbers is given them as keyword arguments; a lifting is given the
            composition of the other parts first.
        summary: one line about it.
        pattern: regular expression of the names of a part with numbers, each a named group.
        trainer: `module:attribute` of the trainer that it needs, if not the base trainer.
    """

    slot: str
    name: str
    builder: str
    summary: str
    pattern: str | None = None
    trainer: str | None = None


SLOTS = ("encoder", "enhancement", "decoder", "head", "lifting")  # the order in a name
PARTS: tuple[Part, ...] = (
    Part(
        "encoder",
        "Plain",
        "nnunet_ext.architectures.encoders.plan:plan_encoder",
        "the plan's own encoder (default)",
    ),
    Part(
        "decoder",
        "UNet",
        "nnunet_ext.architectures.decoders.unet:UNetDecoder",
        "nnU-Net's own decoder (default)",
    ),
    Part(
        "decoder",
        "MS",
        "nnunet_ext.architectures.decoders.multiscale_subtraction:MSNET_DECODER",
        "subtraction units between scales (MSNet)",
    ),
    Part(
        "decoder",
        "M2S",
        "nnunet_ext.architectures.decoders.multiscale_subtraction:M2SNET_DECODER",
        "multi-scale subtraction units between scales (M2SNet)",
    ),
    Part(
        "lifting",
        "SL16",
        "nnunet_ext.architectures.lifting.composition:lift",
        "all of it in 3D around the image copied 16 times; SL4 to SL32, SL16C8: channels (2D)",
        r"SL(?P<depth>[1-9]\d*|0)(?:C(?P<channels>[1-9]\d*|0))?",
        "nnunet_ext.trainers.spatial_lifting:SpatialLiftingTrainer",
    ),
)

_SUFFIX_WORD = re.compile(r"_(?:\d+epochs?|\d+iters?|paper)(?=_|$)")
_resolved: dict[str, type] = {}


class TrainerNameError(ValueError):
    """A trainer name of ours that does not exist; the message lists what does, and the nearest."""


@dataclass(frozen=True)
class ParsedName:
    """A trainer name in its parts. `canonical` is the one way to write it."""

    base: str
    epochs: int | None
    iters: int | None
    paper: bool

    @property
    def canonical(self) -> str:
        """The name in the fixed order of suffixes."""
        epochs = "" if self.epochs is None else f"_{self.epochs}epochs"
        iters = "" if self.iters is None else f"_{self.iters}iters"
        return self.base + epochs + iters + ("_paper" if self.paper else "")


def parse(name: str) -> ParsedName:
    """Split a trainer name.

    Raises:
        TrainerNameError: if a suffix is repeated, out of order, or zero.
    """
    words = _SUFFIX_WORD.findall(name)
    base = _SUFFIX_WORD.sub("", name) if words else name
    numbers = {unit: [int(w) for w in re.findall(rf"_(\d+){unit}s?(?=_|$)", name)] for unit in ("epoch", "iter")}
    for unit, found in numbers.items():
        if len(found) > 1 or 0 in found:
            raise TrainerNameError(
                f"{name}: the suffix _<N>{unit}s is allowed once, with N of at least 1; got "
                f"{', '.join(f'_{n}{unit}s' for n in found)}. E.g. {base}_20epochs_50iters"
            )
    parsed = ParsedName(
        base,
        numbers["epoch"][0] if numbers["epoch"] else None,
        numbers["iter"][0] if numbers["iter"] else None,
        "_paper" in words,
    )
    if parsed.canonical != name and parsed.canonical == re.sub(r"_(\d+)(epoch|iter)(?=_|$)", r"_\1\2s", name):
        raise TrainerNameError(f"{name}: numbers of epochs and iterations end in s. Type: -tr {parsed.canonical}")
    if parsed.canonical != name:
        raise TrainerNameError(
            f"{name}: suffixes stand at the end, in the order _<N>epochs_<N>iters_paper. Type: -tr {parsed.canonical}"
        )
    return parsed


def resolve(name: str) -> type:
    """Return the trainer class of a name; the same object each time.

    Raises:
        TrainerNameError: naming the nearest existing trainer, and all.
    """
    if name not in _resolved:
        parsed = parse(name)
        _resolved[name] = _base_class(name) if parsed.base == name else _with_suffixes(_parent(parsed), parsed)
    return _resolved[name]


def _base_class(name: str) -> type:
    if name in PRESETS:
        return getattr(importlib.import_module("nnunet_ext.trainers.presets"), name)
    if name.startswith(f"{COMPOSITION}_"):
        return _composition(name)
    raise TrainerNameError(f"There is no trainer {name}. {suggestions(name)}")


def _parent(parsed: ParsedName) -> type:
    """Return the class that a name with suffixes is derived from."""
    if parsed.base == STOCK:
        return importlib.import_module("nnunet_ext.trainers.base").nnUNetTrainerExt
    try:
        return resolve(parsed.base)
    except TrainerNameError:
        if parsed.base.startswith(f"{COMPOSITION}_"):
            raise
        raise TrainerNameError(f"There is no trainer {parsed.canonical}. {suggestions(parsed.canonical)}") from None


def _with_suffixes(base: Any, parsed: ParsedName) -> type:
    recipe = base.recipe
    if parsed.paper:
        if base.paper_recipe is None:
            raise TrainerNameError(
                f"{parsed.canonical}: {parsed.base} has no recipe of a paper, so _paper means nothing here. "
                f"Type: -tr {replace(parsed, paper=False).canonical}"
            )
        recipe = base.paper_recipe
    if parsed.epochs is not None:
        recipe = replace(recipe, num_epochs=parsed.epochs)
    if parsed.iters is not None:  # nnU-Net validates on a fifth as many iterations; at least 5 make a mean
        recipe = replace(
            recipe,
            num_iterations_per_epoch=parsed.iters,
            num_val_iterations_per_epoch=max(5, parsed.iters // 5),
        )
    doc = f"{parsed.base} with the suffixes of its name."
    return _make_class(parsed.canonical, (base,), recipe=recipe, __doc__=doc)


def _composition(name: str) -> type:
    spec: Any = importlib.import_module("nnunet_ext.architectures.network").ComposedSpec()
    trainers: list[type] = []
    last = -1
    words = name.removeprefix(f"{COMPOSITION}_")
    for word in words.split("_"):
        part, numbers = _find_part(word)
        if part is None or SLOTS.index(part.slot) <= last:
            raise TrainerNameError(f"{name}: {_wrong_part(word, part)}")
        last = SLOTS.index(part.slot)
        builder = _load(part.builder)
        try:
            if part.slot == "lifting":
                spec = builder(spec, **numbers)
            else:
                spec = replace(spec, **{part.slot: partial(builder, **numbers) if numbers else builder})
        except ValueError as error:
            raise TrainerNameError(f"{name}: the part {word}: {error}") from error
        if part.trainer is not None:
            trainers.append(_load(part.trainer))
    bases = tuple(trainers) or (_load("nnunet_ext.trainers.base:nnUNetTrainerExt"),)
    return _make_class(name, bases, spec=spec, paper_recipe=None, __doc__=f"The composition {words}.")


def _load(where: str) -> Any:
    module, attribute = where.split(":")
    return getattr(importlib.import_module(module), attribute)


def _find_part(word: str) -> tuple[Part | None, dict[str, int]]:
    """Return the part that a word of a name means, and the numbers in it."""
    for part in PARTS:
        if part.pattern is not None and (match := re.fullmatch(part.pattern, word)):
            return part, {k: int(v) for k, v in match.groupdict().items() if v is not None}
        if part.name == word:
            return part, {}
    return None, {}


def _wrong_part(word: str, part: Part | None) -> str:
    listed = "; ".join(f"{p.name} ({p.slot}: {p.summary})" for p in PARTS)
    order = ", ".join(SLOTS)
    if part is not None:
        return f"the part {word} ({part.slot}) is out of order or doubled. The order is {order}; each at most once."
    near = difflib.get_close_matches(word, [p.name for p in PARTS], 1, 0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"there is no part {word!r}.{hint} Parts: {listed}. The order is {order}; each is optional."


def _make_class(name: str, bases: tuple[type, ...], **attributes: Any) -> type:
    return type(name, bases, {"__module__": __name__, "__qualname__": name, **attributes})


def suggestions(name: str) -> str:
    """Say which trainers exist and which is nearest to a name that does not."""
    words = "".join(_SUFFIX_WORD.findall(name))
    base = _SUFFIX_WORD.sub("", name)
    lowered = {p.lower(): p for p in PRESETS} | {p.lower().removeprefix(STOCK.lower()): p for p in PRESETS}
    near = difflib.get_close_matches(base.lower(), list(lowered), 1, 0.6)
    hint = f"Did you mean {lowered[near[0]]}{words}? " if near else ""
    if base == COMPOSITION:
        hint = f"Name its parts, e.g. {COMPOSITION}_{'_'.join(p.name for p in PARTS[:2])}{words}. "
    listed = ", ".join(PRESETS)
    parts = ", ".join(p.name for p in PARTS)
    return (
        f"{hint}Trainers: {listed}. Compositions: {COMPOSITION}_<parts>, parts of {parts}. Suffixes, in this order: "
        "_<N>epochs, _<N>iters, _paper. `nnunet_ext info` says what each is."
    )


def __getattr__(name: str) -> type:
    """Resolve trainer names as attributes of this module, which is what makes the classes importable."""
    if name.startswith("_") or not name.startswith(STOCK):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return resolve(name)
    except TrainerNameError as error:
        raise AttributeError(str(error)) from error
