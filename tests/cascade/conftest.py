"""Two toy networks as the two stages, in memory."""

from types import SimpleNamespace

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support import make_dataset_json, make_plans
from torch import nn

from nnunet_ext.cascade.coarse import CoarseModel
from nnunet_ext.cascade.predictor import refining
from nnunet_ext.cascade.record import Record
from nnunet_ext.cascade.settings import SelectiveRefinement

LABELS = {"binary": {"background": 0, "cell": 1}, "three": {"background": 0, "a": 1, "b": 2},
          "regions": {"background": 0, "whole": [1, 2], "core": [2]}, "one": {"background": 0}}  # fmt: skip
AREA = {"is_seg": False, "force_separate_z": None, "memefficient_seg_resampling": False, "mode": "area"}


class Toy(nn.Module):
    """A convolution that counts the images it is given."""

    def __init__(self, dims, classes, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = (nn.Conv2d if dims == 2 else nn.Conv3d)(3, classes, 5, padding=2)
        self.conv.weight.data *= 3
        self.images = 0

    def forward(self, x):
        self.images += len(x)
        return self.conv(x)


def plans_of(patch, coarse_patch, factor=4, batch_size=3):
    """A plan with a fine and a coarse configuration."""
    plans = make_plans(list(patch), batch_size=batch_size)
    (name,) = plans["configurations"]
    fine = plans["configurations"][name]
    spacing = [float(factor)] * len(patch)
    area = {"resampling_fn_data": "resample_torch_fornnunet", "resampling_fn_data_kwargs": AREA}
    coarse = {**fine, **(area if len(patch) == 2 else {}), "patch_size": list(coarse_patch), "spacing": spacing}
    plans["configurations"] = {"fine": fine, "coarse": coarse}
    return PlansManager(plans)


@pytest.fixture
def two_stages():
    """Returns `make(kind, patch, coarse_patch, folds, ...) -> (ours, stock, coarse predictor, record)`."""

    def make(kind="binary", patch=(16, 16), coarse_patch=(16, 16), folds=1, axes=None, mirroring=True, factor=4,
             batch_size=3, **settings):  # fmt: skip
        plans, dataset = plans_of(patch, coarse_patch, factor, batch_size), make_dataset_json(LABELS[kind])
        axes = tuple(range(len(patch))) if axes is None else axes

        def load(predictor, configuration, seeds):
            networks = [Toy(len(patch), predictor_heads, seed) for seed in seeds]
            predictor.manual_initialization(
                networks[0], plans, plans.get_configuration(configuration), [n.state_dict() for n in networks], dataset,
                "Toy", axes,
            )  # fmt: skip
            return predictor

        predictor_heads = plans.get_label_manager(dataset).num_segmentation_heads
        options = {"device": torch.device("cpu"), "allow_tqdm": False, "use_mirroring": mirroring}
        coarse = load(nnUNetPredictor(**options), "coarse", [100])
        model = CoarseModel(SimpleNamespace(folder="COARSE", predictor=lambda _: coarse))
        record = Record()
        fixed = (model, SelectiveRefinement("coarse", **settings))
        ours = load(refining(record, fixed=fixed, names=["case"])(**options), "fine", range(folds))
        stock = load(nnUNetPredictor(**options), "fine", range(folds))
        return ours, stock, coarse, record

    return make
