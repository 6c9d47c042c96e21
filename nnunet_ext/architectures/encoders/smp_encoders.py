"""IFE for the encoders of segmentation_models_pytorch (smp), under names that all of its networks take.

    name = ife_encoder("resnet34")  # "ife-resnet34"
    network = smp.Unet(name, encoder_weights="imagenet", classes=2)

Instructive Feature Enhancement for Dichotomous Medical Image Segmentation (L. Liu, H. Zhou, J. Chen et al., MICCAI
2023). The selected channels of some of the encoder's features stand behind the features themselves; what the encoder
computes stays as it is. smp's decoders read from `out_channels` how many channels there are, and so size themselves.

Stages are smp's numbers of features: feature i has 1 / 2^i of the image's size, 0 is the image. The default, 2 and 3
(strides 4 and 8), is what the paper calls the middle: in an encoder that begins at stride 2, the second and third map.
The authors' U-Net begins at stride 1, so that its second and third are at strides 2 and 4; stages=(1, 2) has those.

Where we differ: the authors have a U-Net, DeepLabV3+ and SINetV2, and select in the decoders of the latter two.
smp is imported when a name is registered, not before.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_ext.architectures.encoders.channel_selection import Score, check_score, n_selected
from nnunet_ext.architectures.encoders.enhancement import default_ratios
from nnunet_ext.architectures.encoders.smp_enhanced import OF_TIMM, EnhancedEncoder, said

DEFAULT_STAGES = (2, 3)


def _ratios(score: Score, stages: Sequence[int], ratios: float | Sequence[float] | None) -> tuple[float, ...]:
    """Check all options, and return a ratio for every stage.

    Raises:
        ValueError: if one is not allowed.
    """
    check_score(score)
    if not stages or len({*stages}) < len(stages) or not {*stages} <= {1, 2, 3, 4, 5}:
        raise ValueError(
            f"stages={tuple(stages)}: name some of smp's features 1 to 5, each once (feature i has 1 / 2^i of the "
            f"image's size; 0 is the image itself); the default is {DEFAULT_STAGES}."
        )
    if ratios is None:
        ratios = default_ratios(score)
    elif isinstance(ratios, int | float):
        ratios = (ratios,) * len(stages)
    if len(ratios) != len(stages):
        raise ValueError(
            f"ratios={tuple(ratios)} for stages={tuple(stages)}: give one for each stage, or a single number for all."
        )
    for ratio in ratios:
        n_selected(0, ratio)
    return tuple(float(ratio) for ratio in ratios)


def _weights_of(base: str) -> dict[Any, Any]:
    """Return where the pretrained weights of an encoder are, in smp's layout.

    Raises:
        ValueError: if neither smp nor timm has the encoder.
    """
    import timm
    from segmentation_models_pytorch.encoders import encoders

    own = {name: entry for name, entry in encoders.items() if entry["encoder"] is not EnhancedEncoder}
    if base in own:
        return own[base]["pretrained_settings"]
    of_timm = {f"{OF_TIMM}{name}" for name in [*timm.list_models(), *timm.list_models(pretrained=True)]}
    if base not in of_timm:
        near = difflib.get_close_matches(base, [*own, *sorted(of_timm)], 3)
        raise ValueError(
            f"{base!r} is not an encoder of smp{': did you mean ' + ', '.join(near) + '?' if near else '.'} "
            f"There are {len(own)} (smp.encoders.get_encoder_names()), and every model of timm as tu-NAME "
            f'(timm.list_models("*net*")).'
        )
    settings = timm.models.get_pretrained_cfg(base.removeprefix(OF_TIMM))
    return {True: {"repo_id": settings.hf_hub_id, "revision": None}} if settings and settings.hf_hub_id else {}


def _check_free(name: str, params: Mapping[str, Any]) -> None:
    """Raise ValueError if a name cannot be given to an encoder with these options."""
    from segmentation_models_pytorch.encoders import encoders

    if name.startswith((OF_TIMM, "timm-")):
        raise ValueError(f"name={name!r}: smp looks names that begin with tu- or timm- up in timm. Begin with ife-.")
    entry = encoders.get(name)
    if entry is None or (entry["encoder"] is EnhancedEncoder and entry["params"] == params):
        return
    if entry["encoder"] is EnhancedEncoder:
        there = {key: value for key, value in entry["params"].items() if value != params[key]}
        new = {key: params[key] for key in there}
        raise ValueError(
            f"{name!r} is registered with {said(there)}, now with {said(new)}. A name means one encoder, as saved "
            f"models hold the name: give this one its own, name= (prefix= for all), e.g. {name}-2"
        )
    raise ValueError(f"name={name!r} is smp's own encoder. Choose another, e.g. ife-{name}")


def _register(
    names: Mapping[str, str], score: Score, stages: Sequence[int], ratios: float | Sequence[float] | None,
    timm_arguments: Mapping[str, Any] | None = None,
) -> list[str]:  # fmt: skip
    """Put encoders into smp's table, all or none: `names` are the new ones and the encoders that they enhance."""
    from segmentation_models_pytorch.encoders import encoders

    options = {"score": score, "stages": tuple(stages), "ratios": _ratios(score, stages, ratios)}
    entries = {}
    for name, base in names.items():
        params = {"base": base, **options, "timm_arguments": dict(timm_arguments or {})}
        entries[name] = {"encoder": EnhancedEncoder, "pretrained_settings": _weights_of(base), "params": params}
        _check_free(name, params)
    encoders.update(entries)
    return list(entries)


def ife_encoder(
    base: str, score: Score = "curvature", *, stages: Sequence[int] = DEFAULT_STAGES,
    ratios: float | Sequence[float] | None = None, name: str | None = None,
    timm_arguments: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """Register an encoder of smp with instructive feature enhancement, for this process.

    Args:
        base: an encoder of smp, e.g. `resnet34`, or of timm, e.g. `tu-convnext_tiny`.
        score: by which channels are selected; see `ChannelSelection`.
        stages: which features, 1 to 5. Of a feature without channels, which some encoders have at stage 1, there is
            nothing to select.
        ratios: the share of each stage's channels to select, 0 to 1, or one number for all; None: for two stages, the
            paper's 0.5 and 0.5 by entropies, 0.75 and 0.5 by curvature and at random.
        name: to give it; None: `ife-` and base.
        timm_arguments: further arguments of `timm.create_model`, e.g. `{"img_size": 256}`: smp passes those that a
            network is given on for names with `tu-` alone.

    Returns:
        the name, for `encoder_name` of smp's networks. Again with the same options, it is the same.

    Raises:
        ValueError: if there is no such encoder or score, a stage or ratio is not allowed, or the name means another
            encoder.
    """
    if timm_arguments and not base.startswith(OF_TIMM):
        raise ValueError(
            f"timm_arguments={dict(timm_arguments)}: {base} is not of timm. smp takes arguments of encoders that begin "
            f"with {OF_TIMM} alone: leave them out, or name one of those."
        )
    return _register({name or f"ife-{base}": base}, score, stages, ratios, timm_arguments)[0]


def register_ife_encoders(
    score: Score = "curvature", *, stages: Sequence[int] = DEFAULT_STAGES,
    ratios: float | Sequence[float] | None = None, prefix: str = "ife",
) -> list[str]:  # fmt: skip
    """Register all encoders of smp's own table, as `ife_encoder` does one; those of timm have to be named one by one.

    Args:
        prefix: of the names, `ife-resnet34`.

    Returns:
        the names, in smp's order.

    Raises:
        ValueError: as for `ife_encoder`; then none is registered.
    """
    from segmentation_models_pytorch.encoders import encoders

    own = [name for name, entry in encoders.items() if entry["encoder"] is not EnhancedEncoder]
    return _register({f"{prefix}-{name}": name for name in own}, score, stages, ratios)
