"""Trainer names: what users type after `-tr`, and the classes that they mean.

    <preset>[_<suffixes>]                    nnUNetTrainerSLUNet_5L1Res_20epochs_50iters
    nnUNetTrainerExt_<parts>[_<suffixes>]    nnUNetTrainerExt_Plain_M2S_20epochs
    nnUNetTrainer_<suffixes>                 stock nnU-Net with a budget or another loss, for comparisons

Names are resolved on demand. The class found belongs to this module (`getattr(naming, NAME)` finds it again, so it
pickles) and is the same object each time. Nothing heavy is imported before a name is resolved.
"""

from __future__ import annotations

import difflib
import importlib
import re
from dataclasses import dataclass, replace
from typing import Any

from nnunet_ext.trainers.suffixes import OPTIONS, ORDER, SUFFIX_WORD, ParsedName, TrainerNameError, attributes_of, parse

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
    "nnUNetTrainerMSNet": "MSNet: subtraction decoder on the plan's encoder, and LossNet (2D and 3D)",
    "nnUNetTrainerM2SNet": "M2SNet: multi-scale subtraction decoder on the plan's encoder, and LossNet (2D and 3D)",
    "nnUNetTrainerMSNet_Res2Net50": "MSNet as published, on a pretrained Res2Net-50, and LossNet (2D)",
    "nnUNetTrainerM2SNet_Res2Net50": "M2SNet as published, on a pretrained Res2Net-50, and LossNet (2D)",
    "nnUNetTrainerM2SNet_Res2Net50_DenseFilter": "the same with its code's filters, for the authors' checkpoints (2D)",
    "nnUNetTrainerOVeNet": "OVeNet: the plan's network and offset vectors that refine its class map (2D and 3D)",
    "nnUNetTrainerHRNetW48": "OVeNet's base: HRNetV2-W48, pretrained (2D)",
    "nnUNetTrainerOVeNet_HRNetW48": "OVeNet as published, on a pretrained HRNetV2-W48 (2D)",
    "nnUNetTrainerOVeNet_HRNetW48_Frozen": "the same, the offset branch alone trained, on a finished HRNetV2-W48 (2D)",
    "nnUNetTrainerHRNetW48OCR": "OVeNet's other base: HRNetV2-W48 with object-contextual representations (2D)",
    "nnUNetTrainerOVeNet_HRNetW48OCR": "OVeNet as published on HRNetV2-W48 with OCR (2D)",
    "nnUNetTrainerLossScaled": "OVeNet's control: nnU-Net's own network with its loss times 2 (2D and 3D)",
    "nnUNetTrainerIFECurvature": "IFE: the plan's network, channels of most curvature given twice (2D and 3D)",
    "nnUNetTrainerIFEEntropy": "IFE: the plan's network, channels of most entropy given twice (2D and 3D)",
    "nnUNetTrainerIFERandom": "IFE's control: as many channels given twice, drawn at random (2D and 3D)",
    "nnUNetTrainerUNet": "IFE's U-Net, 64 to 1024 channels (2D)",
    "nnUNetTrainerUNet_IFECurvature": "the same, channels of most curvature given twice (2D)",
    "nnUNetTrainerUNet_IFEEntropy": "the same, channels of most entropy given twice (2D)",
    "nnUNetTrainerUNet_IFERandom": "the same, as many channels given twice, drawn at random (2D)",
    "nnUNetTrainerDeepLabV3Plus": "IFE's DeepLabV3+, on a pretrained ResNet-101 (2D)",
    "nnUNetTrainerDeepLabV3Plus_IFECurvature": "the same, channels of most curvature given twice (2D)",
    "nnUNetTrainerDeepLabV3Plus_IFEEntropy": "the same, channels of most entropy given twice (2D)",
    "nnUNetTrainerDeepLabV3Plus_IFERandom": "the same, as many channels given twice, drawn at random (2D)",
    "nnUNetTrainerSINetV2": "IFE's SINetV2, on a pretrained Res2Net-50 (2D)",
    "nnUNetTrainerSINetV2_IFECurvature": "the same, channels of most curvature given twice (2D)",
    "nnUNetTrainerSINetV2_IFEEntropy": "the same, channels of most entropy given twice (2D)",
    "nnUNetTrainerSINetV2_IFERandom": "the same, as many channels given twice, drawn at random (2D)",
    "nnUNetTrainerTwoStage": "two stages: nnU-Net's own network, validated where the coarse one is unsure (2D and 3D)",
    "nnUNetTrainerTwoStageNet": "two-stage segmentation as published, in one network, Np = 4 (2D)",
    "nnUNetTrainerTwoStageNet_Np2": "the same, Np = 2: 2 of 2 x 2 cells are refined (2D)",
    "nnUNetTrainerTwoStageNet_Np4": "the same, Np = 4: 4 of 4 x 4 cells are refined (2D)",
    "nnUNetTrainerTwoStageNet_Np8": "the same, Np = 8: 8 of 8 x 8 cells are refined (2D)",
    "nnUNetTrainerTwoStageNet_Np16": "the same, Np = 16: 16 of 16 x 16 cells are refined (2D)",
    "nnUNetTrainerTwoStageUNet": "the two-stage paper's U-Net on whole patches, its baseline (2D)",
}


@dataclass(frozen=True)
class Part:
    """A part of a composition.

    Attributes:
        slot: its place in a name; `SLOTS` gives the order.
        name: what users type; of a part with options, an example.
        builder: `module:attribute`. Of a part with options, what returns the part when it is given them as keyword
            arguments; a lifting is given the composition of the other parts first.
        summary: one line about it.
        pattern: regular expression of the names of a part with options, each a named group; digits are a number.
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
        "enhancement",
        "IFECurvature",
        "nnunet_ext.architectures.encoders.enhancement:named_enhancement",
        "channels of most curvature given twice (IFE); IFEEntropy, IFERandom: by entropy, at random; IFEEntropyJoint, "
        "Image, Batch, Unique: other histograms; IFECurvatureS1R75S2R50: 75 % of stage 1's, 50 % of stage 2's",
        r"IFE(?P<score>Curvature|Random|Entropy)(?P<variant>(?<=Entropy)(?:Image|Batch|Unique|Joint))?"
        r"(?P<at>(?:S(?:0|[1-9]\d*)R(?:0|[1-9]\d*))+)?",
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
        "head",
        "OVe",
        "nnunet_ext.architectures.heads.offset_branch:named_head",
        "class map refined by offset vectors (OVeNet); OVeDecoder, OVeShared: where they branch off; OVe20: tau 0.2; "
        "OVe15mm: at most 15 mm",
        r"OVe(?P<branch>Decoder|Shared)?(?:(?P<mm>[1-9]\d*|0)mm|(?P<percent>[1-9]\d*|0))?",
        "nnunet_ext.trainers.offset_vectors:OffsetVectorTrainer",
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

_resolved: dict[str, type] = {}


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
    doc = f"{parsed.base} with the suffixes of its name."
    return _make_class(parsed.canonical, (base,), **attributes_of(base, parsed), __doc__=doc)


def _composition(name: str) -> type:
    spec: Any = importlib.import_module("nnunet_ext.architectures.network").ComposedSpec()
    trainers: list[type] = []
    last = -1
    words = name.removeprefix(f"{COMPOSITION}_")
    for word in words.split("_"):
        part, options = _find_part(word)
        if part is None or SLOTS.index(part.slot) <= last:
            raise TrainerNameError(f"{name}: {_wrong_part(word, part)}")
        last = SLOTS.index(part.slot)
        builder = _load(part.builder)
        try:
            if part.slot == "lifting":
                spec = builder(spec, **options)
            else:
                spec = replace(spec, **{part.slot: builder(**options) if part.pattern else builder})
        except ValueError as error:
            raise TrainerNameError(f"{name}: the part {word}: {error}") from error
        if part.trainer is not None:
            trainers.append(_load(part.trainer))
    bases = tuple(trainers[::-1]) or (_load("nnunet_ext.trainers.base:nnUNetTrainerExt"),)
    return _make_class(name, bases, spec=spec, paper_recipe=None, __doc__=f"The composition {words}.")


def _load(where: str) -> Any:
    module, attribute = where.split(":")
    return getattr(importlib.import_module(module), attribute)


def _find_part(word: str) -> tuple[Part | None, dict[str, int | str]]:
    """Return the part that a word of a name means, and the options in it."""
    for part in PARTS:
        if part.pattern is not None and (match := re.fullmatch(part.pattern, word)):
            return part, {k: int(v) if v.isdigit() else v for k, v in match.groupdict().items() if v is not None}
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
    words = "".join(SUFFIX_WORD.findall(name))
    base = SUFFIX_WORD.sub("", name)
    lowered = {p.lower(): p for p in PRESETS} | {p.lower().removeprefix(STOCK.lower()): p for p in PRESETS}
    near = difflib.get_close_matches(base.lower(), list(lowered), 1, 0.6)
    hint = f"Did you mean {lowered[near[0]]}{words}? " if near else ""
    stem, _, last = base.rpartition("_")
    option = difflib.get_close_matches(last.lower(), [o.lower() for o in OPTIONS], 1, 0.75)
    if option and stem in (*PRESETS, STOCK):
        option = [o for o in OPTIONS if o.lower() == option[0]]
        hint = f"Did you mean {stem}_{option[0]}{words}? "
    if base == COMPOSITION:
        hint = f"Name its parts, e.g. {COMPOSITION}_{'_'.join(p.name for p in PARTS[:2])}{words}. "
    listed = ", ".join(PRESETS)
    parts = ", ".join(p.name for p in PARTS)
    return (
        f"{hint}Trainers: {listed}. Compositions: {COMPOSITION}_<parts>, parts of {parts}. Suffixes, in this order: "
        f"{ORDER}. `nnunet_ext info` says what each is."
    )


def __getattr__(name: str) -> type:
    """Resolve trainer names as attributes of this module, which is what makes the classes importable."""
    if name.startswith("_") or not name.startswith(STOCK):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return resolve(name)
    except TrainerNameError as error:
        raise AttributeError(str(error)) from error
