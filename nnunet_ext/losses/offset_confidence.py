"""The objective of offset vectors: three predictions against the truth, and the confidence against what it should be.

OVeNet: Offset Vector Network for Semantic Segmentation (S. Alexandropoulos, C. Sakaridis, P. Maragos), Sections 3.2 and
3.3. With S_i, S_s, S_f the initial, the seed and the fused prediction, o the offsets, F their confidence, H the truth:

    L = L(S_f, H) + kappa L(S_s, H) + lambda L(S_i, H) + L_F                                      (5), (7)
    L_F = mean over pixels p of -[H(p) = H(p + o)] log F(p) - [H(p) != H(p + o)] log(1 - F(p))     (6)

As in the authors' code, kappa = lambda = 0.5 (Section 4.1 calls them lambda and mu) and L_F has the weight 1; H(p + o)
is the nearest pixel's, positions clamped to the image, so L_F has no gradient to the offsets. It compares labels alone;
the paper says that it uses S_f, but neither equation (6) nor the code does.

Where we differ: L_F is a mean over pixels where neither p nor the pixel looked up is ignored. The code reads ignored
labels as class 0, and divides the batch's sum by the pixels of one image, so that its L_F grows with the batch;
`authors` is that. The semantic terms are divided by 1 + kappa + lambda (`normalise`): twice the loss is in effect twice
the learning rate, and would be taken for a merit of the method. Regions, volumes, deep supervision are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_ext.losses.auxiliary import WEIGHT as AUXILIARY_WEIGHT
from nnunet_ext.losses.terms import Logits, checked_weights, scales_of, weighted

MOST_REGIONS = 63  # bits of an int64 that is not negative
EPSILON = 1e-7  # of the authors' logarithms


def pixel_codes(target: Tensor, regions: bool, ignore_label: int | None) -> Tensor:
    """Return one number a pixel, equal where two pixels are of the same class or the same regions.

    Args:
        target: nnU-Net's: `(B, 1, *S)` labels of any type; with `regions` `(B, R, *S)` masks of 0 and 1, and a further
            last channel that is 1 where pixels are ignored if `ignore_label` is not None.
        regions: which of both.
        ignore_label: the label (or, with regions, any value not None) of ignored pixels; None: there are none.

    Returns:
        `(B, *S)` int64: the label, or the sum of 2^r over the pixel's regions r; -1 where ignored.

    Raises:
        ValueError: if there are more than 63 regions.
    """
    if not regions:
        codes = target[:, 0].long()
        return codes if ignore_label is None else codes.masked_fill(codes == ignore_label, -1)
    masks = target if ignore_label is None else target[:, :-1]
    if masks.shape[1] > MOST_REGIONS:
        raise ValueError(f"Offset vectors compare at most {MOST_REGIONS} regions, and the target has {masks.shape[1]}.")
    codes = torch.zeros_like(target[:, 0], dtype=torch.long)
    for r, mask in enumerate(masks.unbind(1)):
        codes = codes | (mask.bool().long() << r)
    return codes if ignore_label is None else codes.masked_fill(target[:, -1].bool(), -1)


def look_up_nearest(codes: Tensor, offsets: Tensor) -> Tensor:
    """Return `codes[p + offsets[p]]` of the nearest pixel, positions clamped to the array.

    Args:
        codes: `(B, *S)`.
        offsets: `(B, n, *S)` voxels, channel a along axis a; float32 or float64. NaN points to the first pixel.

    Returns:
        `(B, *S)` of the codes' type.
    """
    sizes = codes.shape[1:]
    index = torch.zeros_like(codes, dtype=torch.long)
    for a, size in enumerate(sizes):
        own = torch.arange(size, device=offsets.device, dtype=offsets.dtype).view(-1, *[1] * (len(sizes) - 1 - a))
        position = (own + offsets[:, a]).round().nan_to_num(0).clamp(0, size - 1)
        index = index * size + position.long()
    return codes.flatten(1).gather(1, index.flatten(1)).view_as(codes)


def confidence_loss(
    confidence: Tensor, offsets: Tensor, target: Tensor, *, regions: bool, ignore_label: int | None,
    authors: bool = False,
) -> Tensor:  # fmt: skip
    """Return L_F, equation (6): F should be 1 where the offset points to a pixel of the same class, and else 0.

    Args:
        confidence: `(B, 1, *S)`, the logit of F.
        offsets: `(B, n, *S)` voxels, n the axes of S, channel a along axis a. They get no gradient.
        target: of the same S; this and what follows as for `pixel_codes`.
        regions: whether targets are regions.
        ignore_label: None if no pixel is ignored.
        authors: as in the authors' code: ignored pixels are of class 0 (of no region) and count, log(F + 1e-7), the sum
            over the batch divided by the pixels of one image.

    Returns:
        A scalar, float32 (float64 of float64); 0 if no pixel is valid.

    Raises:
        ValueError: if shapes do not fit each other.
    """
    size = offsets.shape[2:]
    if offsets.shape[1] != len(size) or not confidence.shape[2:] == size == target.shape[2:]:
        raise ValueError(
            f"The confidence loss takes a confidence (B, 1, *S), offsets (B, n, *S) of as many channels as S has axes, "
            f"and a target (B, C, *S); not {tuple(confidence.shape)}, {tuple(offsets.shape)}, {tuple(target.shape)}."
        )
    here = pixel_codes(target, regions, ignore_label)
    if authors:
        here = here.clamp(min=0)
    there = look_up_nearest(here, offsets.detach().to(torch.promote_types(offsets.dtype, torch.float32)))
    logit = confidence[:, 0].to(torch.promote_types(confidence.dtype, torch.float32))
    same = (here == there).to(logit.dtype)
    if authors:
        p = torch.sigmoid(logit)
        each = same * torch.log(p + EPSILON) + (1 - same) * torch.log(1 - p + EPSILON)
        return -each.sum() / size.numel()
    valid = (here >= 0) & (there >= 0)
    each = F.binary_cross_entropy_with_logits(logit, same, reduction="none")
    return torch.where(valid, each, 0).sum() / valid.sum().clamp(min=1)


class OffsetConfidenceLoss(nn.Module):
    """Equations (5) to (7) around any loss of logits.

    A term whose weight is 0 is not computed; its tensors stay in the graph (`terms.weighted`). With auxiliary logits
    (HRNet+OCR), each of the three semantic terms becomes L(S) + auxiliary_weight * L_aux(auxiliary S). What it is
    divided by does not change.

    Args:
        single: `(logits (B, K, *S), target) -> scalar`, L at one scale.
        scales: L of a list of scales, under nnU-Net's deep supervision; None if the network gives one scale alone.
        regions: as for `pixel_codes`.
        ignore_label: as for `pixel_codes`.
        seed_weight: kappa, of L(S_s).
        initial_weight: lambda, of L(S_i).
        confidence_weight: of L_F.
        normalise: divide the three semantic terms by 1 + kappa + lambda.
        authors: as for `confidence_loss`.
        auxiliary: L_aux, `(logits (B, K, *S), target) -> scalar`; None if the network has no auxiliary logits.
        auxiliary_weight: of L_aux, relative to L of the same prediction.

    Raises:
        ValueError: if a weight is negative or not finite.
    """

    def __init__(
        self, single: Callable[..., Tensor], scales: Callable[..., Tensor] | None = None, *, regions: bool,
        ignore_label: int | None, seed_weight: float = 0.5, initial_weight: float = 0.5,
        confidence_weight: float = 1.0, normalise: bool = True, authors: bool = False,
        auxiliary: Callable[..., Tensor] | None = None, auxiliary_weight: float = AUXILIARY_WEIGHT,
    ) -> None:  # fmt: skip
        super().__init__()
        checked_weights(
            seed_weight=seed_weight, initial_weight=initial_weight, confidence_weight=confidence_weight,
            auxiliary_weight=auxiliary_weight,
        )  # fmt: skip
        self.single, self.scales, self.auxiliary = single, scales, auxiliary
        self.regions, self.ignore_label = regions, ignore_label
        self.seed_weight, self.initial_weight = seed_weight, initial_weight
        self.confidence_weight, self.auxiliary_weight = confidence_weight, auxiliary_weight
        self.normalise, self.authors = normalise, authors

    def forward(
        self, logits: Logits, target: Logits, *, initial: Tensor, seed: Tensor, confidence: Tensor, offsets: Tensor,
        **auxiliary: Tensor,
    ) -> Tensor:  # fmt: skip
        """Return L.

        Args:
            logits: S_f `(B, K, *S)`, or a list of S_f and the lower scales of the initial logits, finest first.
            target: nnU-Net's; with a list of logits a list, finest first.
            initial: S_i `(B, K, *S)`. With lower scales, its loss is `scales` of it and them.
            seed: S_s `(B, K, *S)`.
            confidence: `(B, 1, *S)`, the logit of F.
            offsets: `(B, n, *S)` voxels.
            auxiliary: with an auxiliary loss `auxiliary_fused`, `auxiliary_seed`, `auxiliary_initial`, `(B, K, *S)`.

        Raises:
            ValueError: if outputs and targets differ in number, there are several scales and no loss of scales, or the
                auxiliary outputs are not those of the auxiliary loss.
        """
        (fused, *lower), targets = scales_of(logits), scales_of(target)
        self._check(1 + len(lower), len(targets), auxiliary)
        finest, kappa, lam = targets[0], self.seed_weight, self.initial_weight
        total = self.single(fused, finest) + weighted(kappa, self.single, seed, finest)
        if self.scales is None or isinstance(logits, Tensor):
            total = total + weighted(lam, self.single, initial, finest)
        else:
            total = total + weighted(lam, self.scales, [initial, *lower], targets)
        if self.auxiliary is not None:
            for name, weight in (("fused", 1.0), ("seed", kappa), ("initial", lam)):
                output = auxiliary[f"auxiliary_{name}"]
                total = total + weighted(weight * self.auxiliary_weight, self.auxiliary, output, finest)
        if self.normalise:
            total = total / (1 + kappa + lam)
        return total + weighted(self.confidence_weight, self._confidence, [confidence, offsets], finest)

    def _confidence(self, outputs: list[Tensor], target: Tensor) -> Tensor:
        confidence, offsets = outputs
        return confidence_loss(
            confidence,
            offsets,
            target,
            regions=self.regions,
            ignore_label=self.ignore_label,
            authors=self.authors,
        )

    def _check(self, n_scales: int, n_targets: int, auxiliary: dict[str, Tensor]) -> None:
        if n_scales != n_targets or (n_scales > 1 and self.scales is None):
            raise ValueError(
                f"The offset loss has {n_scales} scales of logits and {n_targets} targets; it takes as many of one as "
                f"of the other{'' if self.scales else ', and one alone without a loss of scales (`scales`)'}."
            )
        wanted = set() if self.auxiliary is None else {f"auxiliary_{k}" for k in ("fused", "seed", "initial")}
        if set(auxiliary) != wanted:
            raise ValueError(
                f"The offset loss takes the further outputs {sorted(wanted)}, not {sorted(auxiliary)}: an auxiliary "
                "loss (`auxiliary`) needs a network with auxiliary logits, and the other way round."
            )
