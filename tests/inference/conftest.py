"""A tiny lifted network behind nnU-Net's predictor and ours."""

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support import make_dataset_json, make_plans

from nnunet_ext.inference.predictor import listening
from nnunet_ext.trainers.naming import resolve

TRAINER = "nnUNetTrainerSLUNet_5L1Res"
LABELS = {"binary": {"background": 0, "cell": 1}, "three": {"background": 0, "a": 1, "c": 2, "b": 3},
          "regions": {"background": 0, "whole": [1, 2], "core": [2]}}  # fmt: skip


class Heard:
    """Listens, and keeps what it hears."""

    def __init__(self, wants=True):
        self.cases, self.folders, self.wants = {}, [], wants

    def wants_slices(self, predictor):
        return self.wants

    def folder(self, *arguments):
        self.folders.append(arguments)

    def case(self, name, sliced, image):
        self.cases[name] = sliced


@pytest.fixture
def make_predictors():
    """Returns `make(kind, n_folds, patch, ...) -> (stock, ours, heard, networks of the folds)`."""

    def make(kind="binary", n_folds=1, patch=(16, 16), trainer=TRAINER, mirror_axes=(0, 1), listener=None, **options):
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
        for cls in (nnUNetPredictor, listening(heard)):
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
