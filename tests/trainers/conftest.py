"""Trainers on tiny preprocessed datasets, in this process."""

import pytest
import torch
import torchvision
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support import make_dataset_json, make_plans, write_preprocessed

from nnunet_ext import weights
from nnunet_ext.trainers.naming import resolve

LABELS = {
    "labels": ({"background": 0, "a": 1, "b": 2}, 2, None),
    "labels_ignore": ({"background": 0, "a": 1, "b": 2, "ignore": 3}, 2, 3),
    "regions": ({"background": 0, "whole": [1, 2], "core": [2]}, 2, None),
    "regions_ignore": ({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, 2, 3),
}


@pytest.fixture
def make_trainer(nnunet_folders):
    """Returns `make(name, kind="labels", **plan)`, which writes a dataset (once) and constructs the trainer."""

    def make(name, kind="labels", n_cases=6, device="cpu", **plan):
        plans = make_plans(plan.pop("patch_size", [32, 32]), **plan)
        labels, n_labels, ignore = LABELS[kind]
        dataset_json = make_dataset_json(labels, n_cases=n_cases)
        preprocessed = nnunet_folders / "nnUNet_preprocessed"
        (configuration,) = plans["configurations"]
        size = tuple(plans["configurations"][configuration]["patch_size"])
        if not (preprocessed / plans["dataset_name"]).exists():
            write_preprocessed(preprocessed, plans, dataset_json, size, n_cases, n_labels, ignore)
        return construct(name, plans, dataset_json, device=device)

    return make


def construct(name, plans, dataset_json, fold=0, device="cpu"):
    """Construct a trainer as nnUNetv2_train does."""
    (configuration,) = plans["configurations"]
    return resolve(name)(
        plans={**plans, "continue_training": False},
        configuration=configuration,
        fold=fold,
        dataset_json=dataset_json,
        device=torch.device(device),
    )


def stock_loss(trainer):
    """nnU-Net's own loss on a trainer's plan and labels, with its scales."""
    stock = nnUNetTrainer(
        plans={**trainer.plans_manager.plans, "continue_training": False},
        configuration=trainer.configuration_name,
        fold=0,
        dataset_json=trainer.dataset_json,
        device=torch.device("cpu"),
    )
    stock.enable_deep_supervision = trainer.enable_deep_supervision
    return stock._build_loss()


@pytest.fixture(scope="session")
def vgg_folder(tmp_path_factory):
    """A folder with a file of VGG-16's shape, of random numbers."""
    features = torchvision.models.vgg16().features[:23]
    folder = tmp_path_factory.mktemp("weights")
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, folder / "vgg16.pth")
    return folder


@pytest.fixture
def vgg_weights(vgg_folder, monkeypatch):
    """The user has VGG-16's weights in a folder."""
    monkeypatch.setenv(weights.FOLDER, str(vgg_folder))
