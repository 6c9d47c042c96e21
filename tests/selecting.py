"""A tiny network that selects channels twice, and a stand-in for a trained model on disk."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_ext.architectures.encoders.channel_selection import ChannelSelection


class Enhanced(nn.Module):
    """Names its stages, as the enhancement of a composed network does."""

    def __init__(self, *selections, stages=(1, 2)):
        super().__init__()
        self.stages = stages
        self.selections = nn.ModuleList(selections)


class SelectingToy(nn.Module):
    """`(B, 3, *S) -> (B, 2, *S)`: selects 4 of 8 channels at half of the resolution and 3 of 6 at a quarter."""

    channels = 3

    def __init__(self, dims=2, score="curvature", n_outputs=2, **options):
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        torch.manual_seed(0)
        self.down = nn.ModuleList([conv(3, 8, 3, 2, 1), conv(8, 6, 3, 2, 1)])
        self.enhancement = Enhanced(*(ChannelSelection(c, 0.5, score, **options) for c in (8, 6)))
        self.out = nn.ModuleList([conv(12, n_outputs, 1), conv(9, n_outputs, 1)])

    def forward(self, x):
        size, logits = x.shape[2:], 0
        for down, selection, out in zip(self.down, self.enhancement.selections, self.out, strict=True):
            x = F.leaky_relu(down(x))
            logits = logits + F.interpolate(out(selection(x)), size)
        return logits


@dataclass
class Model:
    """What `find_trained_model` returns, of a predictor that is there already."""

    loaded: object
    trainer: str = "nnUNetTrainerToy"
    folder: Path = Path("nnUNetTrainerToy__nnUNetPlans__2d")
    folds: tuple = ("0",)

    def predictor(self, device=None):
        return self.loaded
