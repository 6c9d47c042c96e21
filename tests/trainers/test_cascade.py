"""nnU-Net's own cascade (3d_lowres, then 3d_cascade_fullres) with a composed network."""

import json

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from support import make_dataset_json, make_plans, write_preprocessed

from nnunet_ext.trainers.naming import resolve

NAME = "nnUNetTrainerExt_Plain_UNet_2epochs_2iters"


def test_second_stage_reads_the_first_ones_segmentations(nnunet_folders):
    plans = make_plans([16, 16, 8], n_channels=1)
    (low,) = plans["configurations"].values()
    dataset_json = make_dataset_json({"background": 0, "a": 1, "b": 2}, n_channels=1)
    write_preprocessed(nnunet_folders / "nnUNet_preprocessed", plans, dataset_json, (16, 16, 8), n_labels=2)
    plans["configurations"] = {
        "3d_lowres": {**low, "next_stage": ["3d_cascade_fullres"]},
        "3d_cascade_fullres": {**low, "previous_stage": "3d_lowres"},
    }
    previous = nnunet_folders / "nnUNet_results" / "Dataset900_Tiny" / f"{NAME}__nnUNetPlans__3d_lowres"
    folder = previous / "predicted_next_stage" / "3d_cascade_fullres"
    folder.mkdir(parents=True)
    for i in range(6):
        nnUNetDatasetBlosc2.save_seg(np.ones((16, 16, 8), np.int8), str(folder / f"case_{i}"))
    trainer = resolve(NAME)(
        {**json.loads(json.dumps(plans)), "continue_training": False}, "3d_cascade_fullres", 0, dataset_json,
        torch.device("cpu"),
    )  # fmt: skip
    trainer.run_training()
    assert trainer.num_input_channels == 3  # the image, and a channel for each of the two labels
    assert np.isfinite(trainer.logger.get_value("train_losses", step=None)).all()
