"""A loss of several outputs of a network, each as the final one: deep supervision as SINetV2 is trained.

Concealed Object Detection (D.-P. Fan et al., TPAMI 2022), and the SINetV2 of the IFE paper: the loss is the
sum over S_g, S_5, S_4 and S_3, all at the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from nnunet_ext.losses.terms import Logits, scales_of


class SummedOutputsLoss(nn.Module):
    """`loss(logits) + sum of loss(others)`.

    The sum of four is about four times the loss of one. With SGD that is a training with four times the learning rate,
    and nnU-Net's clipping of gradients to norm 12 sets in four times as early; with Adam it changes next to nothing.

    Args:
        loss: `(logits, target) -> scalar`.
        normalise: divide by the number of outputs, so that the loss is as large as that of a network with one.
    """

    def __init__(self, loss: Callable[..., Tensor], normalise: bool = True) -> None:
        super().__init__()
        self.loss, self.normalise = loss, normalise

    def forward(self, logits: Logits, target: Logits, **others: Tensor) -> Tensor:
        """Return the scalar.

        Args:
            logits: `(B, K, *S)`, the final output.
            target: nnU-Net's.
            others: `(B, K, *S)` each, the other outputs.
        """
        target = scales_of(target)[0]
        total = self.loss(logits, target)
        for other in others.values():
            total = total + self.loss(other, target)
        return total / (1 + len(others)) if self.normalise else total
