"""Suffixes of trainer names: how a name is split, and what each suffix changes of a trainer.

    <base>[_StructureLoss][_LossNet|_noLossNet][_scratch][_<N>epochs][_<N>iters][_paper]

The order is fixed, so that there is one name for one training. Nothing heavy is imported before a suffix is applied.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

OPTIONS: dict[str, str] = {
    "StructureLoss": "weighted cross-entropy + weighted IoU in the place of nnU-Net's loss",
    "LossNet": "0.1 x LossNet added to the loss",
    "noLossNet": "without the LossNet that the trainer adds by default",
    "scratch": "without pretrained weights",
}
SUFFIXES = {f"_{option}": about for option, about in OPTIONS.items()} | {
    "_<N>epochs": "number of epochs",
    "_<N>iters": "training iterations an epoch",
    "_paper": "the paper's optimiser, schedule, loss and augmentation instead of nnU-Net's; compositions have none",
}
ORDER = ", ".join(SUFFIXES)
SUFFIX_WORD = re.compile(rf"_(?:{'|'.join(OPTIONS)}|\d+epochs?|\d+iters?|paper)(?=_|$)")


class TrainerNameError(ValueError):
    """A trainer name of ours that does not exist; the message lists what does, and the nearest."""


@dataclass(frozen=True)
class ParsedName:
    """A trainer name in its parts. `canonical` is the one way to write it."""

    base: str
    epochs: int | None
    iters: int | None
    paper: bool
    options: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        """The name in the fixed order of suffixes."""
        options = "".join(f"_{option}" for option in OPTIONS if option in self.options)
        epochs = "" if self.epochs is None else f"_{self.epochs}epochs"
        iters = "" if self.iters is None else f"_{self.iters}iters"
        return self.base + options + epochs + iters + ("_paper" if self.paper else "")


def parse(name: str) -> ParsedName:
    """Split a trainer name.

    Raises:
        TrainerNameError: if a suffix is repeated, out of order, zero, or contradicts another.
    """
    words = SUFFIX_WORD.findall(name)
    base = SUFFIX_WORD.sub("", name) if words else name
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
        tuple(option for option in OPTIONS if f"_{option}" in words),
    )
    if {"LossNet", "noLossNet"} <= set(parsed.options):
        raise TrainerNameError(f"{name}: _LossNet and _noLossNet contradict each other. Leave one of them out.")
    if parsed.canonical != name and parsed.canonical == re.sub(r"_(\d+)(epoch|iter)(?=_|$)", r"_\1\2s", name):
        raise TrainerNameError(f"{name}: numbers of epochs and iterations end in s. Type: -tr {parsed.canonical}")
    if parsed.canonical != name:
        raise TrainerNameError(
            f"{name}: suffixes stand at the end, each once, in the order {ORDER}. Type: -tr {parsed.canonical}"
        )
    return parsed


def typed_otherwise(trainer: type, *, add: str = "", drop: str = "") -> str:
    """Say how a trainer is typed with one option more or less.

    Args:
        trainer: a class of ours, or one that a user derived from it, whose name takes no suffixes.
        add: option to add, unless there is one to drop.
        drop: option to leave out, if the name has it.
    """
    if not trainer.__module__.startswith("nnunet_ext."):
        setting = "pretrained = False" if add == "scratch" else "recipe = replace(recipe, added_loss=None)"
        return f"in the class {trainer.__name__} of {trainer.__module__}, set {setting}"
    parsed = parse(trainer.__name__)
    options = tuple(o for o in parsed.options if o != drop)
    if options == parsed.options:
        options = (*options, add)
    return f"-tr {replace(parsed, options=options).canonical}"


def attributes_of(base: Any, parsed: ParsedName) -> dict[str, Any]:
    """Return the class attributes that a name's suffixes give to a trainer.

    Args:
        base: the trainer without them.
        parsed: its name with them.

    Raises:
        TrainerNameError: if a suffix means nothing for this trainer.
    """
    recipe = base.recipe
    if parsed.paper:
        if base.paper_recipe is None:
            raise _meaningless(parsed, "has no recipe of a paper, so _paper", paper=False)
        recipe = base.paper_recipe
    changed: dict[str, Any] = {}
    for option in parsed.options:
        if option == "scratch":
            if not getattr(base, "pretrained", False):
                raise _meaningless(parsed, "has no pretrained weights, so _scratch", option)
            changed["pretrained"] = False
            recipe = replace(recipe, encoder_lr_factor=None)
        else:
            recipe = _LOSSES[option](recipe, parsed)
    if parsed.epochs is not None:
        recipe = replace(recipe, num_epochs=parsed.epochs)
    if parsed.iters is not None:  # nnU-Net validates on a fifth as many iterations; at least 5 make a mean
        recipe = replace(
            recipe,
            num_iterations_per_epoch=parsed.iters,
            num_val_iterations_per_epoch=max(5, parsed.iters // 5),
        )
    return {"recipe": recipe, **changed}


def _meaningless(parsed: ParsedName, why: str, option: str | None = None, paper: bool | None = None) -> Exception:
    left = tuple(o for o in parsed.options if o != option)
    without = replace(parsed, options=left, paper=parsed.paper if paper is None else paper)
    return TrainerNameError(
        f"{parsed.canonical}: {parsed.base} {why} means nothing here. Type: -tr {without.canonical}"
    )


def _structure_loss(recipe: Any, parsed: ParsedName) -> Any:
    losses = importlib.import_module("nnunet_ext.trainers.method_losses")
    if recipe.loss in losses.STRUCTURE_LOSSES:
        which = "with _paper is" if parsed.paper else "is"
        why = f"{which} trained with the structure loss already, so _StructureLoss"
        raise _meaningless(parsed, why, "StructureLoss")
    return replace(recipe, loss=losses.structure_loss)


def _lossnet(recipe: Any, parsed: ParsedName) -> Any:
    if recipe.added_loss is not None:
        raise _meaningless(parsed, "adds LossNet already, so _LossNet", "LossNet")
    return replace(recipe, added_loss=importlib.import_module("nnunet_ext.trainers.method_losses").lossnet)


def _no_lossnet(recipe: Any, parsed: ParsedName) -> Any:
    if recipe.added_loss is None:
        raise _meaningless(parsed, "adds no LossNet, so _noLossNet", "noLossNet")
    return replace(recipe, added_loss=None)


_LOSSES: dict[str, Callable[[Any, ParsedName], Any]] = {
    "StructureLoss": _structure_loss,
    "LossNet": _lossnet,
    "noLossNet": _no_lossnet,
}
