"""What every slice of a lifted network says about one class, over a whole image, as nnU-Net's predictor sees images."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor, nn

from nnunet_ext.architectures.lifting.lifted import LiftedNetwork
from nnunet_ext.inference.log_odds import log_odds


class SliceView(nn.Module):
    """A lifted network that gives D channels of its slices' log-odds of one class, and behind them its own K logits.

    `(B, C, H, W) -> (B, D + K, H, W)`. The sigmoid of the first D is the class's probability in each slice.
    """

    def __init__(self, network: LiftedNetwork, output: int) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """Return the slices' log-odds of the class and the fused logits."""
        slices = self.network.slices(x).float()
        odds = log_odds(slices, self.output, bool(self.network.selection.uses_sigmoid))
        return torch.cat([odds, self.network.selection(slices)], 1)


def view_slices(predictor: nnUNetPredictor, network: LiftedNetwork, output: int, data: Tensor) -> tuple[Tensor, Tensor]:
    """Run nnU-Net's sliding window, mirroring included, over the slices and their fusion at once.

    Args:
        predictor: of `TrainedModel.predictor`; it is not changed.
        data: `(C, 1, H, W)`, preprocessed.

    Returns:
        The class's probability in each slice, `(D, H, W)`, and the logits that the stock predictor gives for this
        fold, `(K, H, W)`; both float32 on the CPU. Overlapping windows are averaged as logits.
    """
    own = copy.copy(predictor)
    n_logits = predictor.label_manager.num_segmentation_heads
    own.network = SliceView(network, output)
    own.label_manager = SimpleNamespace(num_segmentation_heads=network.depth + n_logits)
    found = own.predict_sliding_window_return_logits(data).float().cpu()[:, 0]
    return found[: network.depth].sigmoid(), found[network.depth :]
