"""What a trainer is: parts, parameters and multiply-accumulates at a plan's patch size."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.architectures.complexity import count_macs, count_parameters
from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.trainers.naming import resolve


def example_plans() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return nnU-Net's plans and dataset.json of an RGB dataset of 512 x 512 images with one foreground class."""
    text = resources.files("nnunet_ext.trainers").joinpath("example_plans.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return content["plans"], content["dataset"]


def describe_trainer(
    trainer_name: str, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any]
) -> dict[str, Any]:
    """Build a trainer's inference network and count.

    Args:
        trainer_name: a name of ours, or one of nnU-Net's own trainers.
        plans: content of a plans file.
        configuration: e.g. `2d`.
        dataset_json: content of the dataset's dataset.json.

    Returns:
        trainer, about (first line of its docstring), network (parts by slot), recipe (what differs from nnU-Net's),
        patch_size, input_channels, output_channels, parameters, and macs of one forward pass of one patch; of lifted
        networks also the macs without computing equal slices again.

    Raises:
        TrainerNameError: if there is no such trainer.
        UnsupportedPlanError: if it cannot be built for this configuration.
    """
    trainer = _trainer_class(trainer_name)
    manager = PlansManager(dict(plans))
    settings = manager.get_configuration(configuration)
    channels = determine_num_input_channels(manager, settings, dataset_json)
    outputs = manager.get_label_manager(dataset_json).num_segmentation_heads
    network = trainer.build_network_architecture(manager, settings, channels, outputs, enable_deep_supervision=False)
    ours = hasattr(trainer, "describe_network")
    described = {
        "trainer": trainer_name,
        "about": (trainer.__doc__ or "").strip().split("\n")[0],
        "network": trainer.describe_network() if ours else {"network": "the plan's own"},
        "recipe": trainer.recipe.describe() if ours else {},
        "configuration": configuration,
        "patch_size": list(settings.patch_size),
        "input_channels": channels,
        "output_channels": outputs,
        "parameters": count_parameters(network),
        "macs": count_macs(network, (channels, *settings.patch_size)),
    }
    if isinstance(network, LiftedNetwork):
        network.form = "distinct"
        described["macs, equal slices once"] = count_macs(network, (channels, *settings.patch_size))
    return described


def _trainer_class(name: str) -> Any:
    """Find one of our trainers, or one of nnU-Net's own if it has one of that name."""
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = f"{nnunetv2.__path__[0]}/training/nnUNetTrainer"
    stock = recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer")
    return resolve(name) if stock is None else stock
