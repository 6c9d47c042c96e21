"""A loss of the final logits plus a smaller one of auxiliary logits, as HRNet+OCR is trained.

The base of OVeNet (Offset Vector Network for Semantic Segmentation, S. Alexandropoulos, C. Sakaridis, P. Maragos) with
object-contextual representations has a second, auxiliary map of scores, from which the regions of the objects are
taken: L = L(final) + 0.4 L_aux(auxiliary).

With OHEM, the authors use it on the final logits alone, and plain cross-entropy on the auxiliary ones. There, their
auxiliary loss is averaged over all pixels, ignored ones counted as 0, and so shrinks with the share of ignored pixels.
Here it is whatever mean `auxiliary` takes, over valid pixels with any loss of nnU-Net's.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from nnunet_ext.losses.terms import Logits, checked_weights, scales_of, weighted

WEIGHT = 0.4


class AuxiliaryLoss(nn.Module):
    """`loss(logits) + weight * auxiliary(auxiliary logits)`.

    Args:
        loss: `(logits, target) -> scalar`, of the final logits; of lists if the network gives scales.
        auxiliary: `(logits (B, K, *S), target) -> scalar`, of the auxiliary logits at the finest scale.
        weight: of the second; with 0, `auxiliary` is not called.

    Raises:
        ValueError: if the weight is negative or not finite.
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        auxiliary: Callable[..., Tensor],
        weight: float = WEIGHT,
    ) -> None:
        super().__init__()
        checked_weights(weight=weight)
        self.loss, self.auxiliary, self.weight = loss, auxiliary, weight

    def forward(self, logits: Logits, target: Logits, *, auxiliary: Tensor) -> Tensor:
        """Return the scalar sum.

        Args:
            logits: `(B, K, *S)`, or a list of scales, finest first.
            target: nnU-Net's, or a list of scales.
            auxiliary: `(B, K, *S)` logits of the finest scale.
        """
        return self.loss(logits, target) + weighted(self.weight, self.auxiliary, auxiliary, scales_of(target)[0])
