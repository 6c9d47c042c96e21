"""Tiny networks behind nnU-Net's predictor and ours, and trained models on disk, made in a moment."""

import copy
import json

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support import make_dataset_json, make_plans

from nnunet_ext.environment import plugin_folder
from nnunet_ext.inference.predictor import listening
from nnunet_ext.inference.slices import SliceGatherer, lifted_network
from nnunet_ext.inference.trained_model import find_trained_model
from nnunet_ext.trainers.naming import resolve

LIFTED, STOCK = "nnUNetTrainerSLUNet_5L1Res", "nnUNetTrainer"
TRAINER = "nnUNetTrainerSLUNet_5L1Res"
LABELS = {"binary": {"background": 0, "cell": 1}, "three": {"background": 0, "a": 1, "c": 2, "b": 3},
          "regions": {"background": 0, "whole": [1, 2], "core": [2]}}  # fmt: skip


class Heard:
    """Listens, and keeps what it hears."""

    def __init__(self, wants=True):
        self.cases, self.folders, self.wants, self.failures = {}, [], wants, {}

    def gatherer(self, predictor):
        lifted = lifted_network(predictor.network)
        regions = predictor.label_manager.has_regions
        return SliceGatherer(lifted, regions) if self.wants and lifted is not None else None

    def folder(self, *arguments):
        self.folders.append(arguments)

    def case(self, name, sliced, image):
        self.cases[name] = sliced

    def failed(self, name, why):
        self.failures[name] = why


@pytest.fixture
def make_predictors():
    """Returns `make(kind, n_folds, patch, ...) -> (stock, ours, heard, networks of the folds)`."""

    def make(kind="binary", n_folds=1, patch=(16, 16), trainer=TRAINER, mirror_axes=(0, 1), listener=None, scales=None,
             **options):  # fmt: skip
        plans = PlansManager(make_plans(list(patch)))
        dataset_json = make_dataset_json(LABELS[kind])
        configuration = plans.get_configuration("2d")
        labels = plans.get_label_manager(dataset_json)
        networks = []
        for fold in range(n_folds):
            torch.manual_seed(fold)
            network = resolve(trainer).build_network_architecture(
                plans, configuration, 3, labels.num_segmentation_heads, False
            ).eval()  # fmt: skip
            for p in network.parameters():
                p.data += 0.2 * torch.randn_like(p)
            if hasattr(network, "selection"):
                network.selection.set_sigmoid(labels.has_regions)
                network.selection.update(torch.rand(network.depth))
            networks.append(network)
        heard = listener or Heard()
        pair = []
        for cls in (nnUNetPredictor, listening(heard, scales=scales)):
            predictor = cls(device=torch.device("cpu"), allow_tqdm=False, **options)
            spare = resolve(trainer).build_network_architecture(
                plans, configuration, 3, labels.num_segmentation_heads, False
            )
            predictor.manual_initialization(
                spare, plans, configuration, [n.state_dict() for n in networks], dataset_json, trainer, mirror_axes
            )
            pair.append(predictor)
        pair[1].expect(["case", "second"])
        return *pair, heard, networks

    return make


@pytest.fixture
def predictor_of():
    """Returns `make(networks, patch, labels, *listeners, ...) -> predictor` of any modules, stock without listeners.

    Options: `plans` are changed by a dict, `scales`, `mirror_axes`; others go to nnU-Net's predictor.
    """

    def make(networks, patch, labels, *listeners, plans=None, scales=None, mirror_axes=None, stock=False, **options):
        manager = PlansManager(make_plans(list(patch)) | (plans or {}))
        (name,) = manager.available_configurations
        cls = nnUNetPredictor if stock else listening(*listeners, scales=scales)
        predictor = cls(device=torch.device("cpu"), allow_tqdm=False, **options)
        dataset_json = make_dataset_json(LABELS[labels], n_channels=networks[0].channels)
        parameters = [network.state_dict() for network in networks]
        predictor.manual_initialization(
            copy.deepcopy(networks[0]), manager, manager.get_configuration(name), parameters, dataset_json,
            "nnUNetTrainerToy", mirror_axes,
        )  # fmt: skip
        return predictor

    return make


@pytest.fixture
def write_model(nnunet_folders, monkeypatch):
    """Returns `write(trainer, folds=("0",), labels=None, patch=[32, 32], change=None)`, which writes a model.

    `change(state_dict)` is done to the weights of every fold; the folds' weights differ. What is returned is found by
    `find_trained_model`.
    """
    monkeypatch.setenv("nnUNet_extTrainer", str(plugin_folder()))

    def write(trainer=LIFTED, folds=("0",), labels=None, patch=(32, 32), change=None):
        plans = make_plans(list(patch))
        plans["foreground_intensity_properties_per_channel"] = {str(channel): {} for channel in range(3)}
        dataset = make_dataset_json(labels)
        (configuration,) = plans["configurations"]
        folder = nnunet_folders / "nnUNet_results" / plans["dataset_name"] / f"{trainer}__nnUNetPlans__{configuration}"
        for seed, fold in enumerate(folds):
            torch.manual_seed(seed)
            weights = network(trainer, plans, configuration, dataset).state_dict()
            if change is not None:
                change(weights)
            (folder / f"fold_{fold}").mkdir(parents=True)
            checkpoint = {
                "trainer_name": trainer,
                "init_args": {"configuration": configuration},
                "inference_allowed_mirroring_axes": (0, 1),
                "network_weights": weights,
            }
            torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        return find_trained_model(plans["dataset_name"], configuration, trainer, folds)

    return write


def network(trainer, plans, configuration, dataset):
    manager = PlansManager(plans)
    return (nnUNetTrainer if trainer == STOCK else resolve(trainer)).build_network_architecture(
        manager,
        manager.get_configuration(configuration),
        determine_num_input_channels(manager, configuration, dataset),
        manager.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
