"""Parameters and multiply-accumulates of trained models, from the plans in their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nnunet_ext.evaluation.collect import Model, Run
from nnunet_ext.evaluation.trainer_tables import Size


def sizes_of(runs: Sequence[Run]) -> tuple[dict[str, Size], list[str]]:
    """Build each trainer's network from its plans and count.

    Returns:
        Sizes by name, and a line for each that could not be built: its trainer is neither ours nor nnU-Net's, or needs
        weights that are not here.
    """
    sizes, unknown = {}, []
    for name, model in {run.name: run.model for run in runs}.items():
        try:
            sizes[name] = size_of(model)
        except Exception as error:  # of any kind: networks of others are built here
            lines = str(error).strip().splitlines() or ["no message"]
            unknown.append(f"multiply-accumulates of {name}: {type(error).__name__}: {lines[0][:200]}")
    return sizes, unknown


def size_of(model: Model) -> Size:
    """Count a model's network at its plan's patch size; raises whatever building it raises."""
    from nnunet_ext.trainers.describe import describe_trainer

    plans, dataset = (
        json.loads((model.folder / name).read_text(encoding="utf-8")) for name in ("plans.json", "dataset.json")
    )
    found = describe_trainer(model.trainer, plans, model.configuration, dataset)
    patch = " x ".join(map(str, found["patch_size"]))
    return Size(float(found["parameters"]), float(found["macs"]), patch)
